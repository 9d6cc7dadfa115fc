package carrier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/member"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/nest"
	"github.com/onehost/onehost/sys"
)

// Config is what Carriers are made of.
type Config struct {
	Dir     string // of the carriers' sockets
	Trees   string // of what they mount
	Control string // this daemon's socket
	Version string
	// Credentials gives what a carrier needs to speak for this host.
	Credentials func() (member.Credentials, error)
	// Addr gives the host:port of a home; empty if that is not known.
	Addr func(names.Host) string
	// Drained reports whether this host takes no new jobs.
	Drained func() bool
	// Clear aborts and unmounts the trees that a carrier has left, whose names begin with the prefix and a dot.
	Clear func(prefix string) error
	Log   *slog.Logger
}

// Carriers is a daemon's carriers, one for each home that has something here.
type Carriers struct {
	cfg Config
	wg  sync.WaitGroup // what looks after them

	mu     sync.Mutex // guards what follows
	closed bool
	view   member.View             // the last that was followed
	self   names.Host              // as it said
	homes  map[names.Host]*carrier // those that take jobs
	all    map[*carrier]bool       // those too that are about to end
	last   names.Incarnation       // of this daemon, in which it has started
	made   uint32                  // so many
}

// carrier is one carrier as its daemon sees it.
type carrier struct {
	inc    names.Incarnation // its own
	number names.Host        // of its home
	dir    string

	home link.Peer // as last heard of; guarded by Carriers.mu

	ready   chan struct{} // closed when it can be asked, or could not be started
	err     error         // why that is so
	pid     int
	group   string   // where it makes its nests
	counter *os.File // how many jobs it runs
	cluster names.ClusterName
	host    names.Host    // whose carrier it is
	left    chan struct{} // closed when the daemon ends before it
	lost    chan struct{} // closed when its process has ended
	gone    chan struct{} // closed when nothing is left of it
	leave   sync.Once
	ending  sync.Once
}

// New makes the carriers of a daemon, and takes on those that earlier daemons have left.
func New(cfg Config) *Carriers {
	cs := &Carriers{cfg: cfg, homes: map[names.Host]*carrier{}, all: map[*carrier]bool{}}
	cs.adopt()
	return cs
}

// Bounds of what a carrier is asked: things that take milliseconds.
const (
	bootTime = 10 * time.Second // to start one
	askTime  = 2 * time.Second
	endTime  = closeTime + 5*time.Second // to end one, which it bounds itself
)

// newCarrierLocked notes one that is not there yet.
func (cs *Carriers) newCarrierLocked(home link.Peer, inc names.Incarnation) *carrier {
	c := &carrier{
		inc: inc, number: home.Number, home: home, dir: filepath.Join(cs.cfg.Dir, prefix(home.Number, inc)),
		ready: make(chan struct{}), left: make(chan struct{}), lost: make(chan struct{}), gone: make(chan struct{}),
	}
	cs.all[c] = true
	if other := cs.homes[home.Number]; other == nil || other.inc < inc {
		cs.homes[home.Number] = c
	}
	return c
}

// start starts a carrier, and closes its ready.
func (cs *Carriers) start(c *carrier, number uint32, cred member.Credentials) {
	cred.Hello.Carrier = number
	s := &Setup{
		Dir: c.dir, Trees: cs.cfg.Trees, Control: cs.cfg.Control, Version: cs.cfg.Version, Credentials: cred,
		Home: cs.homeOf(c), Addr: cs.cfg.Addr(c.number), Drained: cs.cfg.Drained(), Level: levelOf(cs.cfg.Log),
	}
	exited, err := spawn(s)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), bootTime)
		err = cs.own(ctx, c, exited)
		cancel()
	}
	if err != nil {
		c.err = fmt.Errorf("starting what is to run the jobs of %s: %w", cs.name(c), err)
		cs.cfg.Log.Error("a home can run nothing here", "home", cs.name(c), "err", err)
		cs.over(c, exited)
	}
	close(c.ready)
	cs.mu.Lock()
	view, self := cs.view, cs.self
	cs.mu.Unlock()
	if err != nil {
		return
	}
	// What came meanwhile has passed it by.
	if view.Seq != 0 {
		cs.judge(c, view, self)
	}
	if drained := cs.cfg.Drained(); drained != s.Drained {
		cs.SetDrained(drained)
	}
}

