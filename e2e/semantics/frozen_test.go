package semantics

import (
	"context"
	"math/rand/v2"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/onehost/onehost/split"
)

// TestStopsOnFrozenHosts: stops and continues are settled by counts, so hosts that stand still now and then, home too, make them late and nothing else.
func TestStopsOnFrozenHosts(t *testing.T) {
	c := hosts(t)
	home := c.Host("h1")
	stops := regexp.MustCompile(`again and again|wait/WCONTINUED|SIGSTOP|SIGCONT|stop|\^Z`)
	names := slices.DeleteFunc(Names(), func(n string) bool { return !stops.MatchString(n) })
	if len(names) < 12 {
		t.Fatalf("only %d cases: %v", len(names), names)
	}
	native := carry(t, home, nil, Native, names, 1)
	f := freeze(t, c)
	local, remote := carry(t, home, f, Local, names, 2), carry(t, home, f, Remote, names, 2)
	f.thaw()
	for _, name := range names {
		t.Run(name, func(t *testing.T) { judge(t, name, native[name], local[name], remote[name]) })
	}
}

// frost is hosts that stand still now and then.
type frost struct {
	still sync.Mutex // held while they do
	thaw  func()     // ends it; may be called again
}

// start starts a program in a host that is not frozen: the init of one that is would not answer. A nil frost is none.
func (f *frost) start(cmd *split.Cmd) error {
	if f != nil {
		f.still.Lock()
		defer f.still.Unlock()
	}
	return cmd.Start()
}

// freeze lets one host after another, or all, stand still for a fraction of a second, until thaw or the end of the test.
func freeze(t *testing.T, c *split.Cluster) *frost {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // nobody is to guess anything
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(random.Int64N(int64(most-least)))
	}
	f := &frost{}
	stand := func(hosts []*split.Host) {
		f.still.Lock()
		defer f.still.Unlock()
		for _, h := range hosts {
			if err := h.Freeze(context.WithoutCancel(t.Context())); err != nil {
				t.Errorf("freeze %s: %v", h.Name(), err)
			}
		}
		time.Sleep(between(100*time.Millisecond, 600*time.Millisecond))
		for _, h := range hosts {
			if err := h.Thaw(context.WithoutCancel(t.Context())); err != nil {
				t.Errorf("thaw %s: %v", h.Name(), err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			hosts := c.Hosts()
			if random.IntN(2) == 0 {
				hosts = hosts[random.IntN(len(hosts)):][:1]
			}
			stand(hosts)
			time.Sleep(between(50*time.Millisecond, 800*time.Millisecond))
		}
	})
	f.thaw = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(f.thaw) // before the hosts are taken down
	return f
}
