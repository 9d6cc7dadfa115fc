package member

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
)

// Defaults of Config.
const (
	DefaultStateDir = "/var/lib/onehost"
	DefaultPort     = 1996
)

// Config is what a Member needs to know.
type Config struct {
	// Boot names the time from one start of this host to the next: a member that is opened again with the same goes on with the life it had.
	// Empty: it never does.
	Boot     string
	StateDir string        // default DefaultStateDir; made with mode 0700
	Router   *link.Router  // the node registers its own methods on it before Open; Open adds the methods "member.…"
	Listen   string        // host:port of the link listener; default: the address that Init or Join is given
	Slots    int           // jobs this host takes at a time, told to all; default 1
	Load     func() []byte // the payload of each heartbeat, at most MaxLoad bytes; called every 200 ms; may be nil
	// Part ends what a carrier runs whose host's life is over, before its connection is closed; nil: that is left to the carrier.
	Part func(context.Context, *link.Conn)
	// Lost hears of a host that is silent while the registry stands still, when links to it are ended; what else has links to it is to end them.
	// It must not block. nil: nothing has.
	Lost func(host names.Host, inc names.Incarnation)
	Log  *slog.Logger // default: discards
}

// MaxLoad bounds the payload of a heartbeat, in bytes.
const MaxLoad = 512

// Member is this host's part in a cluster: none, or one at a time.
type Member struct {
	cfg Config
	log *slog.Logger
	dir *stateDir
	wg  sync.WaitGroup // what ends lives

	change sync.Mutex // held while a life begins or ends; taken before mu

	mu     sync.Mutex
	closed bool
	life   *life // nil while this host belongs to no cluster
	view   View
	subs   map[*subscriber]bool
}

// New makes a Member that reaches nobody, and that nobody reaches, until Start. One at a time holds a state directory. It must be closed.
func New(cfg Config) (*Member, error) {
	if cfg.StateDir == "" {
		cfg.StateDir = DefaultStateDir
	}
	if cfg.Router == nil {
		cfg.Router = link.NewRouter()
	}
	if cfg.Slots <= 0 {
		cfg.Slots = 1
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := openStateDir(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	m := &Member{cfg: cfg, log: cfg.Log, dir: dir, subs: map[*subscriber]bool{}}
	m.route(cfg.Router)
	return m, nil
}

// Start takes up the cluster that the state directory knows, as a new incarnation; if it knows none, Init or Join come first. It does not wait
// for other hosts: Ready does. Their calls may come before it returns. It is called once.
func (m *Member) Start() error {
	m.change.Lock()
	defer m.change.Unlock()
	var id identity
	known, err := m.dir.load(fileIdentity, &id)
	if err != nil || !known {
		return err
	}
	if m.cfg.Boot == "" || id.Boot != m.cfg.Boot {
		id.Birth = 0
	} else if id.Birth == 0 {
		id.Birth = id.Incarnation
	}
	return m.revive(id)
}

// live begins a life. Whoever comes by its listener waits for mu, and finds it.
func (m *Member) live(id identity, listen string) (*life, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := newLife(m, id, listen)
	if err != nil {
		return nil, err
	}
	m.life, m.view = l, View{}
	return l, nil
}

// revive begins the next incarnation of a host, which goes on with the life that began with id.Birth, or is born now if that is 0. The caller
// holds change.
func (m *Member) revive(id identity) error {
	id.Incarnation++
	id.Boot = m.cfg.Boot
	if id.Birth == 0 {
		id.Birth = id.Incarnation
	}
	listen := m.listenAt(id.Addr)
	if err := m.dir.save(fileIdentity, id); err != nil { // before anybody hears of it
		return err
	}
	var view View
	if _, err := m.dir.load(fileView, &view); err != nil {
		m.log.Warn("the saved view is lost: others are found when they dial this host", "error", err)
	}
	l, err := m.live(id, listen)
	if err != nil {
		return err
	}
	l.publish(view)
	_, err = os.Stat(m.dir.registry())
	if err := l.start(err == nil, false); err != nil {
		m.finish(l)
		return err
	}
	return nil
}

// listenAt is where to listen when peers know this host by addr.
func (m *Member) listenAt(addr string) string {
	if host, port, err := net.SplitHostPort(m.cfg.Listen); err == nil {
		if _, known, err := net.SplitHostPort(addr); err == nil && (port == "0" || port == "") {
			return net.JoinHostPort(host, known)
		}
		return m.cfg.Listen
	}
	return addr
}

// finish ends a life. The caller holds change. Whoever is still heard is answered by a host that knows who it is.
func (m *Member) finish(l *life) {
	l.hangUp()
	m.mu.Lock()
	if m.life == l {
		m.life = nil
	}
	m.mu.Unlock()
	l.close()
}

// later runs what ends a life, which the goroutines of that life cannot do themselves.
func (m *Member) later(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.wg.Go(f)
	}
}

// Close stops without leaving: the others will see this host as failed unless it is opened again within the deadline. It ends
// all connections and waits for all goroutines.
func (m *Member) Close() error {
	m.mu.Lock()
	was := m.closed
	m.closed = true
	m.mu.Unlock()
	if was {
		return nil
	}
	m.change.Lock()
	if l := m.current(); l != nil {
		m.finish(l)
	}
	m.change.Unlock()
	m.wg.Wait()
	m.mu.Lock()
	subs := m.subs
	m.subs = nil
	m.mu.Unlock()
	for s := range subs {
		s.end()
	}
	m.dir.close()
	return nil
}

func (m *Member) current() *life {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.life
}

// require is the current life, or the error that says what to do about having none.
func (m *Member) require() (*life, error) {
	if l := m.current(); l != nil {
		return l, nil
	}
	return nil, refuse(errNone, "this host belongs to no cluster: make one with 'onehost init NAME' or join one with 'onehost join ADDR --token TOKEN'")
}

// vacant checks that a life may begin. The caller holds change.
func (m *Member) vacant() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return refuse(errNone, "onehostd is stopping")
	case m.life != nil:
		return refuse(errTaken, "this host is %s (%d) of cluster %s already: 'onehost leave' first", m.life.id.Name, m.life.id.Number, m.life.id.Cluster)
	}
	return nil
}

