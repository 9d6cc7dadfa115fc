package jobs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/onehost/onehost/names"
)

func TestLeases(t *testing.T) {
	var l Leases
	lease := func(helper names.Host, has, want int) {
		t.Helper()
		first, last, err := l.Lease(helper, has)
		if want < 0 {
			if !errors.Is(err, syscall.EAGAIN) {
				t.Errorf("host %d with %d blocks: %d..%d, %v; want EAGAIN", helper, has, first, last, err)
			}
			return
		}
		if at := names.FirstLease + want*leaseSize; err != nil || first != at || last != at+leaseSize-1 {
			t.Errorf("host %d with %d blocks: %d..%d, %v; want block %d", helper, has, first, last, err, want)
		}
	}
	lease(1, 0, 0)
	lease(2, 0, 1)
	lease(1, 0, 0)
	lease(1, 1, 2)
	lease(1, 1, 2) // its nest was made anew
	lease(1, 2, 3)
	for pid, want := range map[int]names.Host{names.FirstLease: 1, names.FirstLease + leaseSize: 2, names.FirstLease + 4*leaseSize - 1: 1, names.FirstLease + 4*leaseSize: 0, 300: 0, names.MaxLease + 1: 0} {
		if got, ok := l.Holder(pid); got != want || ok != (want != 0) {
			t.Errorf("holder of %d: %d, %v; want %d", pid, got, ok, want)
		}
	}
	for i := 4; i < leaseBlocks/2; i++ {
		lease(1, i-1, i)
	}
	lease(1, leaseBlocks/2-1, -1)
	for i := leaseBlocks / 2; i < leaseBlocks; i++ { // all others still get one
		lease(names.Host(10+i), 0, i)
	}
	lease(99, 0, -1)
	if h := l.Holders(); len(h) != 2+leaseBlocks/2 || h[2] != names.FirstLease+leaseSize {
		t.Errorf("holders: %v", h)
	}
}

