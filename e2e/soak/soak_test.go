package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/split"
)

// Environment of a run: how long it lasts (a Go duration), the seed of its choices, a name of the split so that several runs do not meet, whether
// nothing is done to the hosts, and a file for all that happens.
const (
	timeEnv   = "SOAK_TIME"
	seedEnv   = "SOAK_SEED"
	prefixEnv = "ONEHOST_E2E_PREFIX"
	calmEnv   = "SOAK_CALM"
	traceEnv  = "SOAK_TRACE"
)

// shortly is how long a run lasts that nobody asked to last.
const shortly = 20 * time.Second

func TestMain(m *testing.M) {
	if split.Reexec(os.Args) {
		return
	}
	os.Exit(m.Run())
}

// rig is what all rounds share.
type rig struct {
	cluster *split.Cluster
	hub     *hub
	book    *book
	numbers map[names.HostName]names.Host
	running *sync.WaitGroup // what a round has started
}

func (r *rig) anyHost(rng *rand.Rand) names.HostName {
	all := r.cluster.Hosts()
	return all[rng.IntN(len(all))].Name()
}

// homes are where sessions begin. Every host runs what they send away, and the homes are the last to fail.
var homes = []names.HostName{"h1", "h2"}

func TestSoak(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("hosts on this machine need root")
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("the agents need gcc: scripts/packages.sh installs it")
	}
	lasts := shortly
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any number will do
	var err error
	if text := os.Getenv(timeEnv); text != "" {
		if lasts, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv(seedEnv); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s=%d", seedEnv, seed)
	r := newRig(t)
	ctx := t.Context()
	r.settle(ctx, t)
	before := r.hold(ctx, t)
	end := time.Now().Add(lasts)
	rounds := 0
	for ; rounds == 0 || time.Now().Before(end) && len(r.book.findings) < 5; rounds++ {
		length := min(time.Until(end), 20*time.Second)
		r.round(ctx, t, rand.New(rand.NewPCG(seed, uint64(rounds))), max(length, 5*time.Second)) //nolint:gosec // it has to be repeatable
		r.settle(ctx, t)
		r.compare(ctx, t, before)
	}
	r.idle(ctx, t)
	t.Logf("%d rounds: %v", rounds, r.book.counts)
	if n := len(r.book.findings); n > 0 {
		t.Errorf("%d findings, see above", n)
	}
	if r.book.counts["histories checked"] == 0 || r.book.counts["queue"] == 0 {
		t.Errorf("nothing was checked: %v", r.book.counts)
	}
	if t.Failed() {
		t.Logf("again: %s=%d %s=%v", seedEnv, seed, timeEnv, lasts)
	}
}

