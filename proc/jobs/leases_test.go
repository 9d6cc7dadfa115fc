package jobs

import (
	"errors"
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
