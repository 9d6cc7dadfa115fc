package member

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"
)

// All hosts see the same views, whatever they are and whoever asks for changes.
func TestSameViews(t *testing.T) {
	c := newCluster(t, 5)
	c.until("three voters", 20*time.Second, voters(3))
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
	c.until("h4 drained", 15*time.Second, is("h4", Drained))
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
