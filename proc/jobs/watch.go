package jobs

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/jobs/jobspb"
	"github.com/onehost/onehost/sys"
)

// watchEvery is how often a run that has jobs elsewhere is looked at. It passes on itself what stops its ghosts, unless it is
// stopped with them, as by a shell's "kill -STOP %1": then nobody but the daemon can.
const watchEvery = 250 * time.Millisecond

// watched is a run with its jobs that are elsewhere.
type watched struct {
	jobs map[*running]bool // guarded by Home.mu
	end  chan struct{}
}

// running is one job that is elsewhere now.
type running struct {
	pid  int // of its ghost
	host names.Host
	send func(*jobspb.Order) error

	mu      sync.Mutex // guards what follows
	stopped bool       // its process is, as the helper says
	held    bool       // we had it stopped
}

// watch looks after a job of the run until done is called.
func (h *Home) watch(run int, r *running) (done func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.runs[run]
	if w == nil {
		w = &watched{jobs: map[*running]bool{}, end: make(chan struct{})}
		h.runs[run] = w
		go h.look(run, w)
	}
	w.jobs[r] = true
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if delete(w.jobs, r); len(w.jobs) == 0 {
			delete(h.runs, run)
			close(w.end)
		}
	}
}

func (h *Home) look(run int, w *watched) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-w.end:
			return
		case <-t.C:
		}
		if !isStopped(run) {
			continue
		}
		h.mu.Lock()
		jobs := make([]*running, 0, len(w.jobs))
		for r := range w.jobs {
			jobs = append(jobs, r)
		}
		h.mu.Unlock()
		for _, r := range jobs {
			r.follow(run)
		}
	}
}

// follow stops or continues the job as its ghost was while the run is stopped.
func (r *running) follow(run int) {
	ghost := isStopped(r.pid)
	if !isStopped(run) {
		return // it hears of it itself
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	sig := unix.SIGSTOP
	switch {
	case ghost && !r.stopped && !r.held:
		r.held = true
	case !ghost && r.held:
		r.held, sig = false, unix.SIGCONT
	default:
		return
	}
	_ = r.send(&jobspb.Order{Signal: int32(sig), Group: true}) // a job that is gone needs none
}

// heard takes note of the job's stops and continues, and reports whether the run is to hear of this one. A stop that we had ordered
// would reach it only when it has been continued, and its ghosts with it: it would stop them again.
func (r *running) heard(kind jobspb.Event_Kind) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch kind {
	case jobspb.Event_STOPPED:
		r.stopped = true
		return !r.held
	case jobspb.Event_CONTINUED:
		r.stopped, r.held = false, false
	}
	return true
}

// isStopped reports whether a process is stopped by a signal.
func isStopped(pid int) bool {
	st, err := sys.ReadProcStat(pid)
	return err == nil && st.State == 'T'
}
