package member

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"
)

// In a cluster where not all beat to all, everybody still has the views and the loads, and a crash is known.
func TestManyHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("18 hosts in one process take a while")
	}
	c := newCluster(t, fullMesh+2)
	c.until("five voters", 10*time.Second, voters(5))
	begin := time.Now()
	c.beating()
	t.Logf("all loads known after %v", time.Since(begin))
	c.kill("h12")
	t.Logf("known everywhere after %v", c.until("h12 failed", 5*time.Second, is("h12", Failed)))
	c.until("nobody else", time.Second, func(v View) bool { return len(v.Up()) == fullMesh+1 })
}

// All hosts see the same views, whatever they are and whoever asks for changes.
func TestSameViews(t *testing.T) {
	c := newCluster(t, 5)
	c.until("three voters", 5*time.Second, voters(3))
	seen := map[string]map[uint64]string{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var cancels []func()
	for name := range c.hosts {
		seen[name] = map[uint64]string{}
	}
	for name, m := range c.hosts {
		views, cancel := m.Subscribe()
		cancels = append(cancels, cancel)
		wg.Go(func() {
			var last uint64
			for v := range views {
				if last != 0 && v.Seq != last+1 {
					t.Errorf("%s: view %d after view %d", name, v.Seq, last)
				}
				last = v.Seq
				mu.Lock()
				seen[name][v.Seq] = fmt.Sprint(v)
				mu.Unlock()
			}
		})
	}
	ctx := testContext(t)
	var ask sync.WaitGroup
	for name, m := range c.hosts {
		ask.Go(func() {
			for range 3 {
				for _, resume := range []bool{false, true} {
					if err := m.Drain(ctx, 5, resume); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
		})
	}
	ask.Wait()
	if err := c.hosts["h4"].Drain(ctx, 4, false); err != nil {
		t.Fatal(err)
	}
	c.until("h4 drained", 3*time.Second, is("h4", Drained))
	for _, cancel := range cancels {
		cancel()
	}
	wg.Wait()
	for name, views := range seen {
		for seq, v := range views {
			for other, theirs := range seen {
				if o, ok := theirs[seq]; ok && o != v {
					t.Fatalf("view %d of %s is %s, of %s %s", seq, name, v, other, o)
				}
			}
		}
	}
	if n := len(seen["h1"]); n < 4 {
		t.Errorf("only views %v", slices.Sorted(maps.Keys(seen["h1"])))
	}
}
