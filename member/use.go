package member

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
)

// Token gives the join token and an address to join by; rotate makes a new token and voids the one before.
func (m *Member) Token(ctx context.Context, rotate bool) (token, addr string, err error) {
	l, err := m.require()
	if err != nil {
		return "", "", err
	}
	err = l.askLeader(ctx, leadToken, tokenRequest{Rotate: rotate}, &token)
	return token, l.id.Addr, err
}

// Leave takes a host out of the cluster; names.Here or the own number takes out this host, which clears its state directory.
// It waits until that is done.
func (m *Member) Leave(ctx context.Context, host names.Host) error {
	l, err := m.require()
	if err != nil {
		return err
	}
	if host == names.Here {
		host = l.id.Number
	}
	var a applied
	if err := l.askLeader(ctx, leadLeave, host, &a); err != nil {
		if h, ok := l.View().Host(host); ok && host == l.id.Number && h.State == Left {
			m.dissolve(l) // the view was quicker than the answer, and ended the life that waited for it
			return nil
		}
		return err
	}
	if host == l.id.Number {
		l.farewell(a)
		m.dissolve(l)
		return nil
	}
	return l.await(ctx, func(v View) bool { return v.Seq >= a.Seq })
}

// farewell shows this host its own leaving, which nobody may get around to tell it.
func (l *life) farewell(a applied) {
	v := l.View()
	if v.Seq >= a.Seq {
		return
	}
	s := State{View: v}
	s.put(a.Host)
	s.View.Seq = a.Seq
	l.publish(s.View)
}

// Drain makes a host take no new jobs; resume makes it take jobs again.
func (m *Member) Drain(ctx context.Context, host names.Host, resume bool) error {
	l, err := m.require()
	if err != nil {
		return err
	}
	if host == names.Here {
		host = l.id.Number
	}
	c := Command{Op: OpDrain, Host: host}
	if resume {
		c.Op = OpResume
	}
	return l.propose(ctx, c)
}

