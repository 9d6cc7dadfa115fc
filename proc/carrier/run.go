package carrier

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/jobs"
	"github.com/onehost/onehost/proc/nest"
)

// How a carrier's process is called: its arguments, its name in ps, and its descriptors.
const (
	arg0    = "onehost-carrier"
	arg1    = "carrier"
	fdSetup = 3 // a Setup
	fdReady = 4 // a pipe, to which a carrier writes that can be talked to
)

// aloneTime is how long a carrier goes on without a daemon. That is more than it takes until the other hosts have declared a host failed whose
// daemon has died, 0.7 s, at which the home ends the carrier itself; this is for when nobody can declare anything.
const aloneTime = 3 * time.Second

// closeTime bounds the end of a carrier: it kills its processes, aborts what they wait for, and unmounts.
const closeTime = 20 * time.Second

// Parts is what a carrier's work is done with; node joins them.
type Parts struct {
	Setup   *Setup
	Router  *link.Router
	Links   jobs.Links // the home's connection, and none other
	Call    func(context.Context, names.Host, nest.Call) nest.Result
	Drained func() bool
	Counted func(int)
	Log     *slog.Logger
}

// Reexec is a carrier, until its end, when args (os.Args) say so, and returns true when that has come: main then just returns. build makes what it works
// with, and registers it with the router.
func Reexec(args []string, build func(Parts) (*jobs.Helper, error)) bool {
	if len(args) != 2 || args[0] != arg0 || args[1] != arg1 {
		return false
	}
	unix.CloseOnExec(fdSetup)
	unix.CloseOnExec(fdReady)
	_ = os.WriteFile("/proc/self/comm", []byte(arg0), 0) // what ps shows; it would be "exe"
	ready := os.NewFile(fdReady, "ready")
	s, err := setupOf(os.NewFile(fdSetup, "setup"))
	if err == nil {
		err = run(s, ready, build)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "onehost: a carrier: %v\n", err)
		os.Exit(1)
	}
	return true
}

// run is a carrier's life.
func run(s *Setup, ready *os.File, build func(Parts) (*jobs.Helper, error)) error {
	defer ready.Close()
	// Nobody but the daemon ends it; and its log may be a pipe to what has ended with the daemon. They are caught, not ignored: what is ignored stays so in
	// every child.
	signal.Notify(dropped(), unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGPIPE)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: s.Level})).With("carrier", s.Home.Name)
	c := &server{setup: s, log: log, router: link.NewRouter(), over: newEnd(), ended: newEnd(), home: s.Home, addr: s.Addr}
	c.drained.Store(s.Drained)
	fd, err := unix.MemfdCreate("jobs", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memfd: %w", err)
	}
	c.counter = os.NewFile(uintptr(fd), "jobs")
	c.count(0)
	identity, err := s.Credentials.Identity()
	if err != nil {
		return err
	}
	c.pool = link.NewPool(func(ctx context.Context, h names.Host) (*link.Conn, error) {
		return link.Dial(ctx, c.homeAddr(), identity, s.Credentials.Hello, h, c.router)
	})
	c.helper, err = build(Parts{Setup: s, Router: c.router, Links: c, Call: c.call, Drained: c.drained.Load, Counted: c.count, Log: log})
	if err != nil {
		return err
	}
	c.router.HandleCall(stopMethod, c.serveStop)
	c.alone = time.AfterFunc(aloneTime, c.abandoned)
	local, err := control.Listen(socket(s.Dir), c.handlers())
	if err != nil {
		return err
	}
	if _, err := ready.WriteString("ready"); err != nil {
		log.Debug("nobody waits for this carrier", "err", err) // then it is alone
	}
	ready.Close()
	<-c.over.happened
	// What hangs is left to the daemon, and the nest to its init: neither needs this process.
	defer time.AfterFunc(closeTime, func() { os.Exit(1) }).Stop()
	c.helper.Close()
	c.ended.happen() // who asked for the end is answered
	c.pool.Close()
	local.Close()
	return errors.Join(ignoreAbsent(os.Remove(socket(s.Dir))), ignoreAbsent(os.Remove(s.Dir)), ignoreBusy(os.Remove(filepath.Dir(s.Dir))))
}

func dropped() chan os.Signal { return make(chan os.Signal, 1) }

func ignoreAbsent(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func ignoreBusy(err error) error {
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
		return nil
	}
	return ignoreAbsent(err)
}

// end is something that happens once.
type end struct {
	once     sync.Once
	happened chan struct{}
}