// levelOf gives the level of what is logged.
func levelOf(l *slog.Logger) slog.Level {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn} {
		if l.Enabled(context.Background(), level) {
			return level
		}
	}
	return slog.LevelError
}

// errProtocol is of a carrier that speaks another protocol than this daemon.
var errProtocol = errors.New("it speaks another protocol")

// own makes a carrier this daemon's, and watches over it from then on. exited is closed when its process has been waited for; nil: it is no
// child of this one.
func (cs *Carriers) own(ctx context.Context, c *carrier, exited <-chan struct{}) error {
	conn, err := control.Dial(ctx, socket(c.dir))
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	var o owned
	var files []*os.File
	who, err := conn.Peer()
	if err == nil && who.UID != 0 {
		err = fmt.Errorf("its socket is user %d's: %w", who.UID, syscall.EPERM)
	}
	if err == nil {
		c.pid = who.Pid
		if c.group, err = nest.GroupOf(c.pid); err != nil {
			c.pid = 0 // it has just ended
		}
	}
	if err == nil {
		err = conn.Open(opOwn, ownRequest{Protocol: Protocol, Version: cs.cfg.Version})
	}
	if err == nil {
		files, err = conn.Receive(&o)
	}
	if err == nil && o.Protocol != Protocol {
		err = fmt.Errorf("%w: %d, of release %s", errProtocol, o.Protocol, o.Version)
	}
	if err == nil && (len(files) != 1 || o.Incarnation != c.inc) {
		err = fmt.Errorf("it is carrier %d: %w", o.Incarnation, syscall.EBADMSG)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		for _, f := range files {
			f.Close()
		}
		conn.Close()
		return err
	}
	c.counter, c.cluster, c.host = files[0], o.Cluster, o.Host
	cs.mu.Lock()
	if o.Home.Incarnation > c.home.Incarnation {
		c.home = o.Home
	}
	cs.mu.Unlock()
	cs.wg.Go(func() { cs.watch(c, conn, exited) })
	return nil
}

// watch waits for the end of a carrier, and clears up after it; or for that of the daemon.
func (cs *Carriers) watch(c *carrier, conn *control.Conn, exited <-chan struct{}) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var none done
		_, _ = conn.Receive(&none) // it says nothing: the kernel closes the connection
	}()
	look := time.NewTicker(dyingEvery)
	defer look.Stop()
	for {
		select {
		case <-ended:
			conn.Close()
			cs.over(c, exited)
			return
		case <-c.left:
			conn.Close() // it is alone now
			<-ended
			c.counter.Close()
			return
		case <-look.C:
			if dying(c.pid) {
				cs.release(c)
				look.Reset(time.Second) // it has ended by then, or something is wrong, of which the log is not to be full
			}
		}
	}
}

// dyingEvery is how often it is looked whether a carrier is dead and cannot end.
const dyingEvery = 200 * time.Millisecond

// dying reports whether a process is dead that has threads which have not ended. One that tells the kernel what has changed waits there for a
// directory, whoever has that directory for an answer of the carrier, and no signal ends either.
func dying(pid int) bool {
	st, err := sys.ReadProcStat(pid)
	return err == nil && st.State == 'Z'
}

// release ends all that waits for an answer of a carrier which is dead: the carrier itself may be among that.
func (cs *Carriers) release(c *carrier) {
	if err := cs.cfg.Clear(filepath.Base(c.dir)); err != nil {
		cs.cfg.Log.Warn("what waits for a dead carrier may wait on", "home", cs.name(c), "err", err)
	}
}

