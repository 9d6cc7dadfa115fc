package link

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// noteTimeout bounds how long Notify waits for a peer that does not handle its notes.
const noteTimeout = 10 * time.Second

// Notify sends a one-way message: header and body together at most MaxNote bytes, else EMSGSIZE. It returns when the
// note is queued, in the order promised by the package; nothing tells whether the peer handled it. While noteWindow
// bytes of notes wait at the peer it blocks, for at most 10 seconds, then fails with ETIMEDOUT and the note is not sent:
// whoever cannot do without it must close the connection.
func (c *Conn) Notify(method string, header, body []byte) error {
	n := len(header) + len(body)
	if n > MaxNote {
		return fmt.Errorf("link: note %s with %d bytes, above %d: %w", method, n, MaxNote, syscall.EMSGSIZE)
	}
	if method == "" || len(method) > maxMethod {
		return fmt.Errorf("link: method %q: want 1 to %d bytes: %w", method, maxMethod, syscall.EINVAL)
	}
	if err := c.noteRoom(n + perFrame); err != nil {
		return err
	}
	_, err := c.w.message(c.ctx, frameNote, 0, &head{method: method, header: header}, body)
	return err
}

// TryNotify is Notify for whoever cannot wait: false, without an error, if the note would have to wait for the peer to
// handle others, and then it is not sent.
func (c *Conn) TryNotify(method string, header, body []byte) (bool, error) {
	n := len(header) + len(body)
	if n > MaxNote || method == "" || len(method) > maxMethod {
		return false, c.Notify(method, header, body) // it says what is wrong
	}
	if !c.noting.try(n + perFrame) {
		return false, c.Err()
	}
	_, err := c.w.message(c.ctx, frameNote, 0, &head{method: method, header: header}, body)
	return err == nil, err
}

// noteRoom takes n bytes of the notes' window.
func (c *Conn) noteRoom(n int) error {
	if c.noting.try(n) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), noteTimeout)
	defer cancel()
	err := c.noting.acquire(ctx, c.done, n)
	switch {
	case errors.Is(err, ErrClosed):
		return c.Err()
	case err != nil:
		return fmt.Errorf("link: host %v handled no notes for %v: %w", c.peer.Number, noteTimeout, syscall.ETIMEDOUT)
	}
	return nil
}

// notes holds the queues of the notes that the peer sent, one for each method.
type notes struct {
	c    *Conn
	mu   sync.Mutex
	all  map[string]*noteQueue
	owed int // bytes handled of which the peer was not told yet
	held int // bytes that are queued
}

type noteQueue struct {
	queue    []note
	running  bool
	received uint64
	handled  uint64
	waiters  []noteWaiter
}

type note struct {
	header, body []byte
	buf          *buffer
}

type noteWaiter struct {
	until uint64 // value of handled
	ch    chan struct{}
}

func (n *notes) init(c *Conn) { n.c, n.all = c, map[string]*noteQueue{} }

// add queues a note; the reader calls it.
func (n *notes) add(h rawHead, body []byte, buf *buffer) error {
	size := len(h.header) + len(body) + perFrame
	if handle := n.c.router.noteNow(h.method); handle != nil {
		handle(&Request{Method: string(h.method), Header: h.header, Body: body, From: n.c.peer, Conn: n.c})
		buf.free()
		n.mu.Lock()
		n.held += size
		n.handledLocked(size)
		n.mu.Unlock()
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held += size; n.held > noteWindow {
		return errPeer("more notes than its window holds")
	}
	q := n.all[string(h.method)]
	if q == nil {
		if n.c.router.note(string(h.method)) == nil {
			// Nobody to tell. A peer of a later minor version may send what this host does not know.
			n.handledLocked(size)
			buf.free()
			return nil
		}
		q = &noteQueue{}
		n.all[string(h.method)] = q
	}
	q.received++
	q.queue = append(q.queue, note{header: h.header, body: body, buf: buf})
	if !q.running {
		q.running = true
		go n.drain(string(h.method), q)
	}
	return nil
}

// drain handles the notes of one method until none is left. Those that arrived are handled even when the connection has
// ended since.
func (n *notes) drain(method string, q *noteQueue) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(q.queue) > 0 {
		batch := q.queue
		q.queue = nil
		for _, m := range batch {
			n.mu.Unlock()
			if h := n.c.router.note(method); h != nil {
				h(&Request{Method: method, Header: m.header, Body: m.body, From: n.c.peer, Conn: n.c})
			}
			m.buf.free()
			n.mu.Lock()
			q.handled++
			n.handledLocked(len(m.header) + len(m.body) + perFrame)
			for len(q.waiters) > 0 && q.waiters[0].until <= q.handled {
				close(q.waiters[0].ch)
				q.waiters = q.waiters[1:]
			}
		}
	}
	q.running = false
}

// handledLocked gives room in the window back to the peer, in a few large pieces.
func (n *notes) handledLocked(size int) {
	n.held -= size
	if n.owed += size; n.owed >= noteWindow/8 {
		n.c.w.credit(0, n.owed)
		n.owed = 0
	}
}

// WaitNotes waits until every note of the method that arrived before has been handled. Called after a reply was
// delivered, it covers all notes that the peer sent before that reply. It must not be called from the note handler of
// that method.
func (c *Conn) WaitNotes(ctx context.Context, method string) error {
	n := &c.inbound
	n.mu.Lock()
	q := n.all[method]
	if q == nil || q.handled == q.received {
		n.mu.Unlock()
		return nil
	}
	w := noteWaiter{until: q.received, ch: make(chan struct{})}
	q.waiters = append(q.waiters, w)
	n.mu.Unlock()
	select {
	case <-w.ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// credited takes back room in a window of ours: of the stream of that id, or of the notes.
func (c *Conn) credited(id uint64, n int) error {
	if id == 0 {
		if !c.noting.release(n) {
			return errPeer("it handled more notes than it got")
		}
		return nil
	}
	if s := c.streamOf(id); s != nil {
		return s.credited(n)
	}
	return nil
}