// TestLeasesOutliveTheDaemon: what was leased stays so for the next daemon of the same boot, and for no other.
func TestLeasesOutliveTheDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases")
	for _, c := range []struct {
		boot   string
		helper names.Host
		want   int
	}{{"one", 2, 0}, {"one", 3, 1}, {"one", 2, 0}, {"two", 3, 0}, {"two", 2, 1}} {
		l, err := OpenLeases(path, c.boot, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if first, _, err := l.Lease(c.helper, 0); err != nil || first != names.FirstLease+c.want*leaseSize {
			t.Errorf("boot %s, host %d: %d, %v; want block %d", c.boot, c.helper, first, err, c.want)
		}
	}
	for _, bad := range []string{
		"{", "", "null x", `{"boot":"two","blocks":[{"block":32,"to":2}]}`, `{"boot":"two","blocks":[{"block":30,"to":2,"more":2}]}`, `{"boot":"two","blocks":[{"block":5,"to":2},{"block":3,"to":4,"more":2}]}`, `{"boot":"two","blocks":[{"block":-1,"to":2}]}`,
		`{"boot":"two","blocks":[{"block":1,"to":2},{"block":1,"to":3}]}`, `{"boot":"two","blocks":[{"block":1,"to":0}]}`,
		`{"boot":"two","owners":[2,3],"blocks":[{"block":1,"to":2}]}`,
	} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenLeases(path, "two", nil, nil); err == nil {
			t.Errorf("a damaged file was taken for good: %s", bad)
		}
	}
	// As daemons before wrote it: an upgrade must not give numbers a second time.
	if err := os.WriteFile(path, []byte(`{"boot":"two","owners":[7,8,7]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLeases(path, "two", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for has, want := range []int{0, 2, 3} {
		if first, _, err := l.Lease(7, has); err != nil || first != names.FirstLease+want*leaseSize {
			t.Errorf("host 7 with %d blocks: %d, %v; want block %d", has, first, err, want)
		}
	}
}

// TestLeasesOfTheGone: the blocks of helpers that are gone for good are given to others when none is left, and not before.
func TestLeasesOfTheGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases")
	gone := map[names.Host]bool{}
	l, err := OpenLeases(path, "b", func(h names.Host) bool { return gone[h] }, nil)
	if err != nil {
		t.Fatal(err)
	}
	lease := func(helper names.Host, has, want int) {
		t.Helper()
		first, _, err := l.Lease(helper, has)
		if want < 0 && !errors.Is(err, syscall.EAGAIN) || want >= 0 && (err != nil || first != names.FirstLease+want*leaseSize) {
			t.Errorf("host %d with %d blocks: %d, %v; want block %d", helper, has, first, err, want)
		}
	}
	for i := range leaseBlocks {
		lease(names.Host(1+i), 0, i)
	}
	lease(100, 0, -1)
	gone[5], gone[9] = true, true
	lease(5, 0, 4) // it is back: it has it still
	lease(100, 0, 4)
	lease(101, 0, 8)
	lease(102, 0, -1)
	if h, ok := l.Holder(names.FirstLease + 4*leaseSize); !ok || h != 100 {
		t.Errorf("holder of a block that went on: %d, %v", h, ok)
	}
	gone[5] = false
	lease(5, 0, -1)
	for i := 1; i < leaseBlocks; i++ {
		gone[names.Host(1+i)] = true
	}
	gone[5] = false
	lease(100, 1, 1) // a second one is there while fewer than half are out
	lease(100, 1, 1) // asked again
	lease(100, 0, 4) // what it got first comes first, whatever the order of the numbers
	if again, err := OpenLeases(path, "b", nil, nil); err != nil || !slices.Equal(again.out, l.out) {
		t.Errorf("%v, %v are kept of %v", again, err, l.out)
	}
}

// TestLeasesOfFewHosts: where there are few hosts the first lease of each is large, and half of the blocks stay for those that come later.
func TestLeasesOfFewHosts(t *testing.T) {
	for hosts, want := range map[int]int{0: 8, 1: 8, 2: 8, 3: 5, 4: 4, 8: 2, 16: 1, 100: 1} {
		path := filepath.Join(t.TempDir(), "leases")
		l, err := OpenLeases(path, "b", nil, func() int { return hosts })
		if err != nil {
			t.Fatal(err)
		}
		taken := map[int]names.Host{}
		take := func(helper names.Host, has int) (blocks int, err error) {
			first, last, err := l.Lease(helper, has)
			for pid := first; err == nil && pid <= last; pid += leaseSize {
				if other, ok := taken[pid]; ok {
					t.Fatalf("%d hosts: block of %d is host %d's and host %d's", hosts, pid, other, helper)
				}
				taken[pid] = helper
				blocks++
			}
			return blocks, err
		}
		for i := range min(max(hosts-1, 1), leaseBlocks/2) {
			if got, err := take(names.Host(2+i), 0); err != nil || got != want {
				t.Errorf("%d hosts: the first lease of host %d is of %d blocks, %v; want %d", hosts, 2+i, got, err, want)
			}
		}
		if len(taken) > leaseBlocks/2 {
			t.Errorf("%d hosts: %d blocks are gone", hosts, len(taken))
		}
		if got, err := take(2, 1); err == nil && got != 1 || err != nil && len(taken) < leaseBlocks/2 {
			t.Errorf("%d hosts: the second lease is of %d blocks, %v; want 1", hosts, got, err)
		}
		again, err := OpenLeases(path, "b", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for pid, helper := range taken {
			if got, ok := again.Holder(pid + leaseSize - 1); !ok || got != helper {
				t.Errorf("%d hosts: the holder of %d is %d, want %d", hosts, pid+leaseSize-1, got, helper)
			}
		}
		hosts = 1
		for i := 0; len(taken) < leaseBlocks; i++ { // what is left of a row is taken as it is
			if got, err := take(names.Host(1000+i), 0); err != nil || got < 1 {
				t.Fatalf("with %d blocks taken: %d, %v", len(taken), got, err)
			}
		}
	}
}