// over clears up after a carrier that has ended, or has never begun.
func (cs *Carriers) over(c *carrier, exited <-chan struct{}) {
	close(c.lost)
	if exited != nil {
		cs.release(c)
		<-exited
	}
	if c.counter != nil {
		c.counter.Close()
	}
	cs.mu.Lock()
	unasked := cs.homes[c.number] == c && !cs.closed
	if cs.homes[c.number] == c {
		delete(cs.homes, c.number)
	}
	cs.mu.Unlock()
	if unasked && c.err == nil {
		cs.cfg.Log.Warn("what ran the jobs of a home has ended: they are lost", "home", cs.name(c))
	}
	if err := cs.clear(c); err != nil {
		cs.cfg.Log.Warn("something is left of what a home ran here", "home", cs.name(c), "err", err)
	}
	cs.mu.Lock()
	delete(cs.all, c)
	cs.mu.Unlock()
	close(c.gone)
}

// homeOf gives the home of a carrier, as last heard of.
func (cs *Carriers) homeOf(c *carrier) link.Peer {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return c.home
}

// name names a carrier's home in the log.
func (cs *Carriers) name(c *carrier) names.HostName { return cs.homeOf(c).Name }

// of gives the carrier of a home that can be asked, or nil.
func (cs *Carriers) of(home link.Peer) *carrier {
	cs.mu.Lock()
	c := cs.homes[home.Number]
	cs.mu.Unlock()
	if c == nil {
		return nil
	}
	select {
	case <-c.ready:
	default:
		return nil
	}
	if c.err != nil {
		return nil
	}
	return c
}

// every gives the carriers that can be asked, those too that are about to end.
func (cs *Carriers) every() []*carrier {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	var all []*carrier
	for c := range cs.all {
		select {
		case <-c.ready:
			if c.err == nil {
				all = append(all, c)
			}
		default:
		}
	}
	return all
}

// end has a carrier end, with all that it runs, and waits until nothing is left of it; for some time only.
func (cs *Carriers) end(c *carrier, why string, r endRequest) {
	<-c.ready // it is started in bounded time
	cs.mu.Lock()
	if cs.homes[c.number] == c {
		delete(cs.homes, c.number)
	}
	cs.mu.Unlock()
	if c.err != nil {
		return
	}
	select {
	case <-c.lost: // by itself
		<-c.gone
		return
	default:
	}
	cs.cfg.Log.Info("what this host runs for a home ends", "home", cs.name(c), "why", why)
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	var none done
	_ = control.Call(ctx, socket(c.dir), opEnd, r, &none) // it may be gone before it has answered
	select {
	case <-c.gone:
		return
	case <-c.left:
		return
	case <-ctx.Done():
	}
	cs.cfg.Log.Warn("a carrier does not end: killing it", "home", cs.name(c), "pid", c.pid)
	_ = unix.Kill(c.pid, unix.SIGKILL) // the kernel said that it is the socket's, which is open
	select {
	case <-c.gone:
	case <-c.left:
	case <-time.After(askTime):
	}
}

// EndAll ends all carriers and waits for them; others are started for jobs that come after.
func (cs *Carriers) EndAll(why string) {
	cs.mu.Lock()
	var ending sync.WaitGroup
	for c := range cs.all {
		ending.Go(func() { cs.end(c, why, endRequest{}) })
	}
	cs.mu.Unlock()
	ending.Wait()
}

// Close leaves the carriers that run something for the next daemon, and ends the others. It reports whether any are left.
func (cs *Carriers) Close() (left bool) {
	cs.mu.Lock()
	cs.closed = true
	cs.mu.Unlock()
	var parting sync.WaitGroup
	for _, c := range cs.every() {
		parting.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), askTime)
			defer cancel()
			var r parted
			if err := control.Call(ctx, socket(c.dir), opPart, done{}, &r); err == nil && !r.Stays {
				select {
				case <-c.gone:
					return
				case <-time.After(askTime):
				}
			}
		})
	}
	parting.Wait()
	cs.mu.Lock()
	for c := range cs.all {
		left = true
		c.leave.Do(func() { close(c.left) })
	}
	cs.mu.Unlock()
	cs.wg.Wait()
	return left
}
