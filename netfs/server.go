package netfs

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/netfs/fspb"
	"github.com/onehost/onehost/token"
)

// ServerConfig says what a Server serves.
type ServerConfig struct {
	Root string // the directory that clients see as /; default "/"
	// Table is a file, with another beside it, of what the next server must know to go on with this one's clients; Boot names the time for which it holds (sys.Boot). Empty: it
	// cannot.
	Table, Boot string
	Log         *slog.Logger // default: none
}

// Server serves this host's tree to other hosts.
type Server struct {
	log     *slog.Logger
	files   *objects
	fan     *fanotify
	natives *guard
	workers *workers
	root    string // id
	bg      sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc

	unsent unsent
	deeds  deeds

	fanMu  sync.Mutex // held while events are read and turned into notes, so that Drain sees all of them turned
	marks  map[string]struct{}
	markMu sync.Mutex

	replaced atomic.Bool // natives have renamed files, perhaps over others; sweep will look

	mu      sync.Mutex // guards what follows; client.mu is taken inside it, nothing else
	clients map[names.Host]*client
	tokens  *token.Table
	posts   []*client // that have notes to be sent
	high    uint64    // no connection that is over got a higher number
	reqs    uint64
	waiting map[uint64]chan struct{}
	closed  bool
}

// client is one connection of a helper, with what the server keeps on its behalf.
type client struct {
	peer link.Peer
	conn *link.Conn
	over chan struct{}  // closed when gone
	busy sync.WaitGroup // changes under way; added to under mu, while not gone

	mu     sync.Mutex
	seq    uint64
	mounts map[uint64]struct{}
	notes  []*fspb.Inval // to be sent by postLocked
	pins   map[pinKey]*obj
	fifos  map[uint64]*fifo
	next   uint64
	locks  map[lockKey]*heldLock
	gone   bool
}

// viewer is one mount of a client: who keeps things, and is told to forget them.
type viewer struct {
	*client
	mount uint64
}

func (v viewer) holder() token.Holder {
	return token.Holder{Host: v.peer.Number, Incarnation: v.peer.Incarnation, Mount: v.mount}
}