// Init makes this host number 1 of a new cluster. addr is the host:port that peers reach it by; empty: chosen.
func (m *Member) Init(ctx context.Context, cluster names.ClusterName, name names.HostName, addr string) error {
	if _, err := names.ParseClusterName(string(cluster)); err != nil {
		return err
	}
	if _, err := names.ParseHostName(string(name)); err != nil {
		return err
	}
	m.change.Lock()
	defer m.change.Unlock()
	if err := m.vacant(); err != nil {
		return err
	}
	if err := m.dir.clear(); err != nil {
		return err
	}
	now := time.Now()
	ca, err := newCA(cluster, now)
	if err != nil {
		return err
	}
	id := identity{Cluster: cluster, Number: 1, Name: name, Incarnation: 1, Boot: m.cfg.Boot, CA: ca.Cert}
	if err := id.certify(*ca, now); err != nil {
		return err
	}
	if id.Addr, err = m.ownAddr(addr, false); err != nil {
		return err
	}
	l, err := m.live(id, m.listenAt(id.Addr))
	if err != nil {
		return err
	}
	create := Command{Op: OpCreate, At: now, Cluster: cluster, Name: name, Addr: id.Addr, Slots: m.cfg.Slots, CA: ca, Token: newSecret(now)}
	err = l.start(true, true)
	if err == nil {
		err = l.create(ctx, create)
	}
	if err == nil {
		err = m.dir.save(fileIdentity, id) // last: without it the rest is nothing
	}
	if err != nil {
		m.finish(l)
		return err
	}
	return nil
}

// Join makes this host a member of the cluster that listens at addr. selfAddr is the host:port that peers reach this host by;
// empty: the local address of the connection to addr, DefaultPort.
func (m *Member) Join(ctx context.Context, addr, token string, name names.HostName, selfAddr string) error {
	if _, err := names.ParseHostName(string(name)); err != nil {
		return err
	}
	t, err := parseToken(token)
	if err != nil {
		return err
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(addr, strconv.Itoa(DefaultPort))
	}
	m.change.Lock()
	defer m.change.Unlock()
	if err := m.vacant(); err != nil {
		return err
	}
	if err := m.dir.clear(); err != nil {
		return err
	}
	self, err := m.ownAddr(selfAddr, true)
	if err != nil {
		return err
	}
	id, view, err := joinAt(ctx, addr, t, name, self, m.cfg.Slots)
	if err != nil {
		return err
	}
	id.Boot = m.cfg.Boot
	if err := m.dir.save(fileIdentity, id); err != nil {
		return err
	}
	l, err := m.live(id, m.listenAt(id.Addr))
	if err != nil {
		return err
	}
	l.publish(view)
	return l.start(false, false)
}

// dissolve ends the life of a host that left, and forgets the cluster.
func (m *Member) dissolve(l *life) {
	m.change.Lock()
	defer m.change.Unlock()
	if m.current() != l {
		return
	}
	m.finish(l)
	if err := m.dir.clear(); err != nil {
		m.log.Error("cannot clear the state directory", "error", err)
	}
	m.log.Info("left the cluster", "cluster", l.id.Cluster)
}

// reincarnate ends a life that the others hold for dead and begins the next.
func (m *Member) reincarnate(l *life, seen names.Incarnation) {
	m.change.Lock()
	defer m.change.Unlock()
	m.mu.Lock()
	over := m.closed || m.life != l
	m.mu.Unlock()
	if over {
		return
	}
	if seen > l.id.Incarnation {
		m.log.Error("a later life of this host is known: was its state directory copied, or restored from a backup?", "own", l.id.Incarnation, "known", seen)
	}
	m.finish(l)
	id := l.id
	id.Incarnation, id.Birth = max(id.Incarnation, seen), 0 // the others have given up all that it had
	for try := 0; ; try++ {                                 // the port may take a moment
		err := m.revive(id)
		if err == nil {
			m.log.Warn("this host was declared failed while it lived: it comes back as a new incarnation", "incarnation", id.Incarnation+1)
			return
		}
		m.mu.Lock()
		closed := m.closed
		m.mu.Unlock()
		if closed || try == 50 {
			m.log.Error("this host cannot come back: restart onehostd", "error", err)
			return
		}
		time.Sleep(retryEvery)
	}
}
