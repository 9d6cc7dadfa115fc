package list

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/list/listpb"
)

// fakeCluster is host 1 and others, each of which answers as its function does.
type fakeCluster struct {
	t     *testing.T
	mu    sync.Mutex
	hosts []Host
	conns map[names.Host]*link.Conn
}

func newFakeCluster(t *testing.T, serve map[names.Host]link.StreamHandler) *fakeCluster {
	c := &fakeCluster{t: t, hosts: []Host{{Number: 1, Name: "h1", Alive: true}}, conns: map[names.Host]*link.Conn{}}
	for _, n := range slices.Sorted(maps.Keys(serve)) {
		router := link.NewRouter()
		router.HandleStream(Method, serve[n])
		near, far := link.Pipe(link.Peer{Number: 1, Incarnation: 1}, link.Peer{Number: n, Incarnation: 1}, link.NewRouter(), router)
		t.Cleanup(func() {
			near.Close()
			far.Close()
		})
		c.conns[n] = near
		c.hosts = append(c.hosts, Host{Number: n, Name: hostName(n), Alive: true})
	}
	return c
}

func (c *fakeCluster) Self() (names.Host, names.HostName) { return 1, "h1" }

func (c *fakeCluster) Hosts() []Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.hosts)
}

// fails has a host fail.
func (c *fakeCluster) fails(name names.HostName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hosts[slices.IndexFunc(c.hosts, func(h Host) bool { return h.Name == name })].Alive = false
}

func (c *fakeCluster) Conn(_ context.Context, h names.Host) (*link.Conn, error) {
	if conn := c.conns[h]; conn != nil {
		return conn, nil
	}
	return nil, fmt.Errorf("host %d: %w", h, names.HostDown)
}

// with answers always the same.
func with(a *answer) link.StreamHandler {
	return func(ctx context.Context, _ *link.Request, s *link.Stream) error { return a.send(ctx, s) }
}

// TestManyProcesses: 5,000 processes of a host with long commands arrive whole, and go to the command in packets that fit.
func TestManyProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		big := &answer{users: map[uint32]string{1000: "ada"}}
		for i := range 5000 {
			p := native(uint32(i+1), 1, 1, 1)
			p.Command = []byte(strings.Repeat("x<\x01\xff\n", i%500))
			big.procs = append(big.procs, p)
		}
		big.procs[7].Command = []byte(strings.Repeat("\x01", maxCommand))
		c := newFakeCluster(t, map[names.Host]link.StreamHandler{2: with(big)})
		l := &Lister{Reader: reader(nil), Cluster: c}
		r, err := l.list(t.Context(), 0, &control.ProcsRequest{Hosts: []names.HostName{"h2"}})
		if err != nil || len(r.Failed) > 0 || len(r.Procs) != 5000 {
			t.Fatalf("%v, %v, %d processes", err, r.Failed, len(r.Procs))
		}
		for i, p := range r.Procs {
			if p.Pid != names.MakePid(2, i+1) || p.User != "ada" || p.Command != string(big.procs[i].Command) {
				t.Fatalf("%d: %v %s", i, p.Pid, p.User)
			}
		}
	})
}

