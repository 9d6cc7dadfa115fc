package netfs_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onehost/onehost/netfs"
)

// finish compares everything, everywhere.
func (d *driver) finish() {
	for len(d.fds) > 0 {
		h := d.fds[0]
		d.now = h.f.num
		d.ready(h.at)
		if h.reads() && h.f.names > 0 {
			d.check(h, true)
		}
		d.shut(h)
	}
	for _, at := range d.spots {
		for _, name := range slices.Sorted(maps.Keys(d.files)) {
			d.whole(at, d.actors[at][0], name)
		}
		d.list(at, d.actors[at][0])
	}
}

// stressTime is how long each case goes on; a number of seconds in the environment makes it longer, one of a seed repeats what was tried.
func stressTime(t *testing.T) (time.Duration, uint64) {
	long, seed := 1500*time.Millisecond, uint64(time.Now().UnixNano())
	if s, err := strconv.Atoi(os.Getenv("ONEHOST_NETFS_STRESS")); err == nil {
		long = time.Duration(s) * time.Second
	}
	if s, err := strconv.ParseUint(os.Getenv("ONEHOST_NETFS_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("ONEHOST_NETFS_SEED=%d", seed)
	return long, seed
}

// TestStress has programs on mounts and at home do at random what programs do to files, while files are flushed and recalled and
// connections break, and compares whatever they see with what they must.
func TestStress(t *testing.T) {
	narrow := func(c *netfs.MountConfig) { c.Narrow(9000, 30000, 100000); c.Hold = 3 * time.Millisecond }
	noOpen := func(c *netfs.MountConfig) { c.NoOpen = true }
	for _, c := range []struct {
		name   string
		root   func(t *testing.T) string
		mounts []string
		change []func(*netfs.MountConfig)
		breaks bool
	}{
		{"one mount", roots["plain"], []string{"full"}, nil, false},
		{"narrow bounds", roots["plain"], []string{"full"}, []func(*netfs.MountConfig){narrow}, false},
		{"little room", func(t *testing.T) string { return tmpfs(t, "size=200m") }, []string{"full"}, nil, false},
		{"soon home", roots["plain"], []string{"full", "full"}, []func(*netfs.MountConfig){hold(2 * time.Millisecond)}, false},
		{"overlay", roots["overlay with handles"], []string{"full"}, nil, false},
		{"no opens", roots["plain"], []string{"noopen"}, nil, false},
		{"two hosts", roots["plain"], []string{"full", "full"}, nil, false},
		{"three mounts", roots["plain"], []string{"full", "full", "noopen"}, []func(*netfs.MountConfig){narrow}, false},
		{"broken connections", roots["plain"], []string{"full"}, []func(*netfs.MountConfig){hold(4 * time.Millisecond)}, true},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			long, seed := stressTime(t)
			h := newHome(t, c.root(t))
			home := &spot{name: "home", dir: h.dir}
			spots := []*spot{home}
			var cables []*cable
			for i, kind := range c.mounts {
				change := c.change
				if kind == "noopen" {
					change = append(slices.Clone(change), noOpen)
				}
				w := h.wire(t, change...)
				cables = append(cables, w)
				spots = append(spots, &spot{name: fmt.Sprint(kind, i), dir: w.dir, x: w.helper, noOpen: kind == "noopen" || c.breaks})
			}
			other := h.mount(t)
			var calm sync.RWMutex
			var failed atomic.Bool
			var work, noise sync.WaitGroup
			end := time.Now().Add(long)
			const drivers = 3
			for i := range drivers {
				d := &driver{
					t: t, rng: rand.New(rand.NewPCG(seed, uint64(i))), dir: fmt.Sprint("d", i), spots: spots, actors: make(map[*spot][]*actor),
					files: make(map[string]*inode), stale: make(map[*spot]bool), calm: &calm, failed: &failed,
				}
				if err := os.Mkdir(h.path(d.dir), 0o755); err != nil {
					t.Fatal(err)
				}
				for _, s := range spots {
					d.stale[s] = true
					for range 2 {
						d.actors[s] = append(d.actors[s], newActor(t))
					}
				}
				work.Go(func() {
					defer func() {
						if p := recover(); p != nil && p != any(d) {
							panic(p)
						}
					}()
					for n := 0; time.Now().Before(end); n++ {
						d.step()
					}
					d.finish()
					t.Logf("%s: %d deeds", d.dir, len(d.log))
				})
			}
			ctx, stop := context.WithCancel(t.Context())
			disturb := func(every time.Duration, f func(rng *rand.Rand)) {
				noise.Go(func() {
					rng := rand.New(rand.NewPCG(seed, uint64(time.Now().UnixNano())))
					for {
						select {
						case <-ctx.Done():
							return
						case <-time.After(time.Duration(rng.Int64N(int64(every)))):
							f(rng)
						}
					}
				})
			}
			for _, s := range spots[1:] {
				disturb(6*time.Millisecond, func(rng *rand.Rand) {
					if rng.IntN(2) == 0 {
						_ = s.x.Flush(ctx)
					} else {
						_ = s.x.FlushEnded(ctx)
					}
				})
			}
			disturb(3*time.Millisecond, func(rng *rand.Rand) { // somebody else looks, so that tokens are recalled
				_, _ = os.ReadFile(other.path(fmt.Sprint("d", rng.IntN(drivers)), "abcdef"[rng.IntN(6):][:1]))
			})
			disturb(3*time.Millisecond, func(rng *rand.Rand) { // other files come and go, natively
				p := h.path(fmt.Sprint("d", rng.IntN(drivers)), "noise"+strconv.Itoa(rng.IntN(4)))
				if os.WriteFile(p, []byte("noise"), 0o644) == nil && rng.IntN(2) == 0 {
					_ = os.Remove(p)
				}
			})
			if c.breaks {
				disturb(200*time.Millisecond, func(*rand.Rand) {
					calm.Lock()
					defer calm.Unlock()
					for _, w := range cables {
						w.pull(false)
						w.sync(t) // until all is forgotten, a program may be told that a file has not grown
					}
				})
			}
			work.Wait()
			stop()
			noise.Wait()
		})
	}
}
