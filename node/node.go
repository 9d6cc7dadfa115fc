// Package node is the daemon's wiring: it builds every part, joins them through the small interfaces they declare, and
// starts and stops them in order. It holds no logic of its own.
//
// Start order: the parts that serve links (file server, descriptors, jobs) register on the router; the member part opens
// the listener and the registry; the followers of views start; the control socket opens last, so that whoever gets
// an answer gets a whole daemon. Stop order is the reverse.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/dev"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/member"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/netfs"
	"github.com/onehost/onehost/proc/carrier"
	"github.com/onehost/onehost/proc/jobs"
	"github.com/onehost/onehost/proc/list"
	"github.com/onehost/onehost/proc/on"
	"github.com/onehost/onehost/proc/space"
	"github.com/onehost/onehost/sys"
)

// errNoCluster answers what needs a cluster while there is none.
var errNoCluster = control.Refuse(syscall.ENOTCONN, "this host is in no cluster: 'onehost init NAME' makes one, 'onehost join ADDR --token T' joins one")

// timerSlack is how late the daemon's timers may be: heartbeats and deadlines count in hundreds of milliseconds.
const timerSlack = 500 * time.Microsecond

// Config is what a daemon is started with.
type Config struct {
	Control string         // path of the control socket; empty: control.DefaultPath
	State   string         // directory of what must outlive the daemon; empty: member.DefaultStateDir
	Run     string         // directory of mounts; empty: beside the control socket
	Listen  string         // host:port that peers reach this host by; empty: chosen at init or join
	Name    names.HostName // empty: the kernel's host name
	Version string
	Log     *slog.Logger
}

