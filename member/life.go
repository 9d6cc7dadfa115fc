package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
)

// life is one incarnation of this host in one cluster: its listener, pool and goroutines. Member starts and ends lives.
type life struct {
	m        *Member
	log      *slog.Logger
	id       identity
	links    link.Identity
	hello    link.Hello
	ln       *link.Listener
	pool     *link.Pool
	carriers *carriers
	heart    *heart
	began    time.Time

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	standing sync.Mutex // held while the copy of the registry is opened or closed; taken before mu

	mu      sync.Mutex
	closed  bool
	view    View
	changed chan struct{} // closed by the next view
	recent  []View        // the last views, to serve those who watch
	leader  names.Host    // the last known leader, a hint
	quorum  *quorum       // nil unless this host is a voter
	stood   chan struct{} // closed when quorum is next set
	joiners chan struct{} // bounds the joins under way
}

// maxRecent is how many views a watcher may be behind and still see every one.
const maxRecent = 64

// maxTold is how many views a host is told that did not ask by a watch.
const maxTold = 16

// retryEvery is how soon what another host did not answer is tried again.
const retryEvery = 100 * time.Millisecond

// leftGrace is how long a host that left is still listened to, so that it hears of it.
const leftGrace = 2 * time.Second

// newLife listens at listen and begins a life. Goroutines start with run. bootstrap makes a new registry; otherwise there is
// one if the state directory holds one.
func newLife(m *Member, id identity, listen string) (_ *life, err error) {
	l := &life{
		m: m, log: m.log, id: id, began: time.Now(), changed: make(chan struct{}), stood: make(chan struct{}), joiners: make(chan struct{}, 16),
		hello: link.Hello{Cluster: id.Cluster, Number: id.Number, Name: id.Name, Incarnation: id.Incarnation, Birth: id.Birth},
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if l.links, err = makeIdentity(id.Cert, id.Key, id.CA); err != nil {
		return nil, err
	}
	l.heart = newHeart(l)
	l.pool, l.carriers = link.NewPool(l.dial), newCarriers()
	l.ln, err = link.Listen(listen, l.links, l.hello, m.cfg.Router, link.ListenOptions{
		Accept: l.accept,
		OnConn: l.accepted,
		Join:   l.serveJoin,
	})
	if err != nil {
		l.cancel()
		l.pool.Close()
		return nil, fmt.Errorf("listen at %s: %w", listen, err)
	}
	return l, nil
}

func (l *life) self() Life { return Life{l.id.Number, l.id.Incarnation} }

// start opens this host's copy of the registry, if it holds one, and starts the goroutines.
func (l *life) start(holds, bootstrap bool) error {
	if holds {
		if err := l.stand(bootstrap); err != nil {
			return err
		}
	}
	l.begin(l.heart.run)
	l.begin(l.watch)
	l.begin(l.steward)
	l.begin(l.saveViews)
	if !bootstrap {
		l.begin(l.rejoin)
	}
	return nil
}

// begin runs f on a goroutine of this life; false if the life is over.
func (l *life) begin(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.wg.Go(f)
	return true
}

// stand opens this host's copy of the registry if it is not open yet. It must not hold mu meanwhile: raft publishes a view
// before it is open.
func (l *life) stand(bootstrap bool) error {
	l.standing.Lock()
	defer l.standing.Unlock()
	if l.getQuorum() != nil {
		return nil
	}
	if l.ctx.Err() != nil {
		return refuse(errNone, "this host is leaving the cluster")
	}
	q, err := openQuorum(l.m.dir.registry(), l.id.Number, bootstrap, l.call, l.publish, l.log)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.quorum = q
	close(l.stood)
	l.stood = make(chan struct{})
	l.mu.Unlock()
	return nil
}

// retire ends this host's copy of the registry for good.
func (l *life) retire() {
	l.standing.Lock()
	defer l.standing.Unlock()
	if l.endQuorum() {
		if err := l.m.dir.clearRegistry(); err != nil {
			l.log.Warn("cannot remove the copy of the registry", "error", err)
		}
	}
}

// endQuorum closes this host's copy of the registry; false if there is none. The caller holds standing.
func (l *life) endQuorum() bool {
	l.mu.Lock()
	q := l.quorum
	l.quorum = nil
	l.mu.Unlock()
	if q == nil {
		return false
	}
	if err := q.close(); err != nil {
		l.log.Warn("cannot close the registry", "error", err)
	}
	return true
}

// hangUp ends all that others reach this host by.
func (l *life) hangUp() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	_ = l.ln.Close()
	l.pool.Close()
	l.carriers.close()
}

// close ends the life, after hangUp: nothing of it runs when it returns.
func (l *life) close() {
	l.standing.Lock()
	l.endQuorum()
	l.standing.Unlock()
	l.wg.Wait()
}

// View is the latest view.
func (l *life) View() View {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.view
}

func (l *life) getQuorum() *quorum {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.quorum
}

// await waits until the view satisfies ok.
func (l *life) await(ctx context.Context, ok func(View) bool) error {
	for {
		l.mu.Lock()
		view, changed := l.view, l.changed
		l.mu.Unlock()
		if ok(view) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.ctx.Done():
			return refuse(errNone, "this host stopped being part of cluster %s", l.id.Cluster)
		}
	}
}

