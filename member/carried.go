package member

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
)

// carriers is the connections that carriers of other hosts have made to this one. A carrier is a process of another host that runs what this
// host has there; it belongs to a life of its host, whose daemon may be started again meanwhile. Of each host the last that was started counts.
type carriers struct {
	mu      sync.Mutex // guards what follows
	closed  bool
	hosts   map[names.Host]*link.Conn
	changed chan struct{} // closed, and made anew, with each that comes
}

func newCarriers() *carriers {
	return &carriers{hosts: map[names.Host]*link.Conn{}, changed: make(chan struct{})}
}

// add takes in an accepted connection. The one before it of the same host ends: its carrier has given it up, or has ended itself.
func (cs *carriers) add(c *link.Conn) {
	host := c.Peer().Number
	cs.mu.Lock()
	was := cs.hosts[host]
	if cs.closed || was != nil && was.Peer().Incarnation > c.Peer().Incarnation {
		was = c
	} else {
		cs.hosts[host] = c
		close(cs.changed)
		cs.changed = make(chan struct{})
	}
	cs.mu.Unlock()
	if was != nil {
		_ = was.Close()
	}
}

// live gives the connection of a host's carrier, nil if there is none, and what is closed when another comes.
func (cs *carriers) live(host names.Host) (*link.Conn, <-chan struct{}) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := cs.hosts[host]; c != nil && c.Err() == nil {
		return c, cs.changed
	}
	return nil, cs.changed
}

// take gives the connections for which it says yes, and forgets them.
func (cs *carriers) take(yes func(link.Peer) bool) (all []*link.Conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for host, c := range cs.hosts {
		if yes(c.Peer()) {
			all = append(all, c)
			delete(cs.hosts, host)
		}
	}
	return all
}

func (cs *carriers) close() {
	cs.mu.Lock()
	cs.closed = true
	cs.mu.Unlock()
	for _, c := range cs.take(func(link.Peer) bool { return true }) {
		_ = c.Close()
	}
}

// AdmitsCarrier says whether a word from a carrier may be heard, which a host's daemon started in an incarnation: nil, or a Refusal. It
// may as long as its host lives the life in which it was started. A later incarnation than the view knows is admitted: the view is behind.
func (v View) AdmitsCarrier(host names.Host, of names.Incarnation) error {
	h, known := v.Host(host)
	switch {
	case v.Seq == 0:
		return nil
	case !known || h.State == Left:
		return refuse(errLeft, "host %d is not a member of cluster %s (any more)", host, v.Cluster)
	case of > h.Incarnation || h.GoesOn(of):
		return nil
	}
	return refuse(errStale, "host %s: the life in which its incarnation %d started a carrier is over", h.Name, of)
}

// fenceCarriers ends the carriers of lives that are over.
func (l *life) fenceCarriers(v View) {
	l.partFrom(func(p link.Peer) bool { return v.AdmitsCarrier(p.Number, p.Incarnation.Daemon()) != nil })
}

// Bounds of the end in order of a carrier: for all of it, and for the kernel of its host to acknowledge that it was told.
const (
	partTime = time.Second
	partSign = 150 * time.Millisecond
)

// partFrom ends the carriers for which over says yes. One that can be reached ends what it runs before its connection does: it may be that only its
// daemon is dead, and what it runs is about to begin again elsewhere. It does not wait for them.
func (l *life) partFrom(over func(link.Peer) bool) {
	for _, c := range l.carriers.take(over) {
		part := func() {
			defer c.Close()
			if l.m.cfg.Part == nil {
				return
			}
			ctx, cancel := context.WithTimeout(l.ctx, partTime)
			defer cancel()
			begin := time.Now()
			sign := time.AfterFunc(partSign, func() {
				if s, ok := c.Signs(); ok && s.Acked > time.Since(begin) {
					cancel() // it is the host that is gone
				}
			})
			defer sign.Stop()
			l.m.cfg.Part(ctx, c)
		}
		if !l.begin(part) {
			_ = c.Close()
		}
	}
}

// Carrier gives the connection that a host's carrier has made to this host, nil if there is none now.
func (m *Member) Carrier(host names.Host) *link.Conn {
	l := m.current()
	if l == nil {
		return nil
	}
	c, _ := l.carriers.live(host)
	return c
}

// AwaitCarrier waits until a host's carrier of that incarnation has made a connection to this host.
func (m *Member) AwaitCarrier(ctx context.Context, host names.Host, inc names.Incarnation) (*link.Conn, error) {
	l, err := m.require()
	if err != nil {
		return nil, err
	}
	for {
		c, changed := l.carriers.live(host)
		switch {
		case c == nil:
		case c.Peer().Incarnation == inc:
			return c, nil
		case c.Peer().Incarnation > inc:
			return nil, refuse(errStale, "host %d has started another carrier for this host", host)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("the carrier of host %v: %w", host, ctx.Err())
		case <-l.ctx.Done():
			return nil, refuse(errNone, "this host stopped being part of cluster %s", l.id.Cluster)
		}
	}
}

// Credentials is what a carrier of this host needs to speak for it: the host's certificate, whose key it is, and the cluster's authority, all DER.
type Credentials struct {
	Cert, Key, CA []byte
	Hello         link.Hello // without the carrier's number
}

// Credentials gives what a carrier of this host needs.
func (m *Member) Credentials() (Credentials, error) {
	l, err := m.require()
	if err != nil {
		return Credentials{}, err
	}
	hello := l.hello
	hello.Birth = 0
	return Credentials{Cert: l.id.Cert, Key: l.id.Key, CA: l.id.CA, Hello: hello}, nil
}

// Identity makes the credentials into what links are made with.
func (c Credentials) Identity() (link.Identity, error) {
	return makeIdentity(c.Cert, c.Key, c.CA)
}
