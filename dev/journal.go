package dev

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/onehost/onehost/link"
)

// errDoubt says that a daemon was killed in the midst of an operation: whether it was carried out nobody knows.
var errDoubt = fmt.Errorf("whether the last read or write was carried out is not known: %w", syscall.EIO)

// lane is the reads or the writes of one descriptor: one at a time, in the order of their numbers. What became of the last is kept until the
// next one comes, which says that the helper has heard of it: so that it is done exactly once, though the connection ends before the reply
// has come, or the daemon does. For that it is kept in a file, which outlives the daemon as long as its host runs: there is no need for it to
// be on a disk.
type lane struct {
	turn chan struct{} // held by the operation under way, which alone touches what follows
	held *held
	at   int64 // in the file
	last entry
}

// entry is what is known of an operation.
type entry struct {
	host   uint64 // whose numbers they are: the helper's
	inc    uint64 // and its incarnation
	seq    uint64
	state  uint64
	count  uint64 // bytes written so far
	errno  uint64 // that stopped a write
	header uint64 // length of a read's reply
	body   uint64
}

// The states of an entry.
const (
	waiting = iota // nothing is going on; count bytes have been written
	begun          // a system call is about to be made, or being made
	done
)

// Sizes in the file: an entry, a reply's header, its body; and all of a lane.
const (
	entrySize  = 8 * 8
	headerSize = 4 << 10
	laneSize   = 128 << 10
)

func newLane(h *held, i int) *lane {
	return &lane{turn: make(chan struct{}, 1), held: h, at: int64(i) * laneSize}
}