// publish takes a view that is newer than the last. It does not wait for anything but short locks.
func (l *life) publish(v View) {
	l.mu.Lock()
	was := l.view
	if l.closed || v.Seq <= was.Seq {
		l.mu.Unlock()
		return
	}
	l.view = v
	l.recent = append(l.recent, v)
	if len(l.recent) > maxRecent {
		l.recent = l.recent[1:]
	}
	close(l.changed)
	l.changed = make(chan struct{})
	l.m.deliver(v)
	l.mu.Unlock()

	l.heart.note(Viewed{v})
	l.fence(v)
	l.fenceCarriers(v)
	me, known := v.Host(l.id.Number)
	switch {
	case !known || me.State == Left:
		l.m.later(func() { l.m.dissolve(l) })
	case me.Incarnation > l.id.Incarnation, me.Incarnation == l.id.Incarnation && me.State == Failed:
		l.m.later(func() { l.m.reincarnate(l, me.Incarnation) })
	default:
		if before, _ := was.Host(l.id.Number); before.Voter && !me.Voter {
			l.begin(l.retire)
		}
	}
}

// fence ends the connections of lives that are over.
func (l *life) fence(v View) {
	for _, h := range v.Hosts {
		switch {
		case h.Number == l.id.Number:
		case h.State == Failed:
			l.pool.Drop(h.Number, h.Incarnation)
		case h.State == Left:
			if time.Since(h.Since) > time.Minute {
				continue // dropped long ago, and not admitted since
			}
			l.begin(func() {
				if l.pause(leftGrace) {
					l.pool.Drop(h.Number, ^names.Incarnation(0))
				}
			})
		case h.Incarnation > 1:
			l.pool.Drop(h.Number, h.Incarnation-1)
		}
	}
}

// pause waits; false if the life ended meanwhile.
func (l *life) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// accept refuses peers whose life is over. One that this host has not heard of may have joined a moment ago.
func (l *life) accept(p link.Peer) error {
	ctx, cancel := context.WithTimeout(l.ctx, deadline)
	defer cancel()
	_ = l.await(ctx, func(v View) bool {
		_, known := v.Host(p.Number)
		return known
	})
	if p.Carrier != 0 {
		return l.View().AdmitsCarrier(p.Number, p.Incarnation.Daemon())
	}
	return l.View().Admits(Life{p.Number, p.Incarnation})
}

// accepted takes in a connection that another host made.
func (l *life) accepted(c *link.Conn) {
	if c.Peer().Carrier == 0 {
		l.pool.Add(c)
		return
	}
	l.carriers.add(c)
	l.fenceCarriers(l.View()) // a view may have come since accept looked
}

// dial is the pool's.
func (l *life) dial(ctx context.Context, n names.Host) (*link.Conn, error) {
	h, ok := l.View().Host(n)
	if !ok || !h.State.Up() {
		return nil, refuse(errDown, "host %d is not up", n)
	}
	c, err := link.Dial(ctx, h.Addr, l.links, l.hello, n, l.m.cfg.Router)
	if err != nil {
		return nil, err
	}
	if err := l.View().Admits(Life{c.Peer().Number, c.Peer().Incarnation}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// call sends one call to another host.
func (l *life) call(ctx context.Context, to names.Host, method string, header, body []byte) (link.Reply, error) {
	c, err := l.pool.Get(ctx, to)
	if err != nil {
		return link.Reply{}, err
	}
	return c.Call(ctx, method, header, body)
}

// saveViews keeps view.json up to date: where to find the others after a restart.
func (l *life) saveViews() {
	var saved uint64
	for l.await(l.ctx, func(v View) bool { return v.Seq > saved }) == nil {
		v := l.View()
		if err := l.m.dir.save(fileView, v); err != nil {
			l.log.Warn("cannot save the view", "error", err)
		}
		saved = v.Seq
	}
}

// rejoin tells the registry of this life, until a view shows it.
func (l *life) rejoin() {
	shown := func(v View) bool {
		h, ok := v.Host(l.id.Number)
		return ok && h.Incarnation == l.id.Incarnation && h.State.Up() && h.Addr == l.id.Addr && h.Slots == l.m.cfg.Slots
	}
	for l.ctx.Err() == nil && !shown(l.View()) {
		ctx, cancel := context.WithTimeout(l.ctx, raftApply)
		err := l.propose(ctx, Command{Op: OpRejoin, Host: l.id.Number, Incarnation: l.id.Incarnation, Birth: l.id.Birth, Addr: l.id.Addr, Slots: l.m.cfg.Slots})
		cancel()
		if err != nil {
			l.log.Info("not back in the cluster yet", "cluster", l.id.Cluster, "error", err)
			if !l.pause(retryEvery) {
				return
			}
		}
	}
}

// create makes the registry's first entry, as soon as this host leads it.
func (l *life) create(ctx context.Context, c Command) error {
	ctx, cancel := context.WithTimeout(ctx, leadTimeout)
	defer cancel()
	for {
		_, err := l.getQuorum().apply(c)
		if !errors.Is(err, errLeader) {
			return err
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the registry does not start: %w", err)
		}
	}
}