// Ready waits until the view shows this host up in its present incarnation. It fails at once when this host belongs to no
// cluster.
func (m *Member) Ready(ctx context.Context) error {
	for {
		l, err := m.require()
		if err != nil {
			return err
		}
		err = l.await(ctx, func(v View) bool {
			h, ok := v.Host(l.id.Number)
			return ok && h.Incarnation == l.id.Incarnation && h.State.Up()
		})
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// View is the latest view; Seq 0 while this host belongs to no cluster.
func (m *Member) View() View {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life == nil {
		return View{}
	}
	return m.view
}

// Self says who this host is; all zero while it belongs to no cluster.
func (m *Member) Self() (names.Host, names.Incarnation, names.HostName, names.ClusterName) {
	if l := m.current(); l != nil {
		return l.id.Number, l.id.Incarnation, l.id.Name, l.id.Cluster
	}
	return 0, 0, "", ""
}

// Addr is the host:port that peers reach this host by; empty while it belongs to no cluster.
func (m *Member) Addr() string {
	if l := m.current(); l != nil {
		return l.id.Addr
	}
	return ""
}

// Identity is what this host proves itself by; the zero Identity while it belongs to no cluster.
func (m *Member) Identity() link.Identity {
	if l := m.current(); l != nil {
		return l.links
	}
	return link.Identity{}
}

// Conn gives a live connection to a host that is up, dialling it if there is none. The pool is Member's: it fences dead
// incarnations.
func (m *Member) Conn(ctx context.Context, host names.Host) (*link.Conn, error) {
	l, err := m.require()
	if err != nil {
		return nil, err
	}
	return l.pool.Get(ctx, host)
}

// Load gives the payload of the last heartbeat of a host and when it came, by this host's clock; the zero time if none did.
// In clusters of more than 16 hosts it may be a second or two behind.
func (m *Member) Load(host names.Host) ([]byte, time.Time) {
	if l := m.current(); l != nil {
		return l.heart.load(host)
	}
	return nil, time.Time{}
}

// Sight says whom this host hears. While it hears too few voters no view can change: then it is all that is known of a host
// that crashes.
func (m *Member) Sight() Sight {
	if l := m.current(); l != nil {
		l.heart.mu.Lock()
		defer l.heart.mu.Unlock()
		return l.heart.core.Sight()
	}
	return Sight{Quorum: true}
}

// route registers the methods that other hosts call.
func (m *Member) route(r *link.Router) {
	call := func(method string, serve func(l *life, ctx context.Context, r *link.Request) (link.Reply, error)) {
		r.HandleCall(method, func(ctx context.Context, r *link.Request) (link.Reply, error) {
			l, err := m.require()
			if err != nil {
				return link.Reply{}, err
			}
			return serve(l, ctx, r)
		})
	}
	call(methodRaft, func(l *life, ctx context.Context, r *link.Request) (link.Reply, error) {
		q := l.getQuorum()
		if q == nil {
			return link.Reply{}, errNoRegistry
		}
		header, err := q.trans.serve(ctx, r.Header, r.Body)
		return link.Reply{Header: header}, err
	})
	call(methodLead, func(l *life, ctx context.Context, r *link.Request) (link.Reply, error) {
		reply, err := l.leadHere(ctx, r.From.Number, r.Header)
		if err != nil {
			return link.Reply{}, err
		}
		header, err := json.Marshal(reply)
		return link.Reply{Header: header}, err
	})
	call(methodStand, func(l *life, _ context.Context, _ *link.Request) (link.Reply, error) {
		return link.Reply{}, l.stand(false)
	})
	call(methodView, func(l *life, _ context.Context, r *link.Request) (link.Reply, error) {
		var views []View
		if err := json.Unmarshal(r.Body, &views); err != nil {
			return link.Reply{}, refuse(errState, "bad views: %v", err)
		}
		for _, v := range views {
			l.publish(v)
		}
		return link.Reply{}, nil
	})
	call(methodWatch, (*life).serveWatch)
	r.HandleNoteNow(methodBeat, func(r *link.Request) {
		if l := m.current(); l != nil {
			l.heart.hear(r)
		}
	})
}

// subscriber gets every view, in order, at its own pace.
type subscriber struct {
	out  chan View
	done chan struct{}
	wg   sync.WaitGroup
	once sync.Once

	mu    sync.Mutex
	queue []View
	more  chan struct{} // has room for one word: the queue is not empty
}

// maxQueue bounds what a subscriber may be behind; then it misses the oldest.
const maxQueue = 1024

// Subscribe gives the latest view (if there is one) and then each later one, in order. After this host left, the last view
// shows it as left. A host that was declared failed while it lived comes back as a new incarnation of itself: whoever acts on
// views must treat that as its own death. The channel is closed by cancel and by Close.
func (m *Member) Subscribe() (<-chan View, func()) {
	s := &subscriber{out: make(chan View), done: make(chan struct{}), more: make(chan struct{}, 1)}
	s.wg.Go(s.run)
	m.mu.Lock()
	if m.subs == nil { // closed
		m.mu.Unlock()
		s.end()
		return s.out, func() {}
	}
	m.subs[s] = true
	if m.life != nil && m.view.Seq > 0 {
		s.push(m.view)
	}
	m.mu.Unlock()
	return s.out, func() {
		m.mu.Lock()
		delete(m.subs, s)
		m.mu.Unlock()
		s.end()
	}
}

// deliver hands a view to the subscribers. It waits for nobody.
func (m *Member) deliver(v View) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.view = v
	for s := range m.subs {
		s.push(v)
	}
}

func (s *subscriber) push(v View) {
	s.mu.Lock()
	s.queue = append(s.queue, v)
	if len(s.queue) > maxQueue {
		s.queue = s.queue[1:]
	}
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

func (s *subscriber) run() {
	defer close(s.out)
	for {
		s.mu.Lock()
		queue := s.queue
		s.queue = nil
		s.mu.Unlock()
		for _, v := range queue {
			select {
			case s.out <- v:
			case <-s.done:
				return
			}
		}
		if len(queue) > 0 {
			continue
		}
		select {
		case <-s.more:
		case <-s.done:
			return
		}
	}
}

func (s *subscriber) end() {
	s.once.Do(func() { close(s.done) })
	s.wg.Wait()
}