// journal gives the file, which is made when it is needed first: few descriptors are ever used. nil: there is none.
func (h *held) journal() (*os.File, error) {
	if h.path == "" {
		return nil, nil //nolint:nilnil // a server without one
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.notes == nil {
		f, err := os.OpenFile(h.path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		h.notes = f
	}
	return h.notes, nil
}

// take waits for the turn, until ctx ends.
func (l *lane) take(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return syscall.EINTR
	}
}

func (l *lane) give() { <-l.turn }

// note writes the entry down. The caller has the turn.
func (l *lane) note(e entry) error {
	l.last = e
	f, err := l.held.journal()
	if f == nil || err != nil {
		return err
	}
	b := make([]byte, 0, entrySize)
	for _, v := range []uint64{e.host, e.inc, e.seq, e.state, e.count, e.errno, e.header, e.body} {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	_, err = f.WriteAt(b, l.at)
	return err
}

// recall reads what an earlier daemon noted. errDoubt: it was killed in the midst of something.
func (l *lane) recall(f *os.File) error {
	b := make([]byte, entrySize)
	if n, _ := f.ReadAt(b, l.at); n < entrySize {
		return nil // nothing was noted
	}
	for i, v := range []*uint64{&l.last.host, &l.last.inc, &l.last.seq, &l.last.state, &l.last.count, &l.last.errno, &l.last.header, &l.last.body} {
		*v = binary.NativeEndian.Uint64(b[8*i:])
	}
	switch {
	case l.last.state == begun:
		return errDoubt
	case l.last.state > done, l.last.header > headerSize, l.last.body > maxPiece:
		return fmt.Errorf("what an earlier daemon noted of a descriptor makes no sense: %w", syscall.EIO)
	}
	return nil
}

// attempt makes a system call that does not wait, between two notes.
func (l *lane) attempt(call func() (int, error)) (n int, err error) {
	e := l.last
	e.state = begun
	if err := l.note(e); err != nil {
		return 0, err
	}
	n, err = call()
	if err != nil {
		e.state = waiting
		if nerr := l.note(e); nerr != nil {
			return 0, nerr
		}
	}
	return n, err // of a success the caller makes a note
}

// reply notes what a read brought, and gives it.
func (l *lane) reply(header, body []byte) (link.Reply, error) {
	if len(header) > headerSize {
		header = nil
	}
	f, err := l.held.journal()
	if err == nil && f != nil {
		if _, err = f.WriteAt(header, l.at+entrySize); err == nil {
			_, err = f.WriteAt(body, l.at+entrySize+headerSize)
		}
	}
	if err == nil {
		e := l.last
		e.state, e.header, e.body = done, uint64(len(header)), uint64(len(body))
		err = l.note(e)
	}
	if err != nil {
		return link.Reply{}, err
	}
	return link.Reply{Header: header, Body: body}, nil
}

// again gives the reply of an operation that was carried out before.
func (l *lane) again(write bool) (link.Reply, error) {
	if write {
		return link.Reply{Header: encode(l.last.count, l.last.errno)}, nil
	}
	f, err := l.held.journal()
	if err != nil || f == nil {
		return link.Reply{}, errors.Join(err, errDoubt)
	}
	r := link.Reply{Header: make([]byte, l.last.header), Body: make([]byte, l.last.body)}
	if _, err = f.ReadAt(r.Header, l.at+entrySize); err == nil {
		_, err = f.ReadAt(r.Body, l.at+entrySize+headerSize)
	}
	if len(r.Header) == 0 {
		r.Header = nil
	}
	return r, err
}

// start finds out whether the operation seq is to be carried out: a new one is; one that has been is not; and one that comes too late is
// refused. The caller has the turn.
func (l *lane) start(from link.Peer, seq uint64) (already bool, err error) {
	e := entry{host: uint64(from.Number), inc: uint64(from.Incarnation), seq: seq}
	if e.host == l.last.host && e.inc == l.last.inc {
		switch {
		case seq < l.last.seq:
			return false, fmt.Errorf("operation %d of a descriptor comes after %d: %w", seq, l.last.seq, syscall.ESTALE)
		case seq == l.last.seq && l.last.state == begun: // its note failed
			return false, errDoubt
		case seq == l.last.seq:
			return l.last.state == done, nil
		}
	}
	l.last = e
	return false, nil
}

// finish notes the end of a write.
func (l *lane) finish(errno syscall.Errno) error {
	e := l.last
	e.state, e.errno = done, uint64(errno)
	return l.note(e)
}

// wrote notes a part of a write.
func (l *lane) wrote(n int) error {
	e := l.last
	e.state, e.count = waiting, e.count+uint64(n)
	return l.note(e)
}

// Resume takes descriptors back that an earlier daemon of this host kept for a job: desc is its description, and files, which are numbered ns
// in the job and stay the caller's, are what was described. doubt says that the job cannot go on, for it is not known whether its last read or write
// was carried out; it may begin again with these descriptors.
func (s *Server) Resume(job int, desc []byte, ns []int, files []*os.File) (release func(), doubt, err error) {
	ds, err := Unmarshal(desc)
	if err != nil {
		return nil, nil, err
	}
	if len(ns) != len(files) {
		return nil, nil, fmt.Errorf("%d descriptors, of which %d came: %w", len(ns), len(files), syscall.EINVAL)
	}
	byN := map[int]*os.File{}
	for i, f := range files {
		byN[ns[i]] = f
	}
	var ids []uint64
	release = func() {
		for _, id := range ids {
			s.Remove(id)
		}
	}
	for _, d := range ds {
		if d.ID == 0 {
			continue // opened by name
		}
		f := byN[d.N]
		if f == nil {
			err = fmt.Errorf("descriptor %d: %w", d.N, syscall.EBADF)
		} else {
			var unsure error
			unsure, err = s.resume(d.ID, f, job)
			doubt = errors.Join(doubt, unsure)
		}
		if err != nil {
			release()
			return nil, nil, err
		}
		ids = append(ids, d.ID)
	}
	return release, doubt, nil
}

// resume keeps an open file under the id that an earlier daemon gave it.
func (s *Server) resume(id uint64, f *os.File, job int) (doubt, err error) {
	h, err := s.keep(id, f, job)
	if err != nil {
		return nil, err
	}
	if notes, oerr := os.OpenFile(h.path, os.O_RDWR, 0); oerr == nil {
		h.notes = notes
		for _, l := range h.lanes {
			doubt = errors.Join(doubt, l.recall(notes))
		}
	}
	s.mu.Lock()
	if err == nil && s.files[id] != nil {
		err = fmt.Errorf("descriptor %d is kept already: %w", id, syscall.EEXIST)
	}
	if err == nil {
		s.files[id] = h
	}
	s.mu.Unlock()
	if err != nil {
		h.path = "" // of the one that is kept
		h.close()
	}
	return doubt, err
}

// Sweep removes what an earlier daemon noted of descriptors that nobody has taken back.
func (s *Server) Sweep() error {
	all, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range all {
		id, err := strconv.ParseUint(e.Name(), 10, 64)
		if err != nil || id >= s.first {
			continue
		}
		s.mu.Lock()
		kept := s.files[id] != nil
		s.mu.Unlock()
		if !kept {
			errs = append(errs, os.Remove(filepath.Join(s.dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// firstID is where a daemon's ids begin: above those of earlier ones.
func firstID() uint64 { return uint64(time.Now().UnixNano()) }

func (s *Server) keep(id uint64, f *os.File, job int) (*held, error) {
	h, err := hold(&s.open, f)
	if err != nil {
		return nil, fmt.Errorf("keep descriptor of %s: %w", f.Name(), err)
	}
	h.job = job
	if s.dir != "" {
		h.path = filepath.Join(s.dir, strconv.FormatUint(id, 10))
	}
	return h, nil
}
