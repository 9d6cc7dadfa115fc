package jobs

import (
	"fmt"
	"sync"
	"syscall"

	"github.com/onehost/onehost/names"
)

// leaseSize is how many of a home's pids one helper gets: 32 helpers share the upper half of the space.
const leaseSize = 1024

// Leases gives blocks of the home's own pid space (names.FirstLease..names.MaxLease) to helpers, so that processes
// forked there get numbers that are unique in it. A helper keeps its block for the life of the home.
type Leases struct {
	mu     sync.Mutex
	blocks map[names.Host]int // index of the block
}

// Lease gives the block of a helper, first and last pid. It fails with EAGAIN when all are out.
func (l *Leases) Lease(helper names.Host) (first, last int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, ok := l.blocks[helper]
	if !ok {
		i = len(l.blocks)
		if i >= (names.MaxLease+1-names.FirstLease)/leaseSize {
			return 0, 0, fmt.Errorf("all %d blocks of this host's pids are leased: %w", i, syscall.EAGAIN)
		}
		if l.blocks == nil {
			l.blocks = map[names.Host]int{}
		}
		l.blocks[helper] = i
	}
	first = names.FirstLease + i*leaseSize
	return first, first + leaseSize - 1, nil
}

// Holder gives the helper that a number of the home's pid space is leased to.
func (l *Leases) Holder(pid int) (names.Host, bool) {
	if pid < names.FirstLease || pid > names.MaxLease {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for helper, i := range l.blocks {
		if i == (pid-names.FirstLease)/leaseSize {
			return helper, true
		}
	}
	return 0, false
}

// Holders gives every helper that has numbers of the home's pid space, with the first of each.
func (l *Leases) Holders() map[names.Host]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[names.Host]int, len(l.blocks))
	for helper, i := range l.blocks {
		all[helper] = names.FirstLease + i*leaseSize
	}
	return all
}
