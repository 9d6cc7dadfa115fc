package jobs

import (
	"errors"
	"os"
	"path/filepath"
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
		l, err := OpenLeases(path, c.boot)
		if err != nil {
			t.Fatal(err)
		}
		if first, _, err := l.Lease(c.helper, 0); err != nil || first != names.FirstLease+c.want*leaseSize {
			t.Errorf("boot %s, host %d: %d, %v; want block %d", c.boot, c.helper, first, err, c.want)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLeases(path, "two"); err == nil {
		t.Error("a damaged file was taken for good")
	}
}
