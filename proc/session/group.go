package session

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/intercept"
	"github.com/onehost/onehost/sys"
)

// witness tells whether a signal was sent to the whole process group of the run. A ghost cannot: to it a signal is a signal. The
// keeper's first child is in that group too, blocks every signal and counts what it gets, and nobody sends to it alone.
type witness struct {
	pid    int
	counts *sys.SignalCounts
}

// settleTimeout bounds the wait for the witness to count what it has got, which takes it microseconds once it has a CPU.
const settleTimeout = 2 * time.Second

// count says how often the group got the signal, with one that a ghost got just now.
func (w *witness) count(sig int) uint32 {
	sys.AwaitGroupKills()
	for end := time.Now().Add(settleTimeout); ; time.Sleep(100 * time.Microsecond) {
		state, pending := signalState(w.pid, sig)
		late := time.Now().After(end)
		switch {
		case pending && (state == 'T' || late): // counted when it is continued
			return w.counts.Of(sig) + 1
		case state != 'R' && !pending || late: // it sleeps only when it has counted all, or is frozen
			return w.counts.Of(sig)
		}
	}
}

// groupSignals tells of the signals that run gets which went to all of its group.
type groupSignals struct {
	witness interface{ count(sig int) uint32 }
	of      map[syscall.Signal]*toAll
}

// toAll is what is known of one signal.
type toAll struct {
	counted uint32    // by the witness, when run got one last
	owed    uint32    // of them run has not got its own yet, if two did not become one on the way
	at      time.Time // when that was
}

// owedTime is how long after another one of the group run may still get its own.
const owedTime = time.Second

// took reports whether the signal that run has just got went to its whole group. To the witness the kernel sent it in the same stroke.
func (g *groupSignals) took(sig syscall.Signal) bool {
	t := g.of[sig]
	if t == nil {
		t = &toAll{}
		g.of[sig] = t
	}
	if time.Since(t.at) > owedTime {
		t.owed = 0
	}
	// It may have been stopped when it had taken a signal and not yet counted it: then it says one less than before.
	if n := g.witness.count(int(sig)); int32(n-t.counted) > 0 {
		t.owed += n - t.counted
		t.counted = n
	}
	t.at = time.Now()
	if t.owed == 0 {
		return false
	}
	t.owed--
	return true
}

// signalState reads the state of a process and whether the signal waits for it; 0 if it is gone.
func signalState(pid, sig int) (state byte, pending bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(b) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch string(key) {
		case "State":
			if len(value) > 0 {
				state = value[0]
			}
		case "SigPnd", "ShdPnd":
			set, err := strconv.ParseUint(string(value), 16, 64)
			pending = pending || err == nil && set&(1<<(sig-1)) != 0
		}
	}
	return state, pending
}

// expected is a signal that a process of the session is about to send to a process group.
type expected struct {
	from int // who sends it
	at   time.Time
}

// expectTime is how long an announced signal may take to arrive: one that does not was refused by the kernel.
const expectTime = time.Second

// Signal implements intercept.Handler: ghosts that are about to be stopped tell their jobs, and those that are about to get a signal
// as part of a group take note of it.
func (s *supervisor) Signal(n *intercept.Notification, pid, sig int) {
	if !s.whenTaken(n, pid, func() { s.signal(n, pid, sig) }) {
		s.signal(n, pid, sig)
	}
}

func (s *supervisor) signal(n *intercept.Notification, pid, sig int) {
	s.mu.Lock()
	var all []*remoteJob
	if s.ghosts[n.TID] == nil { // a ghost that stops itself does what its job did
		for _, j := range s.ghosts {
			all = append(all, j)
		}
	}
	s.mu.Unlock()
	var stopping []*remoteJob
	if len(all) > 0 && sig > 0 && sig <= 64 {
		stopping = s.announce(n.TID, pid, sig, all)
	}
	answer := n.Continue
	if pid == -1 && s.daemon != nil { // also to what jobs have forked elsewhere, of which no ghost knows
		answer = func() { s.ask(n) }
	} else if len(stopping) == 0 {
		n.Continue()
		return
	}
	s.wg.Go(func() {
		s.halt(stopping)
		answer()
	})
}

// halt stops the jobs of ghosts that a SIGSTOP is for, and waits until they have: who has stopped a process may rely on it.
func (s *supervisor) halt(all []*remoteJob) {
	end := time.Now().Add(stopTimeout) // for all of them together
	var stopping []<-chan struct{}
	for _, r := range all {
		for r.unsettled() && time.Now().Before(end) && s.ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if halted := r.stopNative(); halted != nil {
			stopping = append(stopping, halted)
		}
	}
	late := time.NewTimer(time.Until(end))
	defer late.Stop()
	for _, halted := range stopping {
		select {
		case <-halted:
		case <-late.C: // its host has other worries
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// announce tells the ghosts that a signal is for, and gives those that it stops.
func (s *supervisor) announce(tid, pid, sig int, all []*remoteJob) (stopping []*remoteJob) {
	group := -pid
	if pid == 0 {
		if st, err := sys.ReadProcStat(tid); err == nil {
			group = st.Pgid
		}
	}
	from, err := leader(tid)
	if err != nil {
		return nil
	}
	for _, j := range all {
		switch hit := pid == j.pid || pid == -1 || (pid <= 0 && inGroup(j.pid, group)); {
		case !hit:
		case sig == int(unix.SIGSTOP):
			stopping = append(stopping, j)
		case pid <= 0:
			j.mu.Lock()
			if j.expect == nil {
				j.expect = map[int]expected{}
			}
			j.expect[sig] = expected{from, time.Now()}
			j.mu.Unlock()
		}
	}
	return stopping
}

func inGroup(pid, group int) bool {
	st, err := sys.ReadProcStat(pid)
	return err == nil && st.Pgid == group
}

// toGroup reports whether a signal that the ghost got went to its whole group, so that it must reach all of the job's. What the
// kernel sent, the daemon knows itself. Only forward calls it.
func (r *remoteJob) toGroup(sig int, code int32, from int) bool {
	if sig < 1 || sig > 64 || code < 0 { // sigqueue and tgkill cannot send to a group
		return false
	}
	r.mu.Lock()
	e, announced := r.expect[sig]
	delete(r.expect, sig)
	r.mu.Unlock()
	announced = announced && e.from == from && time.Since(e.at) < expectTime
	w := r.s.witness
	st, err := sys.ReadProcStat(r.pid)
	if err != nil || !inGroup(w.pid, st.Pgid) {
		return announced
	}
	was := r.counted[sig]
	r.counted[sig] = w.count(sig)
	return announced || r.counted[sig] != was
}
