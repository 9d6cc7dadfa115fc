package dev

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/sys"
)

// Methods between helper and home. Headers are varints: id, operation number, argument.
const (
	readMethod      = "dev.read"
	writeMethod     = "dev.write"
	seekMethod      = "dev.seek"
	interruptMethod = "dev.interrupt"
)

// maxPiece bounds one read or write, in bytes.
const maxPiece = 64 << 10

// operation names one read or write under way, so that it can be interrupted.
type operation struct {
	host names.Host
	inc  names.Incarnation
	seq  uint64
}

// Changes gives the number of the last change of the home's files that a host is told of, once it is told of all there were until now.
type Changes func(ctx context.Context, to names.Host) (seq uint64, err error)

// Server keeps descriptors at home and serves the operations on them.
type Server struct {
	log   *slog.Logger
	past  Changes // nil: readers need not know of any
	open  sys.OpenFiles
	dir   string // of what must be known after the daemon's death; empty: nothing is
	first uint64 // of the ids that this daemon gives

	mu     sync.Mutex // guards what follows
	next   uint64
	files  map[uint64]*held
	active map[operation]context.CancelFunc
	early  map[operation]bool // interrupted before they came
}

// NewServer makes a server without descriptors. dir is a directory of its own, for what the next daemon must know if this one is killed;
// empty: the next one cannot Resume. Whoever reads from a stream is told of what past gives; nil: of nothing.
func NewServer(dir string, past Changes, log *slog.Logger) (*Server, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("descriptors kept for jobs: %w", err)
		}
	}
	first := firstID()
	return &Server{log: log, past: past, dir: dir, first: first, next: first, files: map[uint64]*held{}, active: map[operation]context.CancelFunc{}, early: map[operation]bool{}}, nil
}

// Register serves the operations on r.
func (s *Server) Register(r *link.Router) {
	r.HandleCall(readMethod, s.serveRead)
	r.HandleCall(writeMethod, s.serveWrite)
	r.HandleCall(seekMethod, s.serveSeek)
	r.HandleCall(modesMethod, s.serveModes)
	r.HandleNote(interruptMethod, s.serveInterrupt)
}

// Add keeps the open file of f, which stays the caller's, under a new id until Remove.
func (s *Server) Add(f *os.File) (uint64, error) { return s.addFor(f, 0) }

// addFor keeps an open file of the job whose ghost is given.
func (s *Server) addFor(f *os.File, ghost int) (uint64, error) {
	s.mu.Lock()
	s.next++
	id := s.next
	s.mu.Unlock()
	h, err := s.keep(id, f, ghost)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	s.files[id] = h
	s.mu.Unlock()
	return id, nil
}

// Remove forgets a descriptor. Operations under way end first by themselves, or with their caller.
func (s *Server) Remove(id uint64) {
	s.mu.Lock()
	h := s.files[id]
	delete(s.files, id)
	s.mu.Unlock()
	if h != nil {
		h.close()
	}
}

func (s *Server) get(id uint64) (*held, error) {
	s.mu.Lock()
	h := s.files[id]
	s.mu.Unlock()
	if h == nil || !h.use() {
		return nil, fmt.Errorf("descriptor %d is not kept here: %w", id, syscall.EBADF)
	}
	return h, nil
}

// begin makes an operation interruptible; end must be called after it.
func (s *Server) begin(ctx context.Context, from link.Peer, seq uint64) (_ context.Context, end func()) {
	op := operation{from.Number, from.Incarnation, seq}
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.early[op] {
		delete(s.early, op)
		cancel()
	}
	s.active[op] = cancel
	return ctx, func() {
		cancel()
		s.mu.Lock()
		delete(s.active, op)
		s.mu.Unlock()
	}
}

func (s *Server) serveInterrupt(r *link.Request) {
	v, err := header(r.Header, 1)
	if err != nil {
		return
	}
	op := operation{r.From.Number, r.From.Incarnation, v[0]}
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.active[op]; cancel != nil {
		cancel()
		return
	}
	if len(s.early) > 1000 { // those whose calls never came, or were over before
		clear(s.early)
	}
	s.early[op] = true
}