func newEnd() *end { return &end{happened: make(chan struct{})} }

func (e *end) happen() { e.once.Do(func() { close(e.happened) }) }

// server is the process of a carrier.
type server struct {
	setup   *Setup
	log     *slog.Logger
	router  *link.Router
	pool    *link.Pool // of one host, the home
	helper  *jobs.Helper
	counter *os.File // how many jobs run, 8 bytes: who has it open asks nobody
	drained atomic.Bool
	over    *end // it is to end
	ended   *end // nothing of what it ran is left

	mu    sync.Mutex // guards what follows
	home  link.Peer  // as last heard of
	addr  string     // of it
	owner int        // counts the daemons
	alone *time.Timer
}

func (c *server) count(jobs int) {
	_, _ = c.counter.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(jobs)), 0) // memory, 8 bytes: it cannot fail
}

// countOf reads what count wrote; 0 if it cannot.
func countOf(f *os.File) int {
	var b [8]byte
	if n, err := f.ReadAt(b[:], 0); n < len(b) || err != nil {
		return 0
	}
	return int(binary.NativeEndian.Uint64(b[:]))
}

func (c *server) homeAddr() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addr
}

// Conn gives the connection to the home; it implements jobs.Links.
func (c *server) Conn(ctx context.Context, h names.Host) (*link.Conn, error) {
	if h != c.setup.Home.Number {
		return nil, fmt.Errorf("a carrier of host %v asks for host %v: %w", c.setup.Home.Number, h, syscall.EINVAL)
	}
	return c.pool.Get(ctx, h)
}

// hear takes note of the incarnation and the address of the home.
func (c *server) hear(p link.Peer, addr string) {
	c.mu.Lock()
	newer := p.Incarnation > c.home.Incarnation
	if newer {
		c.home = p
	}
	if p.Incarnation >= c.home.Incarnation && addr != "" {
		c.addr = addr
	}
	c.mu.Unlock()
	if newer {
		c.pool.Drop(p.Number, p.Incarnation-1)
		c.helper.Restarted(p.Number, p.Incarnation)
	}
}

// abandoned is for a carrier whose daemon has not come back.
func (c *server) abandoned() {
	c.log.Warn("no onehostd has come back: what this host runs for a home ends", "after", aloneTime)
	c.over.happen()
}

// stopMethod is the call by which a home has a carrier end whose host's life is over. It is answered when nothing is left of what that ran.
const stopMethod = "proc.stop"

func (c *server) serveStop(ctx context.Context, r *link.Request) (link.Reply, error) {
	c.log.Info("the home has given this host up: what it runs for it ends", "incarnation", r.From.Incarnation)
	c.over.happen()
	select {
	case <-c.ended.happened:
		return link.Reply{}, nil
	case <-ctx.Done():
		return link.Reply{}, ctx.Err()
	}
}

// Stop has a carrier of another host end, as Config.Part of the membership is meant to.
func Stop(ctx context.Context, c *link.Conn) error {
	_, err := c.Call(ctx, stopMethod, nil, nil)
	return err
}

// callEvery is how often the daemon is looked for that is to carry out a call.
const callEvery = 50 * time.Millisecond

// call has the daemon carry out a call of a process of the nest. While there is none it waits for the next, as long as the carrier does.
func (c *server) call(ctx context.Context, home names.Host, call nest.Call) nest.Result {
	for {
		conn, err := control.Dial(ctx, c.setup.Control)
		if err == nil {
			return ask(ctx, conn, callRequest{Home: home, Call: call})
		}
		select {
		case <-time.After(callEvery):
		case <-ctx.Done():
			return nest.Result{Errno: syscall.EINTR}
		case <-c.over.happened:
			return nest.Result{Errno: syscall.EHOSTDOWN}
		}
	}
}

// ask asks the daemon once. When it dies over it nobody knows how far it came.
func ask(ctx context.Context, conn *control.Conn, r callRequest) nest.Result {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.Open(OpCall, r); err != nil {
		return nest.Result{Errno: syscall.EHOSTDOWN}
	}
	var reply callReply
	files, err := conn.Receive(&reply)
	switch {
	case ctx.Err() != nil:
		return nest.Result{Errno: syscall.EINTR}
	case err != nil:
		return nest.Result{Errno: syscall.EHOSTDOWN}
	}
	res := nest.Result{Value: reply.Value, Errno: syscall.Errno(reply.Errno)}
	if len(files) > 0 {
		res.File = files[0]
	}
	return res
}
