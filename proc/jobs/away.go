package jobs

import (
	"context"
	"os"
	"syscall"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
)

// AwayJob is a job that runs elsewhere now.
type AwayJob struct {
	Pid  int // its own, and its ghost's
	Host names.Host
	Run  int // the process that is the session's supervisor
}

func (h *Home) isGoing(pid int, to names.Host) {
	h.mu.Lock()
	h.going[pid] = to
	h.mu.Unlock()
}

func (h *Home) isAway(j AwayJob) {
	h.mu.Lock()
	h.away[j.Pid] = j
	delete(h.going, j.Pid)
	h.mu.Unlock()
}

func (h *Home) notAway(pid int) {
	h.mu.Lock()
	delete(h.away, pid)
	delete(h.going, pid)
	h.mu.Unlock()
}

// Away gives the job that has the number, if it runs elsewhere now. One that is on its way there or back, or has ended, is where its
// ghost is: what the ghost is sent goes with it. Going tells who asks only where it is.
func (h *Home) Away(pid int) (AwayJob, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	j, ok := h.away[pid]
	return j, ok
}

// Going gives the host that a job has been sent to which has not been heard of there yet. It may run there already.
func (h *Home) Going(pid int) (names.Host, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	to, ok := h.going[pid]
	return to, ok
}

// AllAway gives what runs elsewhere now.
func (h *Home) AllAway() []AwayJob {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]AwayJob, 0, len(h.away))
	for _, j := range h.away {
		all = append(all, j)
	}
	return all
}

// nestOf gives the nest of one life of a home, if it is made.
func (h *Helper) nestOf(from link.Peer) *home {
	h.mu.Lock()
	hm := h.homes[from.Number]
	known := hm != nil && hm.goesOnLocked(from)
	h.mu.Unlock()
	if !known {
		return nil
	}
	select {
	case <-hm.ready:
		if hm.err == nil {
			return hm
		}
	default:
	}
	return nil
}

// Nested gives the pidfd of a process or thread of a home that runs here, by its number in the home's pid space. ESRCH: there is none.
func (h *Helper) Nested(from link.Peer, pid int) (*os.File, error) {
	hm := h.nestOf(from)
	if hm == nil {
		return nil, syscall.ESRCH
	}
	return hm.nest.Pidfd(pid)
}

// NestedProc opens the /proc of a home's nest here. ESRCH: there is none.
func (h *Helper) NestedProc(from link.Peer) (*os.File, error) {
	hm := h.nestOf(from)
	if hm == nil {
		return nil, syscall.ESRCH
	}
	return hm.nest.Proc()
}

// NestedNumbers gives the numbers, in the home's pid space, of all processes of a home that run here.
func (h *Helper) NestedNumbers(from link.Peer) []int {
	hm := h.nestOf(from)
	if hm == nil {
		return nil
	}
	return hm.nest.Numbers()
}

// Applied waits until this host knows of the home's changes up to seq.
func (h *Helper) Applied(ctx context.Context, from link.Peer, seq uint64) error {
	hm := h.nestOf(from)
	if hm == nil {
		return syscall.ESRCH
	}
	return hm.tree.Applied(ctx, seq)
}