// TestHostsThatDoNotAnswer: they are named within two seconds, and the others listed.
func TestHostsThatDoNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := &answer{procs: []*listpb.Proc{native(5, 1, 1, 1)}, unnamed: 3}
		var c *fakeCluster
		c = newFakeCluster(t, map[names.Host]link.StreamHandler{
			2: with(one),
			9: func(context.Context, *link.Request, *link.Stream) error {
				c.fails("h9")
				return syscall.ECONNRESET
			},
			3: func(ctx context.Context, _ *link.Request, _ *link.Stream) error { <-ctx.Done(); return ctx.Err() },
			4: func(context.Context, *link.Request, *link.Stream) error {
				return fmt.Errorf("/proc: %w", syscall.EMFILE)
			},
			6: func(ctx context.Context, _ *link.Request, _ *link.Stream) error { <-ctx.Done(); return ctx.Err() },
			8: with(&answer{procs: []*listpb.Proc{native(9, 1, 1, 1)}}),
		})
		c.hosts = append(c.hosts, Host{Number: 5, Name: "h5", Alive: true}, Host{Number: 7, Name: "h7"})
		c.hosts[4].Silent = true // h6
		c.hosts[5].Silent = true // h8, which is back
		l := &Lister{Reader: reader(nil), Cluster: c}
		begin := time.Now()
		r, err := l.list(t.Context(), 0, &control.ProcsRequest{})
		if err != nil || time.Since(begin) > 2*time.Second {
			t.Fatalf("%v after %v", err, time.Since(begin))
		}
		for h, why := range map[names.HostName]string{"h2": "3 processes have numbers above 32767", "h3": "no answer within 1.8s", "h4": "too many open files", "h5": "host is down", "h6": "does not answer", "h9": "it is not alive"} {
			if !strings.Contains(r.Failed[h], why) {
				t.Errorf("%s: %q, want %q", h, r.Failed[h], why)
			}
		}
		if len(r.Failed) != 6 {
			t.Errorf("%v", r.Failed)
		}
		if n := slices.IndexFunc(r.Procs, func(p control.Proc) bool { return p.Host == "h2" }); n < 0 || r.Procs[n].Pid != names.MakePid(2, 5) {
			t.Errorf("h2 is not listed")
		}
		if !slices.ContainsFunc(r.Procs, func(p control.Proc) bool { return p.Pid == names.MakePid(8, 9) }) {
			t.Error("a host that answers before it is heard is not listed")
		}
		// Those that are not asked for hold up nobody.
		begin = time.Now()
		r, err = l.list(t.Context(), 0, &control.ProcsRequest{Hosts: []names.HostName{"h2", "h7"}})
		if err != nil || time.Since(begin) > 0 || len(r.Procs) != 1 || len(r.Failed) != 2 || r.Failed["h7"] != "it is not alive" {
			t.Errorf("%v after %v: %v, %v", err, time.Since(begin), r.Procs, r.Failed)
		}
		if _, err := l.list(t.Context(), 0, &control.ProcsRequest{Hosts: []names.HostName{"h2", "h10"}}); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("an unknown host: %v", err)
		}
	})
}

// TestHomesAreAsked: what only the home of a process knows is asked of it, within the same time.
func TestHomesAreAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster(t, map[names.Host]link.StreamHandler{
			2: with(&answer{procs: []*listpb.Proc{nested(3, native(60, 0, 60, 1), 60), nested(4, native(61, 0, 61, 1), 61), nested(9, native(62, 0, 62, 1), 62)}}),
			3: with(&answer{procs: []*listpb.Proc{ghost(native(60, 50, 50, 40), 2)}, users: map[uint32]string{1000: "cy"}}),
			4: func(ctx context.Context, _ *link.Request, _ *link.Stream) error { <-ctx.Done(); return ctx.Err() },
		})
		l := &Lister{Reader: reader(nil), Cluster: c}
		begin := time.Now()
		r, err := l.list(t.Context(), 0, &control.ProcsRequest{Hosts: []names.HostName{"h2"}})
		if err != nil || len(r.Failed) > 0 || len(r.Procs) != 3 || time.Since(begin) > 2*time.Second {
			t.Fatalf("%v after %v: %+v", err, time.Since(begin), r)
		}
		if p := r.Procs[0]; p.User != "cy" || p.PPid != names.MakePid(3, 50) {
			t.Errorf("%+v", p)
		}
		if p := r.Procs[1]; p.User != "1000" || p.PPid != 0 {
			t.Errorf("%+v", p)
		}
		if p := r.Procs[2]; p.Name != "9:62" {
			t.Errorf("%+v", p)
		}
	})
}