// NewServer opens the tree and begins to watch it. It needs root.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		log: cfg.Log, files: newObjects(), workers: newWorkers(), marks: make(map[string]struct{}),
		clients: make(map[names.Host]*client), tokens: token.New(), waiting: make(map[uint64]chan struct{}),
		unsent: newUnsent(),
	}
	err := s.files.restore(cfg.Table, cfg.Boot)
	if err == nil && cfg.Table != "" {
		err = s.deeds.open(cfg.Table + ".done")
	} else if err == nil {
		err = s.deeds.open("")
	}
	if err != nil {
		s.files.close()
		return nil, err
	}
	if s.fan, err = newFanotify(); err != nil {
		return nil, err
	}
	if s.natives, err = newGuard(); err != nil {
		s.fan.close()
		return nil, err
	}
	fd, err := unix.Open(cfg.Root, unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err == nil {
		var x *obj
		if x, err = s.files.adopt(fd); err == nil {
			s.root = x.id
		}
	}
	if err != nil {
		s.fan.close()
		s.natives.close()
		s.files.close()
		s.deeds.close()
		return nil, fmt.Errorf("serve %s: %w", cfg.Root, err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.bg.Add(2)
	go s.watch()
	go s.watchOpens()
	return s, nil
}

// Close ends the service. The router must not deliver calls any more.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	var all []*client
	for _, c := range s.clients {
		all = append(all, c)
	}
	s.mu.Unlock()
	s.cancel()
	s.fan.stop()
	s.natives.close()
	for _, c := range all {
		s.drop(c)
	}
	s.bg.Wait()
	s.workers.close()
	s.fan.close()
	s.files.close()
	s.deeds.close()
	return nil
}

// Drain turns every change made at home before the call into invalidations, and returns the number of the last
// invalidation queued to host to; Mount.Applied at that host waits for it. It waits for no host. For a host that has nothing
// of ours, or has lost its connection, it is a number that only a mount attached afresh reaches.
func (s *Server) Drain(ctx context.Context, to names.Host) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := s.readEvents(); err != nil {
		return 0, fmt.Errorf("drain: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[to]
	if c == nil {
		return s.high + 1, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seq, nil
}

// DropClient forgets all that lives of the host up to and including inc hold, and removes the files that they made and sent nothing of.
func (s *Server) DropClient(host names.Host, inc names.Incarnation) {
	s.mu.Lock()
	c := s.clients[host]
	s.mu.Unlock()
	if c != nil && c.peer.Incarnation <= inc {
		s.drop(c)
	}
	s.dropUnsent(host, inc)
}

// attach makes r's connection a client, or adds a mount to it. A host that comes by a new connection has lost notes: its
// old connection's holdings are void, and it forgets everything itself.
func (s *Server) attach(r *link.Request, mount uint64) (*client, uint64, error) {
	s.mu.Lock()
	old := s.clients[r.From.Number]
	if old != nil && old.conn == r.Conn {
		defer s.mu.Unlock()
		old.mu.Lock()
		defer old.mu.Unlock()
		old.mounts[mount] = struct{}{}
		return old, old.seq, nil
	}
	s.mu.Unlock()
	if old != nil && old.peer.Incarnation > r.From.Incarnation {
		return nil, 0, errDetached // it is over, and its connection about to end
	}
	c := &client{
		peer: r.From, conn: r.Conn, mounts: map[uint64]struct{}{mount: {}}, pins: make(map[pinKey]*obj), fifos: make(map[uint64]*fifo),
		locks: make(map[lockKey]*heldLock), over: make(chan struct{}),
	}
	if old != nil {
		s.drop(old)
		old.busy.Wait() // what it still writes must not come after what it writes by the new connection
	}
	s.dropUnsent(c.peer.Number, c.peer.Incarnation-1)
	defer s.unsent.changed()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, 0, syscall.EHOSTDOWN
	}
	s.high = max(s.high+1, uint64(time.Now().UnixNano()))
	c.seq = s.high
	s.clients[r.From.Number] = c
	s.bg.Go(func() {
		select {
		case <-c.conn.Done():
			s.drop(c)
		case <-s.ctx.Done():
		}
	})
	return c, c.seq, nil
}

// find gives the client of a request.
func (s *Server) find(r *link.Request) *client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients[r.From.Number]; c != nil && c.conn == r.Conn {
		return c
	}
	return nil
}

func (s *Server) drop(c *client) {
	c.mu.Lock()
	if c.gone {
		c.mu.Unlock()
		return
	}
	c.gone = true
	close(c.over)
	seq := c.seq
	pins, fifos, locks := c.pins, c.fifos, c.locks
	c.pins, c.fifos, c.locks = nil, nil, nil
	c.mu.Unlock()
	for _, x := range pins {
		s.files.put(x)
	}
	for _, f := range fifos {
		f.close()
	}
	for _, k := range locks {
		k.put(c)
	}
	s.mu.Lock()
	s.high = max(s.high, seq)
	if s.clients[c.peer.Number] == c {
		delete(s.clients, c.peer.Number)
	}
	for m := range c.mounts {
		s.stepLocked(token.Message{Kind: token.Gone, Holder: viewer{c, m}.holder()})
	}
	s.unlock()
	s.unguard(s.natives.guarded()...)
}

// acquire gets mode on the file for c, or for the home if c is nil. It waits for at most one writer to hand over.
func (s *Server) acquire(ctx context.Context, c viewer, id string, mode token.Mode) error {
	h := c.holder()
	o := token.Object(id)
	s.mu.Lock()
	if s.tokens.Holds(o, h, mode) {
		s.mu.Unlock()
		return nil
	}
	s.reqs++
	req, ch := s.reqs, make(chan struct{})
	s.waiting[req] = ch
	s.stepLocked(token.Message{Kind: token.Acquire, Object: o, Holder: h, Mode: mode, Req: req})
	s.unlock()
	select {
	case <-ch:
		return nil
	case <-c.over:
		return errDetached
	case <-ctx.Done():
		return syscall.EINTR
	}
}

// released says that c holds back nothing of the file any more.
func (s *Server) released(c viewer, id string) {
	s.mu.Lock()
	s.stepLocked(token.Message{Kind: token.Released, Object: token.Object(id), Holder: c.holder()})
	s.unlock()
	s.unguard(id)
}

// stepLocked runs the token machine and carries its messages.
func (s *Server) stepLocked(in token.Message) {
	for _, m := range s.tokens.Step(in) {
		switch m.Kind {
		case token.Grant:
			if ch := s.waiting[m.Req]; ch != nil {
				delete(s.waiting, m.Req)
				close(ch)
			}
		case token.Revoke:
			s.noteLocked(m.Holder, &fspb.Inval{Id: []byte(m.Object), Data: true})
		case token.Recall:
			if c := s.clients[m.Holder.Host]; c != nil && c.is(m.Holder) {
				s.bg.Add(1)
				go s.recall(viewer{c, m.Holder.Mount}, string(m.Object))
			}
		}
	}
}

const recallTime = 30 * time.Second // a living client that has not answered by then has lost its claim

func (s *Server) recall(c viewer, id string) {
	defer s.bg.Done()
	ctx, cancel := context.WithTimeout(s.ctx, recallTime)
	defer cancel()
	h, err := proto.Marshal(&fspb.Op{Id: []byte(id), Mount: c.mount})
	if err == nil {
		_, err = c.conn.Call(ctx, "fs.recall", h, nil)
	}
	if err != nil {
		s.log.Warn("a client did not hand over what it wrote", "host", c.peer.Name, "err", err)
	} else {
		s.unsent.forget(c.life(), id)
	}
	s.released(c, id)
}

// is reports whether h is a mount of this client.
func (c *client) is(h token.Holder) bool {
	return c.peer.Number == h.Host && c.peer.Incarnation == h.Incarnation
}

// noteLocked queues invalidations to a holder. They are sent by postLocked, before the lock is given back or, for changes
// at home, before Drain returns.
func (s *Server) noteLocked(h token.Holder, invs ...*fspb.Inval) {
	c := s.clients[h.Host]
	if c == nil || !c.is(h) {
		return
	}
	if len(c.notes) == 0 {
		s.posts = append(s.posts, c)
	}
	for _, inv := range invs {
		inv.Mount = h.Mount
		if n := len(c.notes); n > 0 && proto.Equal(c.notes[n-1], inv) { // a file that is written to in many pieces
			continue
		}
		c.notes = append(c.notes, inv)
	}
}

// unlock gives back mu, and sends.
func (s *Server) unlock() {
	s.postLocked()
	s.mu.Unlock()
}

// postLocked sends what noteLocked queued, one note for each client. Notes and replies of one connection arrive in the order
// they are sent.
func (s *Server) postLocked() {
	for _, c := range s.posts {
		s.postTo(c)
	}
	s.posts = s.posts[:0]
}

const maxNotes = 256 // invalidations in one message

func (s *Server) postTo(c *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.notes
	c.notes = nil
	for len(all) > 0 && !c.gone {
		k := min(len(all), maxNotes)
		c.seq++
		b, err := proto.Marshal(&fspb.Invals{Seq: c.seq, Inval: all[:k]})
		if err == nil {
			err = c.conn.Notify("fs.inval", b, nil)
		}
		if err != nil {
			s.log.Warn("an invalidation could not be sent: the client must start afresh", "host", c.peer.Name, "err", err)
			_ = c.conn.Close()
			return
		}
		all = all[k:]
	}
}