// newRig makes four hosts that have the agents' program.
func newRig(t *testing.T) *rig {
	t.Helper()
	programs := t.TempDir()
	for _, args := range [][]string{
		{"go", "build", "-o", programs + "/", "../../cmd/onehost", "../../cmd/onehostd"},
		{"gcc", "-O1", "-Wall", "-D_GNU_SOURCE", "-static", "-o", programs + "/agent", "lib/agent.c"},
	} {
		build := exec.Command(args[0], args[1:]...)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	prefix := os.Getenv(prefixEnv)
	if prefix == "" {
		prefix = "e2e"
	}
	cfg := split.Config{
		Name: prefix + "-soak", Hosts: 4, Quota: 450,
		Daemon: filepath.Join(programs, "onehostd"), Onehost: filepath.Join(programs, "onehost"),
	}
	_ = split.Down(t.Context(), cfg.Name) // of a run that was killed
	c, err := split.Up(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := newBook(t.Output())
	if path := os.Getenv(traceEnv); path != "" {
		trace, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { trace.Close() })
		b.trace = trace
	}
	r := &rig{cluster: c, hub: newHub(b), book: b, numbers: map[names.HostName]names.Host{}, running: &sync.WaitGroup{}}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if t.Failed() {
			r.logs(ctx, t)
		}
		r.hub.close()
		if err := c.Down(ctx); err != nil {
			t.Errorf("split down: %v", err)
		}
	})
	for _, h := range c.Hosts() {
		program, err := os.Open(programs + "/agent")
		if err != nil {
			t.Fatal(err)
		}
		cmd := h.Command(t.Context(), "sh", "-c", fmt.Sprintf("useradd -u 7001 %[6]s && mkdir -p %[1]s /etc/onehost && cat > %[2]s && chmod 755 %[2]s && cp %[2]s %[3]s && cp %[2]s %[4]s && printf '%%s' '%[5]s' > /etc/onehost/place",
			toolDir, progAgent, progSpreader, progLocal, rules, soaker))
		cmd.Stdin = program
		out, err := cmd.CombinedOutput()
		program.Close()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if err := r.hub.listen(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	var reply control.HostsReply
	if err := control.Call(t.Context(), c.Host("h1").Control(), control.OpHosts, struct{}{}, &reply); err != nil {
		t.Fatal(err)
	}
	for _, h := range reply.Hosts {
		r.numbers[h.Name] = h.Number
	}
	return r
}

// logs shows what runs, and what the daemons and carriers have said: not their goroutines, which they show when asked for their number.
func (r *rig) logs(ctx context.Context, t *testing.T) {
	t.Logf("second 0 was %s", time.Now().Add(-r.book.now()).Format(time.RFC3339Nano))
	for _, h := range r.cluster.Hosts() {
		if out, err := h.Command(ctx, "sh", "-c", "ps -eo pid,ppid,pgid,stat,wchan:24,args; grep level= /var/log/onehostd.log | tail -n 300").Output(); err == nil {
			t.Logf("%s: %s", h.Name(), out)
		}
	}
}

// round opens sessions, has them driven while hosts fail, and ends them.
func (r *rig) round(ctx context.Context, t *testing.T, rng *rand.Rand, length time.Duration) {
	r.book.fresh()
	r.hub.forget()
	lasting, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var sessions, faults sync.WaitGroup
	if os.Getenv(calmEnv) == "" {
		frng := rand.New(rand.NewPCG(rng.Uint64(), 1)) //nolint:gosec // it has to be repeatable
		faults.Go(func() { r.trouble(lasting, ctx, t, frng) })
	}
	for i := range 3 {
		srng := rand.New(rand.NewPCG(rng.Uint64(), 2)) //nolint:gosec // it has to be repeatable
		sessions.Go(func() {
			for n := 0; lasting.Err() == nil; n++ {
				r.live(lasting, ctx, srng, fmt.Sprintf("r%d-%d-%d", r.rounds(), i, n))
			}
		})
	}
	sessions.Wait()
	faults.Wait()
	r.running.Wait()
	r.book.checkLinear()
}

// rounds numbers the rounds, so that no name comes twice.
func (r *rig) rounds() int {
	r.book.mu.Lock()
	defer r.book.mu.Unlock()
	return r.book.round
}

// live drives one session from its beginning to its end. Its end may take longer than the round.
func (r *rig) live(lasting, ctx context.Context, rng *rand.Rand, name string) {
	home := homes[rng.IntN(len(homes))]
	began := r.book.now()
	s, err := r.open(ctx, rng, name, home)
	if s == nil {
		if !r.book.suspect(began) && ctx.Err() == nil {
			r.book.finding(nil, "%s on %s: %v", name, home, err)
		}
		pause(lasting, 100*time.Millisecond)
		return
	}
	if err != nil {
		if !r.book.suspect(began) && ctx.Err() == nil {
			r.book.finding(s.root, "%s, %s on %s: %v\n%s", name, s.kind, home, err, s.out.String())
		}
		s.end()
		_ = s.cmd.Signal(9)
		s.finish(ctx, func() bool { return true }, func(error) bool { return true })
		return
	}
	r.book.count("sessions")
	driven, cancel := context.WithTimeout(lasting, 2*time.Second+upTo(rng, 8*time.Second))
	defer cancel()
	var drivers sync.WaitGroup
	for i := range 3 {
		d := &driver{session: s, ctx: driven, rng: rand.New(rand.NewPCG(rng.Uint64(), uint64(i)))} //nolint:gosec // it has to be repeatable
		drivers.Go(d.drive)
	}
	drivers.Wait()
	s.close(ctx, rng)
}

// settle waits until every host takes jobs of every home, and runs one for each: what is kept for the next one is there then.
func (r *rig) settle(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, home := range homes {
		for _, h := range r.cluster.Hosts() {
			if err := r.usable(ctx, home, h.Name()); err != nil {
				t.Fatalf("%s takes no jobs of %s: %v", h.Name(), home, err)
			}
		}
	}
}

// usable waits until a host takes a home's jobs.
func (r *rig) usable(ctx context.Context, home, h names.HostName) error {
	if home == h { // whose jobs stay
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		cmd := r.cluster.Host(home).Command(ctx, "onehost", "run", "--no-local", "--hosts", string(h), progAgent, "fill", "0")
		cmd.Env = environment
		out, err := cmd.CombinedOutput()
		var exit *split.ExitError
		if errors.As(err, &exit) && exit.Code == 2 && strings.Contains(string(out), "1 remote") {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w: %s", ctx.Err(), err, out)
		}
		pause(ctx, 50*time.Millisecond)
	}
}
