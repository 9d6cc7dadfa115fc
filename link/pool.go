package link

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/onehost/onehost/names"
)

// Pauses after a dial that failed: within them Get returns that failure at once.
const (
	firstPause = 100 * time.Millisecond
	longPause  = 2 * time.Second
)

// Pool keeps the connections to other hosts, those it dialled and those that were accepted. When two hosts dial each
// other at once there are two connections between them; both serve until they end, and Get at each end prefers the one
// it has had longest, so that what goes to a host keeps to one connection, in order.
type Pool struct {
	dial   func(ctx context.Context, h names.Host) (*Conn, error)
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	hosts  map[names.Host]*poolHost
}

// poolHost is what the pool knows of one host.
type poolHost struct {
	conns   []*Conn           // oldest first, all of the newest incarnation seen
	fenced  names.Incarnation // this and earlier lives are refused
	dialing chan struct{}     // closed when the dial under way is over; nil: none
	failed  error             // of the last dial
	pause   time.Duration
	until   time.Time // no dial before
}

var errPoolClosed = fmt.Errorf("link: this host is stopping: %w", ErrClosed)

// NewPool makes an empty pool. dial must honour its context and gets a bound of its own besides.
func NewPool(dial func(ctx context.Context, h names.Host) (*Conn, error)) *Pool {
	p := &Pool{dial: dial, hosts: map[names.Host]*poolHost{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

func (p *Pool) hostLocked(h names.Host) *poolHost {
	ph := p.hosts[h]
	if ph == nil {
		ph = &poolHost{}
		p.hosts[h] = ph
	}
	return ph
}

// Get gives a live connection to the host, and dials if there is none: once, for all who ask meanwhile. After a dial
// that failed, its error is returned at once for a while: 100 ms, doubling up to 2 s.
func (p *Pool) Get(ctx context.Context, host names.Host) (*Conn, error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, errPoolClosed
		}
		ph := p.hostLocked(host)
		if i := slices.IndexFunc(ph.conns, func(c *Conn) bool { return c.Err() == nil }); i >= 0 {
			defer p.mu.Unlock()
			return ph.conns[i], nil
		}
		if ph.dialing == nil {
			if ph.failed != nil && time.Now().Before(ph.until) {
				defer p.mu.Unlock()
				return nil, ph.failed
			}
			ph.dialing = make(chan struct{})
			p.wg.Go(func() { p.redial(host, ph) })
		}
		wait := ph.dialing
		p.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Soon forgets that dialling a host has failed: the next Get tries again.
func (p *Pool) Soon(host names.Host) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ph := p.hosts[host]; ph != nil {
		ph.failed, ph.pause = nil, 0
	}
}

// Live gives the connection that Get would give without waiting, or nil if there is none.
func (p *Pool) Live(host names.Host) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	ph := p.hosts[host]
	if ph == nil || p.closed {
		return nil
	}
	if i := slices.IndexFunc(ph.conns, func(c *Conn) bool { return c.Err() == nil }); i >= 0 {
		return ph.conns[i]
	}
	return nil
}

// Signs gives the latest sign of life that the kernel has of a host, over all connections to it; see Conn.Signs.
func (p *Pool) Signs(host names.Host) (Signs, bool) {
	p.mu.Lock()
	var conns []*Conn
	if ph := p.hosts[host]; ph != nil {
		conns = slices.Clone(ph.conns)
	}
	p.mu.Unlock()
	var all Signs
	known := false
	for _, c := range conns {
		s, ok := c.Signs()
		if !ok || c.Err() != nil {
			continue
		}
		if !known || s.Acked < all.Acked {
			all.Acked = s.Acked
		}
		all.Unread = all.Unread || s.Unread
		known = true
	}
	return all, known
}

// redial dials for everybody who waits, so under none of their contexts.
func (p *Pool) redial(host names.Host, ph *poolHost) {
	ctx, cancel := context.WithTimeout(p.ctx, 2*handshakeTimeout)
	defer cancel()
	c, err := p.dial(ctx, host)
	if err == nil && c.Peer().Number != host {
		_ = c.Close()
		err = fmt.Errorf("link: dialled host %v and got host %v: %w", host, c.Peer().Number, names.Refused)
	}
	if err == nil {
		err = p.add(c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	close(ph.dialing)
	ph.dialing, ph.failed = nil, err
	if err == nil {
		ph.pause = 0
		return
	}
	ph.pause = min(max(2*ph.pause, firstPause), longPause)
	ph.until = time.Now().Add(ph.pause)
}

// Add takes in an accepted connection. One of a life that is over, or to a pool that is closed, is closed.
func (p *Pool) Add(c *Conn) { _ = p.add(c) }

func (p *Pool) add(c *Conn) error {
	peer := c.Peer()
	p.mu.Lock()
	ph := p.hostLocked(peer.Number)
	var old []*Conn
	err := error(nil)
	switch {
	case p.closed:
		err = errPoolClosed
	case peer.Incarnation <= ph.fenced:
		err = fmt.Errorf("link: host %v (%s), incarnation %d: %w", peer.Number, peer.Name, peer.Incarnation, names.OldIncarnation)
	case len(ph.conns) > 0 && ph.conns[0].Peer().Incarnation > peer.Incarnation:
		err = fmt.Errorf("link: host %v (%s), incarnation %d: %w", peer.Number, peer.Name, peer.Incarnation, names.OldIncarnation)
	case len(ph.conns) > 0 && ph.conns[0].Peer().Incarnation < peer.Incarnation:
		old, ph.conns = ph.conns, nil
		fallthrough
	default:
		ph.conns = append(ph.conns, c)
		ph.failed = nil
		p.wg.Go(func() { p.watch(ph, c) })
	}
	p.mu.Unlock()
	if err != nil {
		_ = c.Close()
	}
	for _, o := range old {
		_ = o.Close()
	}
	return err
}

// watch forgets a connection when it ends.
func (p *Pool) watch(ph *poolHost, c *Conn) {
	<-c.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(ph.conns, c); i >= 0 {
		ph.conns = slices.Delete(ph.conns, i, i+1)
	}
}

// Drop closes the connections to the lives of a host up to and including inc, and refuses those from now on.
func (p *Pool) Drop(host names.Host, inc names.Incarnation) {
	p.mu.Lock()
	ph := p.hostLocked(host)
	ph.fenced = max(ph.fenced, inc)
	var old []*Conn
	if len(ph.conns) > 0 && ph.conns[0].Peer().Incarnation <= inc {
		old, ph.conns = ph.conns, nil
	}
	p.mu.Unlock()
	for _, c := range old {
		_ = c.Close()
	}
}

// Hangup closes the connections to the lives of a host up to and including inc, without refusing new ones.
func (p *Pool) Hangup(host names.Host, inc names.Incarnation) {
	p.mu.Lock()
	var old []*Conn
	if ph := p.hosts[host]; ph != nil && len(ph.conns) > 0 && ph.conns[0].Peer().Incarnation <= inc {
		old, ph.conns = ph.conns, nil
	}
	p.mu.Unlock()
	for _, c := range old {
		_ = c.Close()
	}
}

// Close closes all connections, ends dials under way and waits for them.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	var all []*Conn
	for _, ph := range p.hosts {
		all = append(all, ph.conns...)
	}
	p.mu.Unlock()
	p.cancel()
	for _, c := range all {
		_ = c.Close()
	}
	p.wg.Wait()
}
