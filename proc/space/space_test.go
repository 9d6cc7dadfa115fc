package space

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc"
	"github.com/onehost/onehost/proc/jobs"
	"github.com/onehost/onehost/proc/procpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a host of the tests: its part in everything is a table.
type host struct {
	number names.Host
	away   map[int]jobs.AwayJob
	going  map[int]names.Host
	leased map[int]names.Host               // by number
	nested map[names.Host]map[int]*exec.Cmd // by home and number: what stands for a process in a nest
	links  map[names.Host]*link.Conn
	down   map[names.Host]error
	space  *Space
	router *link.Router
	drains int
}

func (h *host) Away(pid int) (jobs.AwayJob, bool) { j, ok := h.away[pid]; return j, ok }

func (h *host) Going(pid int) (names.Host, bool) { to, ok := h.going[pid]; return to, ok }

func (h *host) AllAway() []jobs.AwayJob {
	var all []jobs.AwayJob
	for _, j := range h.away {
		all = append(all, j)
	}
	return all
}

func (h *host) Holder(pid int) (names.Host, bool) { n, ok := h.leased[pid]; return n, ok }

func (h *host) Holders() map[names.Host]int {
	all := map[names.Host]int{}
	for pid, helper := range h.leased {
		all[helper] = pid
	}
	return all
}

func (h *host) Nested(home link.Peer, pid int) (*os.File, error) {
	cmd := h.nested[home.Number][pid]
	if cmd == nil || home.Incarnation != 1 {
		return nil, syscall.ESRCH
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

func (h *host) NestedNumbers(home link.Peer) []int {
	var all []int
	for n := range h.nested[home.Number] {
		all = append(all, n)
	}
	return all
}

func (h *host) NestedProc(link.Peer) (*os.File, error) { return os.Open("/proc") }

func (h *host) Applied(_ context.Context, _ link.Peer, seq uint64) error {
	if seq != 42 {
		return fmt.Errorf("change %d: %w", seq, syscall.EINVAL)
	}
	return nil
}

func (h *host) Drain(context.Context, names.Host) (uint64, error) { h.drains++; return 42, nil }

func (h *host) Conn(_ context.Context, n names.Host) (*link.Conn, error) {
	if err := h.down[n]; err != nil {
		return nil, err
	}
	if c := h.links[n]; c != nil {
		return c, nil
	}
	return nil, names.UnknownHost
}

// cluster makes hosts 1..n, joined in memory.
func cluster(t testing.TB, n int) []*host {
	t.Helper()
	hosts := make([]*host, n+1)
	for i := 1; i <= n; i++ {
		h := &host{
			number: names.Host(i), away: map[int]jobs.AwayJob{}, leased: map[int]names.Host{}, going: map[int]names.Host{}, nested: map[names.Host]map[int]*exec.Cmd{},
			links: map[names.Host]*link.Conn{}, down: map[names.Host]error{}, router: link.NewRouter(),
		}
		h.space = New(Config{Self: func() names.Host { return h.number }, Links: h, Jobs: h, Leases: h, Nests: h, Tree: h})
		h.space.Register(h.router)
		hosts[i] = h
	}
	peer := func(i int) link.Peer {
		return link.Peer{Number: names.Host(i), Name: names.HostName(fmt.Sprintf("h%d", i)), Incarnation: 1}
	}
	for i := 1; i <= n; i++ {
		for j := i + 1; j <= n; j++ {
			a, b := link.Pipe(peer(i), peer(j), hosts[i].router, hosts[j].router)
			hosts[i].links[names.Host(j)], hosts[j].links[names.Host(i)] = a, b
			t.Cleanup(func() { a.Close(); b.Close() })
		}
	}
	return hosts
}

func sleeper(t testing.TB) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // the test may have
	})
	return cmd
}

// TestProcess: what each pid names, seen from each host.
func TestProcess(t *testing.T) {
	h := cluster(t, 3)
	h[1].away[50] = jobs.AwayJob{Pid: 50, Host: 2}
	h[1].leased[33000] = 3
	for _, c := range []struct {
		from int
		pid  names.Pid
		want string
	}{
		{1, 50, "away at 2"},
		{1, names.MakePid(1, 50), "away at 2"},
		{1, 51, "local"},
		{1, names.MakePid(1, 51), "local"},
		{1, 33000, "remote at 3"},
		{1, 33001, "local"}, // which the kernel says nobody has
		{1, names.MakePid(2, 50), "remote at 2"},
		{2, names.MakePid(1, 50), "remote at 1"},
		{2, names.MakePid(1, 33000), "remote at 1"},
		{2, 50, "local"},
		{1, names.MakePid(9, 50), "remote at 9"},
		{1, names.MakePid(names.MaxHost+1, 50), "gone"},
		{1, names.MakePid(2, 0), "gone"},
		{1, 0, "gone"},
	} {
		if got := kind(h[c.from].space.Process(c.pid)); got != c.want {
			t.Errorf("%v at h%d: %s, want %s", c.pid, c.from, got, c.want)
		}
	}
	h[1].number = names.Here // it has left the cluster
	for pid, want := range map[names.Pid]string{51: "local", names.MakePid(2, 51): "gone"} {
		if got := kind(h[1].space.Process(pid)); got != want {
			t.Errorf("%v in no cluster: %s, want %s", pid, got, want)
		}
	}
}

