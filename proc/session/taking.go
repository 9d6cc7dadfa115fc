package session

import (
	"maps"

	"github.com/onehost/onehost/intercept"
	"github.com/onehost/onehost/sys"
)

// A process may run elsewhere before the one at home is its ghost: who hears of it may call for it at once. Until then the call would reach
// what is left at home only, so it waits.

// taking notes that the process is being made a ghost; done says that it is one, or will not be.
func (s *supervisor) taking(pid int) (done func()) {
	ch := make(chan struct{})
	s.mu.Lock()
	s.taken[pid] = ch
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		delete(s.taken, pid)
		s.mu.Unlock()
		close(ch)
	}
}

// whenTaken calls f, and reports true, when no process is being made a ghost any more of those that a call of the notified thread is about:
// pid is one's number, or 0 or less as kill has it. It reports false, at once, if none is: then f is not called.
func (s *supervisor) whenTaken(n *intercept.Notification, pid int, f func()) bool {
	s.mu.Lock()
	busy := maps.Clone(s.taken) // nil, as a rule, or of one
	s.mu.Unlock()
	if len(busy) == 0 {
		return false
	}
	group := -pid
	if pid == 0 {
		if st, err := sys.ReadProcStat(n.TID); err == nil {
			group = st.Pgid
		}
	}
	maps.DeleteFunc(busy, func(p int, _ <-chan struct{}) bool {
		return p != pid && pid != -1 && (pid > 0 || !inGroup(p, group))
	})
	if len(busy) == 0 {
		return false
	}
	s.wg.Go(func() {
		for _, ch := range busy {
			select {
			case <-ch:
			case <-s.ctx.Done():
			}
		}
		f()
	})
	return true
}
