package netfs_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/onehost/onehost/netfs"
)

// listed gives the names of a directory in the order that the kernel gives them, n at a time.
func listed(t *testing.T, f *os.File, n int) []string {
	t.Helper()
	var all []string
	for {
		names, err := f.Readdirnames(n)
		all = append(all, names...)
		if errors.Is(err, io.EOF) || err == nil && n <= 0 {
			return all
		}
		if err != nil {
			t.Error(err)
			return nil
		}
	}
}

func opened(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestListings: whoever lists a directory gets what the home gives, in the same order, whoever else lists it at the same time, and however
// far they get; and what a listing began with it ends with, as far as that has not changed.
func TestListings(t *testing.T) {
	for _, noOpen := range []bool{false, true} {
		for _, count := range []int{150, 1500, 4200} { // given whole, as names, and by pages
			t.Run(fmt.Sprintf("no opens %v, %d names", noOpen, count), func(t *testing.T) {
				h := newHome(t, t.TempDir())
				if err := os.Mkdir(h.path("d"), 0o755); err != nil {
					t.Fatal(err)
				}
				for i := range count {
					put(t, h.path("d", fmt.Sprintf("%03d-%s", i, strings.Repeat("x", 90))), "")
				}
				x := h.mount(t, func(c *netfs.MountConfig) { c.NoOpen = noOpen })
				if _, err := os.Stat(x.path("d", "none")); err == nil { // the listing comes with the first lookup
					t.Fatal("a name that is not there is found")
				}
				want := listed(t, opened(t, h.path("d")), -1)
				check := func(who string, got []string) {
					if !slices.Equal(got, want) {
						t.Errorf("%s got %d names of %d, %d of them different, or another order", who, len(got), len(want), len(slices.Compact(slices.Sorted(slices.Values(got)))))
					}
				}
				half := opened(t, x.path("d"))
				if _, err := half.Readdirnames(5); err != nil { // and reads no further yet
					t.Fatal(err)
				}
				check("the first", listed(t, opened(t, x.path("d")), 100))
				check("one after it", listed(t, opened(t, x.path("d")), 100))
				var wg sync.WaitGroup
				for i := range 4 {
					wg.Go(func() { check(fmt.Sprintf("%d of four", i), listed(t, opened(t, x.path("d")), 7*(i+1))) })
				}
				wg.Wait()
				put(t, h.path("d", "new"), "")
				if err := os.Remove(h.path("d", want[2])); err != nil {
					t.Fatal(err)
				}
				x.sync(t)
				check("who began before a change", append(slices.Clone(want[:5]), listed(t, half, 100)...))
				want = listed(t, opened(t, h.path("d")), -1)
				check("who began after it", listed(t, opened(t, x.path("d")), 100))
				put(t, x.path("d", "ours"), "")
				x.flush(t)
				want = listed(t, opened(t, h.path("d")), -1)
				check("who made a file", listed(t, opened(t, x.path("d")), 100))
			})
		}
	}
}
