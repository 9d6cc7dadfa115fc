package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Conn is a connection to a peer. All methods may be used by any number of goroutines.
type Conn struct {
	rwc      net.Conn
	peer     Peer
	router   *Router
	w        writer
	ctx      context.Context // of everything that serves the peer
	cancel   context.CancelFunc
	done     chan struct{}
	odd      uint64        // 1 when this end gives odd ids
	calls    chan struct{} // a slot for each of our calls under way
	opens    chan struct{} // and for each stream that we opened
	bodies   *budget       // large bodies of our calls
	noting   *budget       // our notes that the peer has not handled
	inbound  notes
	pendings sync.Pool // of *pending

	mu      sync.Mutex
	err     error
	lastID  uint64
	waiting map[uint64]*pending           // our calls, until their reply
	serving map[uint64]context.CancelFunc // the peer's calls that run
	streams map[uint64]*Stream            // of both ends
	opened  int                           // how many of streams the peer opened
}

// NewConn runs the protocol over rwc, which it owns from now on. peer is trusted to be who is at the other end; dialed
// is true at exactly one end.
func NewConn(rwc net.Conn, peer Peer, r *Router, dialed bool) *Conn {
	c := &Conn{
		rwc: rwc, peer: peer, router: r,
		done:    make(chan struct{}),
		calls:   make(chan struct{}, MaxCalls),
		opens:   make(chan struct{}, MaxStreams),
		bodies:  newBudget(MaxRequests),
		noting:  newBudget(noteWindow),
		waiting: map[uint64]*pending{},
		serving: map[uint64]context.CancelFunc{},
		streams: map[uint64]*Stream{},
	}
	c.inbound.init(c)
	if dialed {
		c.odd = 1
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.w.init(rwc, roomOf(rwc), c.closeWith)
	go c.w.run()
	go c.read()
	return c
}

// Peer says who is at the other end.
func (c *Conn) Peer() Peer { return c.peer }

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the connection ended, nil while it lives. It wraps ErrClosed and EHOSTDOWN.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// errClosedHere is the cause when this end closed.
var errClosedHere = errors.New("closed by this host")

// Close ends the connection at once, and with it everything that goes over it. It does not wait for handlers, whose
// contexts it cancels.
func (c *Conn) Close() error {
	c.closeWith(errClosedHere)
	return nil
}

func (c *Conn) closeWith(cause error) {
	if errors.Is(cause, io.EOF) || errors.Is(cause, io.ErrUnexpectedEOF) {
		cause = fmt.Errorf("the peer closed it")
	}
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = &closedError{peer: c.peer, cause: cause}
	waiting, streams := c.waiting, c.streams
	c.waiting, c.streams = nil, nil
	c.mu.Unlock()

	c.cancel()
	c.w.close(c.err)
	closeRaw(c.rwc)
	close(c.done)
	for _, p := range waiting {
		p.result <- result{err: c.err}
	}
	for _, s := range streams {
		s.end(c.err)
	}
}

// ours says whether this end gave the id.
func (c *Conn) ours(id uint64) bool { return id&1 == c.odd }

// nextIDLocked gives an id to a call or a stream of ours.
func (c *Conn) nextIDLocked() uint64 {
	c.lastID++
	return c.lastID<<1 | c.odd
}

// acquire takes a slot for something of ours, or says why not.
func (c *Conn) acquire(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return c.Err()
	}
}