func (s *Server) serveRead(ctx context.Context, r *link.Request) (link.Reply, error) {
	v, err := header(r.Header, 3)
	if err != nil {
		return link.Reply{}, err
	}
	h, err := s.get(v[0])
	if err != nil {
		return link.Reply{}, err
	}
	defer h.put()
	l := h.lanes[0]
	if err := l.take(ctx); err != nil {
		return link.Reply{}, err
	}
	defer l.give()
	if already, err := l.start(r.From, v[1]); already || err != nil {
		if err != nil {
			return link.Reply{}, err
		}
		rep, err := l.again(false)
		return s.after(ctx, h, r.From.Number, rep, err)
	}
	ctx, end := s.begin(ctx, r.From, v[1])
	defer end()
	buf := make([]byte, min(v[2], maxPiece))
	n, err := h.read(ctx, buf)
	if err != nil {
		return link.Reply{}, err
	}
	var modes []byte
	if h.job != 0 && h.kind == unix.S_IFCHR {
		if t, terr := unix.IoctlGetTermios(h.fd, unix.TCGETS); terr == nil {
			if modes, err = json.Marshal(t); err != nil { // what the line was typed with
				return link.Reply{}, err
			}
		}
	}
	rep, err := l.reply(modes, buf[:n])
	return s.after(ctx, h, r.From.Number, rep, err)
}

// after puts before the header of what was read up to where the reader must know of the changes at home: whoever wrote it made them before. Files and
// disks tell nobody of anything.
func (s *Server) after(ctx context.Context, h *held, to names.Host, rep link.Reply, err error) (link.Reply, error) {
	if err != nil {
		return rep, err
	}
	seq := uint64(0)
	if s.past != nil && stream(h.kind) {
		if seq, err = s.past(context.WithoutCancel(ctx), to); err != nil { // what was read must not be lost
			s.log.Error("what is read elsewhere may be ahead of the files there", "err", err)
		}
	}
	rep.Header = append(encode(seq), rep.Header...)
	return rep, nil
}

// serveWrite answers with how much was written and the errno that stopped it, for both may matter.
func (s *Server) serveWrite(ctx context.Context, r *link.Request) (link.Reply, error) {
	v, err := header(r.Header, 3)
	if err != nil {
		return link.Reply{}, err
	}
	h, err := s.get(v[0])
	if err != nil {
		return link.Reply{}, err
	}
	defer h.put()
	l := h.lanes[1]
	if err := l.take(ctx); err != nil {
		return link.Reply{}, err
	}
	defer l.give()
	if already, err := l.start(r.From, v[1]); already || err != nil {
		if err != nil {
			return link.Reply{}, err
		}
		return l.again(true)
	}
	called := ctx
	ctx, end := s.begin(ctx, r.From, v[1])
	defer end()
	err = h.write(ctx, r.Body, v[2] != 0)
	if called.Err() != nil {
		return link.Reply{}, called.Err() // nobody hears how far it came: it goes on when it is asked again
	}
	errno := syscall.Errno(0)
	if err != nil && !errors.As(err, &errno) {
		return link.Reply{}, err
	}
	if err := l.finish(errno); err != nil {
		return link.Reply{}, err
	}
	return l.again(true)
}

func (s *Server) serveSeek(_ context.Context, r *link.Request) (link.Reply, error) {
	v, err := header(r.Header, 3)
	if err != nil {
		return link.Reply{}, err
	}
	h, err := s.get(v[0])
	if err != nil {
		return link.Reply{}, err
	}
	defer h.put()
	at, err := unix.Seek(h.fd, int64(v[1]), int(v[2]))
	if err != nil {
		return link.Reply{}, err
	}
	return link.Reply{Header: encode(uint64(at))}, nil
}

// encode and header pack and read the varints of a header.
func encode(v ...uint64) []byte {
	b := make([]byte, 0, 16)
	for _, x := range v {
		b = binary.AppendUvarint(b, x)
	}
	return b
}

func header(b []byte, n int) ([]uint64, error) {
	v := make([]uint64, 0, n)
	for range n {
		x, k := binary.Uvarint(b)
		if k <= 0 {
			return nil, fmt.Errorf("dev: short header: %w", syscall.EBADMSG)
		}
		v, b = append(v, x), b[k:]
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("dev: long header: %w", syscall.EBADMSG)
	}
	return v, nil
}