// Node is a running daemon.
type Node struct {
	cfg    Config
	router *link.Router
	files  *netfs.Server
	devs   *dev.Server
	home   *jobs.Home
	helper *carrier.Carriers // what runs the jobs of others
	broker *jobs.Broker
	space  *space.Space
	on     *on.Server
	lister *list.Lister
	member *member.Member
	server *control.Server
	meter  *meter
	gone   gone

	drained atomic.Bool // this host takes no new jobs: as the views say, as soon as follow has them

	fusectl func() error // unmounts it if this daemon mounted it

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Start brings a daemon up. It does not wait for other hosts.
func Start(cfg Config) (_ *Node, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	if err := sys.SetTimerSlack(timerSlack); err != nil {
		cfg.Log.Warn("timer slack", "err", err) // it costs CPU time, no more
	}
	if err := takePrecedence(); err != nil { // it works without, if later
		cfg.Log.Warn("this daemon does not come before the programs of this host: jobs start and end later under load", "err", err)
	}
	n := &Node{cfg: cfg, router: link.NewRouter()}
	ctx, cancel := context.WithCancel(context.Background())
	n.ctx, n.cancel = ctx, cancel
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	if cfg.answers() { // its carriers and its mounts are not for this one to touch
		return nil, fmt.Errorf("control socket %s: another onehostd listens there: %w", cfg.Control, syscall.EADDRINUSE)
	}
	if n.fusectl, err = mountFusectl(filepath.Join(cfg.Run, "fusectl")); err != nil {
		return nil, err
	}
	if n.meter, err = newMeter(); err != nil {
		return nil, err
	}
	boot, err := sys.Boot()
	if err != nil {
		return nil, err
	}
	n.member, err = member.New(member.Config{
		Boot: boot, StateDir: cfg.State, Router: n.router, Listen: cfg.Listen, Slots: n.meter.slots, Load: n.loadPayload, Part: n.part,
		Lost: func(h names.Host, inc names.Incarnation) { n.helper.Lost(h, inc) }, Log: cfg.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("membership: %w", err)
	}
	files := netfs.ServerConfig{Root: "/", Table: filepath.Join(cfg.Run, "mounts"), Boot: boot, Log: cfg.Log}
	if n.files, err = netfs.NewServer(files); err != nil {
		return nil, fmt.Errorf("file server: %w", err)
	}
	n.files.Register(n.router)
	if n.devs, err = dev.NewServer(filepath.Join(cfg.Run, "dev"), n.files.Drain, cfg.Log); err != nil {
		return nil, err
	}
	n.devs.Register(n.router)
	n.helper = newCarriers(n)
	n.on = on.NewServer(cfg.Log)
	n.on.Register(n.router)
	leases, err := jobs.OpenLeases(filepath.Join(cfg.Run, "leases"), boot, func(h names.Host) bool { return n.gone.forGood(h, time.Now()) },
		n.hosts)
	if err != nil {
		return nil, err
	}
	n.home = jobs.NewHome(jobs.HomeConfig{Tree: n.files, Files: n.devs, Carriers: n.reach(), Lease: leases.Lease})
	n.home.Register(n.router)
	n.space = space.New(space.Config{Self: n.self, Links: knownLinks{n}, Jobs: n.home, Leases: leases, Nests: n.helper, Tree: n.files})
	n.space.Register(n.router)
	n.broker = jobs.NewBroker(jobs.BrokerConfig{Home: n.home, Cluster: (*cluster)(n), Warm: n.warm})
	n.broker.Register(n.router)
	reader := list.NewReader(list.Config{Nests: n.helper.Nests, Elsewhere: n.home.Elsewhere})
	reader.Register(n.router)
	n.lister = &list.Lister{Reader: reader, Cluster: (*cluster)(n)}
	if err := n.member.Start(); err != nil { // all that others may ask is there
		return nil, fmt.Errorf("membership: %w", err)
	}
	if n.self() == names.Here {
		n.helper.EndAll("this host is in no cluster")
	}
	n.wg.Go(func() { n.follow(ctx) })
	n.wg.Go(n.sweepNotes)
	if n.server, err = control.Listen(cfg.Control, n.handlers()); err != nil {
		return nil, err
	}
	return n, nil
}

// self gives this host's number; names.Here while it is in no cluster.
func (n *Node) self() names.Host {
	number, _, _, _ := n.member.Self()
	return number
}

// knownLinks gives connections to hosts of the view, and says at once of others why there is none: no number of theirs can be meant, or
// they are down.
type knownLinks struct{ n *Node }

func (l knownLinks) Conn(ctx context.Context, h names.Host) (*link.Conn, error) {
	host, ok := l.n.member.View().Host(h)
	switch {
	case !ok, host.State == member.Left:
		return nil, fmt.Errorf("host %v: %w", h, names.UnknownHost)
	case !host.State.Up():
		return nil, fmt.Errorf("host %s: %w", host.Name, names.HostDown)
	}
	return l.n.member.Conn(ctx, h)
}

// Close stops everything and waits for it: sessions first, then the work done for others, then the cluster.
func (n *Node) Close() error {
	if n.home != nil {
		n.home.Stop()
	}
	if n.server != nil {
		n.server.Close()
	}
	n.cancel()
	n.wg.Wait()
	if n.on != nil {
		n.on.Close()
	}
	carried := n.helper != nil && n.helper.Close()
	var err error
	if n.member != nil {
		err = n.member.Close()
	}
	if n.files != nil {
		err = errors.Join(err, n.files.Close())
	}
	if n.fusectl != nil && !carried { // what is left needs it
		err = errors.Join(err, n.fusectl())
	}
	return err
}

func (c *Config) complete() error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Control == "" {
		c.Control = control.DefaultPath
	}
	if c.Run == "" {
		c.Run = filepath.Dir(c.Control)
	}
	if c.State == "" {
		c.State = member.DefaultStateDir
	}
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		short, _, _ := strings.Cut(strings.ToLower(host), ".")
		if c.Name, err = names.ParseHostName(short); err != nil {
			return fmt.Errorf("%w; give another one with --name", err)
		}
	}
	if c.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			return fmt.Errorf("--listen %q: want HOST:PORT: %w", c.Listen, err)
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("onehostd must be root: it makes name spaces and mounts, and acts for every user: start it with sudo or as a service")
	}
	return nil
}