func kind(p proc.Process) string {
	switch p := p.(type) {
	case *proc.Local:
		return "local"
	case *proc.Away:
		return fmt.Sprintf("away at %d", p.To)
	case *leased:
		return fmt.Sprintf("remote at %d", p.To)
	case *proc.Remote:
		return fmt.Sprintf("remote at %d", p.To)
	case proc.Gone:
		return "gone"
	}
	return fmt.Sprintf("%T", p)
}

// TestLocalAllocatesNothing: finding a process of this host costs nothing but the look at who is elsewhere.
func TestLocalAllocatesNothing(t *testing.T) {
	s := cluster(t, 1)[1].space
	ctx, pid := t.Context(), names.Pid(os.Getpid())
	if n := testing.AllocsPerRun(100, func() { _ = s.Process(pid).Signal(ctx, proc.Daemon, proc.Signal{}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestOverLinks: an operation reaches the process wherever it is, and says so when there is none.
func TestOverLinks(t *testing.T) {
	h := cluster(t, 3)
	here, nested, job, ghost := sleeper(t), sleeper(t), sleeper(t), sleeper(t)
	n, g := here.Process.Pid, ghost.Process.Pid
	h[1].away[g] = jobs.AwayJob{Pid: g, Host: 2}
	h[1].leased[33000], h[1].leased[33001] = 2, 2
	h[2].nested[1] = map[int]*exec.Cmd{33000: nested, g: job}
	ctx := t.Context()
	for _, c := range []struct {
		from int
		pid  names.Pid
		at   names.Host
		err  error
	}{
		{1, names.Pid(n), names.Here, nil},
		{2, names.MakePid(1, n), 1, nil},
		{1, names.Pid(g), 2, nil},
		{3, names.MakePid(1, g), 2, nil},
		{2, names.MakePid(1, g), 2, nil}, // over two links, to itself
		{3, names.MakePid(1, 33000), 2, nil},
		{1, 33000, 2, nil},
		{3, names.MakePid(1, 33001), 0, syscall.ESRCH},
		{3, names.MakePid(1, 33002), 0, syscall.ESRCH},
		{3, names.MakePid(9, 33001), 0, syscall.ESRCH},
	} {
		p := h[c.from].space.Process(c.pid)
		at, err := p.Where(ctx)
		if !errors.Is(err, c.err) || err == nil && at != c.at {
			t.Errorf("%v at h%d: on %v, %v; want %v, %v", c.pid, c.from, at, err, c.at, c.err)
		}
		if err := p.Signal(ctx, proc.Daemon, proc.Signal{}); !errors.Is(err, c.err) {
			t.Errorf("%v at h%d: signal: %v, want %v", c.pid, c.from, err, c.err)
		}
	}
	if h[1].drains == 0 {
		t.Error("no signal waited for what was done at home before")
	}
	// A setting of the job is one of its ghost; its family is the ghost's.
	p := h[3].space.Process(names.MakePid(1, g))
	if err := p.SetPriority(ctx, proc.Daemon, proc.OfProcess, 4); err != nil {
		t.Fatal(err)
	}
	for name, cmd := range map[string]*exec.Cmd{"job": job, "ghost": ghost} {
		if nice, err := proc.Here(cmd.Process.Pid).Priority(ctx, proc.Daemon, proc.OfProcess); err != nil || nice != 4 {
			t.Errorf("nice value of the %s: %d, %v", name, nice, err)
		}
	}
	if group, err := p.Group(ctx, proc.Daemon); err != nil || group != g {
		t.Errorf("group %d, %v; the ghost's is %d", group, err, g)
	}
	// Both of another home's, over two links, and what is in a nest are looked at where they run.
	for _, from := range []int{1, 2, 3} {
		for _, n := range []int{n, g} {
			views, err := h[from].space.Process(names.MakePid(1, n)).Look(ctx, proc.Daemon, []proc.Look{{Kind: proc.LookRead, Path: "status", Size: 8 << 10}})
			if err != nil || views[0].Errno != 0 || !strings.Contains(string(views[0].Data), fmt.Sprintf("\nPid:\t%d\n", n)) {
				t.Errorf("a look at %d by h%d: %v, %v", n, from, views, err)
			}
		}
	}
	// A signal goes to the job, not to the ghost.
	if err := p.Signal(ctx, proc.Daemon, proc.Signal{Number: 9}); err != nil {
		t.Fatal(err)
	}
	if err := job.Wait(); err == nil {
		t.Error("the job lives")
	}
	if st, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g)); err != nil || len(st) == 0 {
		t.Errorf("the ghost was killed, and not its job alone: %v", err)
	}
}

// TestNotRound: a request about a number of somebody else's space, from anybody but its owner, goes nowhere.
func TestNotRound(t *testing.T) {
	h := cluster(t, 3)
	cmd := sleeper(t)
	h[2].nested[1] = map[int]*exec.Cmd{77: cmd}
	for _, pid := range []names.Pid{names.MakePid(1, 77), names.MakePid(4, 77), 77} {
		req := &procpb.Request{Pid: uint32(pid), Op: procpb.Op_SIGNAL, Caller: proc.Daemon.Message(), Args: []int64{0}}
		reply, err := h[3].space.Carry(t.Context(), 2, req)
		if err != nil || reply.Errno == 0 {
			t.Errorf("%v: %v, %v", pid, reply, err)
		}
	}
}

// TestLives: a word from an earlier life of a home finds nobody.
func TestLives(t *testing.T) {
	h := cluster(t, 2)
	cmd := sleeper(t)
	h[2].nested[1] = map[int]*exec.Cmd{33000: cmd}
	again := link.Peer{Number: 1, Name: "h1", Incarnation: 2}
	a, b := link.Pipe(again, link.Peer{Number: 2, Name: "h2", Incarnation: 1}, h[1].router, h[2].router)
	t.Cleanup(func() { a.Close(); b.Close() })
	h[1].leased[33000] = 2
	if err := h[1].space.Process(33000).Signal(t.Context(), proc.Daemon, proc.Signal{}); err != nil {
		t.Errorf("in its life: %v", err)
	}
	h[1].links[2] = a
	if err := h[1].space.Process(33000).Signal(t.Context(), proc.Daemon, proc.Signal{}); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("in a later one: %v", err)
	}
}

// TestDown: a host that is dead, or unknown, or silent.
func TestDown(t *testing.T) {
	h := cluster(t, 2)
	p := h[1].space.Process(names.MakePid(2, 1))
	for name, c := range map[string]struct{ err, want error }{
		"dead":      {fmt.Errorf("h2: %w", names.HostDown), syscall.EHOSTDOWN},
		"unknown":   {names.UnknownHost, syscall.ESRCH},
		"cut off":   {context.DeadlineExceeded, syscall.ETIMEDOUT},
		"no memory": {syscall.ENOMEM, syscall.ENOMEM},
	} {
		h[1].down[2] = c.err
		if err := p.Signal(t.Context(), proc.Daemon, proc.Signal{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	delete(h[1].down, 2)
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error, 1)
	cmd := sleeper(t)
	go func() {
		_, err := h[1].space.Process(names.MakePid(2, cmd.Process.Pid)).Wait(ctx)
		waited <- err
	}()
	select {
	case err := <-waited:
		t.Fatalf("it waits for nothing: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	h[1].links[2].Close()
	if err := <-waited; !errors.Is(err, syscall.EHOSTDOWN) {
		t.Errorf("a wait whose host is lost: %v", err)
	}
	cancel()
}

// TestResolving: from every host every pid leads to the same process, over two links at most.
func TestResolving(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		hosts := rapid.IntRange(1, 4).Draw(rt, "hosts")
		h := cluster(t, hosts)
		home := rapid.IntRange(1, hosts).Draw(rt, "home")
		from := rapid.IntRange(1, hosts).Draw(rt, "from")
		at := rapid.IntRange(1, hosts).Draw(rt, "at")
		cmd := sleeper(t)
		n := cmd.Process.Pid
		want := names.Host(home)
		if at != home {
			want = names.Host(at)
			switch rapid.SampledFrom([]string{"away", "leased", "going"}).Draw(rt, "how") {
			case "leased":
				n = rapid.IntRange(names.FirstLease, names.MaxLease).Draw(rt, "number")
				h[home].leased[n] = names.Host(at)
			case "going": // its home has not heard of it yet
				h[home].going[n] = names.Host(at)
			case "away":
				h[home].away[n] = jobs.AwayJob{Pid: n, Host: names.Host(at)}
			}
			h[at].nested[names.Host(home)] = map[int]*exec.Cmd{n: cmd}
		}
		got, err := h[from].space.sought(names.MakePid(names.Host(home), n)).Where(t.Context())
		if got == names.Here {
			got = names.Host(from)
		}
		if err != nil || got != want {
			rt.Fatalf("%d:%d, which runs on %d, is on %v (%v) as %d sees it", home, n, at, got, err, from)
		}
		for i := 1; i <= hosts; i++ { // not to gather thousands
			for _, c := range h[i].links {
				c.Close()
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
}
