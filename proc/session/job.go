package session

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/intercept"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/place"
	"github.com/onehost/onehost/proc/ghost"
)

// job is one candidate.
type job struct {
	id       uint64
	pid      int
	command  string
	began    time.Time
	work     place.Work
	cpu      time.Duration // that it used elsewhere; 0: not known
	again    bool          // it may run a second time if its host is lost
	avoid    []names.Host  // hosts that failed it
	host     names.Host
	hostName names.HostName
	serves   int // which of the session's daemons was asked last
}

// remoteJob is a job that is elsewhere, with its ghost.
type remoteJob struct {
	*job
	s     *supervisor
	ghost *ghost.Ghost
	gone  chan struct{} // closed when the ghost's socket ended
	back  chan struct{} // closed when it execs again here
	exe   string        // the image's file
	mask  uint64        // signals it blocked
	fds   []ghost.Kept  // its descriptors, kept while it may have to come back, or be taken up by another daemon

	parent  int        // of the ghost, as the job knows it; guarded by mu
	counted [65]uint32 // by signal: how often its group had got it when the ghost got one last; forward's alone

	mu      sync.Mutex // guards what follows
	conn    *control.Conn
	orders  []control.JobOrder // the last that were sent, for the next daemon if this one ends
	ordered uint64             // the number of the last
	stopped bool               // the ghost is stopped, or on its way
	woken   bool               // we sent the ghost a SIGCONT because the job was continued there
	home    bool               // it comes back: its next exec is let through
	halted  chan struct{}      // closed when the job says that it has stopped, or ends; nil if nobody waits for that
	expect  map[int]expected   // by signal
	resumed bool               // a SIGCONT went to the job, and it has not said that it was continued
	late    *time.Timer        // of a stop that may be one of before that
}

// captureTimeout bounds the daemon's reading of an image.
const captureTimeout = 30 * time.Second

// goes sends the job to its host, and follows it to its end. n is answered in any case.
func (s *supervisor) goes(n *intercept.Notification, j *job) {
	var r *remoteJob
	ghost.Locked(func() { r = s.take(n, j) })
	if r == nil {
		return
	}
	s.report.JobRemote(j.id, j.command, j.hostName)
	s.wg.Go(r.forward)
	if pidfd, err := openPidfd(j.pid); err != nil {
		r.ghost.Died()
	} else {
		s.wg.Go(func() {
			_ = awaitExit(s.ctx, pidfd)
			pidfd.Close()
			r.ghost.Died()
		})
	}
	r.follow()
}

// take turns the caller into a ghost. It runs on a locked thread. nil means that the process went on here, or died.
func (s *supervisor) take(n *intercept.Notification, j *job) *remoteJob {
	held, err := ghost.Takeover(n, j.pid)
	var before *ghost.NotSeized
	switch {
	case errors.As(err, &before):
		s.local(j, reasonTraced, true)
		n.Continue()
		return nil
	case err != nil:
		s.daemon.release(j.id, 0)
		return nil
	}
	j.pid = held.Pid
	defer s.taking(j.pid)()
	fds, err := held.Descriptors()
	if err == nil && jobserver(held.Pid, numbers(fds)) {
		err = stays(place.ReasonSpreader)
	}
	var conn *control.Conn
	parent := 0
	if st, err := readStat(held.Pid); err == nil {
		parent = st.ppid // before the daemon looks
	}
	if err == nil {
		conn, err = s.capture(j, fds)
	}
	if err != nil {
		ghost.CloseAll(fds)
		s.local(j, err.Error(), true)
		held.Release()
		return nil
	}
	r, err := s.convert(held, j, fds, conn, parent)
	if err != nil {
		conn.Close()
		ghost.CloseAll(fds)
		if errors.Is(err, unix.ESRCH) { // of a held process, ptrace says so when it was killed
			s.killedAway(j)
		} else {
			s.local(j, err.Error(), true)
		}
		held.Release()
		return nil
	}
	return r
}

// killedAway reports a job whose process was killed when it had begun elsewhere and had no ghost yet: it ended with its connection.
func (s *supervisor) killedAway(j *job) {
	s.daemon.release(j.id, 0)
	s.report.JobRemote(j.id, j.command, j.hostName)
	s.report.JobDone(j.id, Status{Signal: unix.SIGKILL}.Shell(), 0, time.Since(j.began))
}

// stays is a reason as an error.
type stays string

func (r stays) Error() string { return string(r) }

func numbers(fds []ghost.FD) map[int]bool {
	m := make(map[int]bool, len(fds))
	for _, fd := range fds {
		m[fd.N] = true
	}
	return m
}

// capture asks the daemon to read the held image; its error is the reason for staying.
func (s *supervisor) capture(j *job, fds []ghost.FD) (*control.Conn, error) {
	j.serves = s.daemon.session()
	conn, err := control.Dial(s.ctx, s.cfg.ControlPath)
	if err != nil {
		return nil, stays(reasonNoDaemon)
	}
	s.daemon.uses(j.host)
	req := control.ExecRequest{Session: s.daemon.reply.Session, Job: j.id, Pid: j.pid, Host: j.host}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		req.FDs = append(req.FDs, control.FD{N: fd.N})
		files[i] = fd.File
	}
	_ = conn.SetDeadline(time.Now().Add(captureTimeout))
	ev, err := exchange(conn, req, files)
	runtime.KeepAlive(fds)
	if err != nil {
		conn.Close()
		return nil, err
	}
	if ev.Kind != control.JobCaptured {
		conn.Close()
		if ev.Reason == "" {
			ev.Reason = "refused"
		}
		return nil, stays(ev.Reason)
	}
	_ = conn.SetDeadline(time.Time{})
	return conn, nil
}

func exchange(conn *control.Conn, req control.ExecRequest, files []*os.File) (control.JobEvent, error) {
	var ev control.JobEvent
	if err := conn.Open(control.OpExec, req, files...); err != nil {
		return ev, stays("no daemon")
	}
	if _, err := conn.Receive(&ev); err != nil {
		if f, ok := errors.AsType[*control.Failure](err); ok {
			return ev, f
		}
		return ev, stays("no daemon")
	}
	return ev, nil
}

// convert makes the ghost; on an error the process is still held.
func (s *supervisor) convert(held *ghost.Held, j *job, fds []ghost.FD, conn *control.Conn, parent int) (*remoteJob, error) {
	exe, err := os.Readlink("/proc/" + strconv.Itoa(held.Pid) + "/exe")
	if err != nil {
		exe = "/proc/self/exe"
	}
	g, err := ghost.New(held.Pid)
	if err != nil {
		return nil, err
	}
	r := &remoteJob{
		job: j, s: s, ghost: g, gone: make(chan struct{}), back: make(chan struct{}), exe: exe, mask: held.Mask, conn: conn, parent: parent,
	}
	for sig := 1; sig < len(r.counted); sig++ {
		r.counted[sig] = s.witness.counts.Of(sig)
	}
	if r.fds, err = ghost.Keep(&s.open, fds); err != nil {
		g.Close()
		return nil, err
	}
	s.mu.Lock()
	s.ghosts[held.Pid] = r
	s.gate.Ghost(held.Pid, true)
	s.mu.Unlock()
	if err := held.Convert(); err != nil {
		s.mu.Lock()
		s.forgetGhostLocked(held.Pid)
		s.mu.Unlock()
		g.Close()
		ghost.DropAll(r.fds)
		return nil, fmt.Errorf("no ghost: %w", err)
	}
	ghost.CloseAll(fds)
	r.reparented() // perhaps meanwhile
	return r, nil
}

// forward passes on what the ghost gets, until it is gone.
func (r *remoteJob) forward() {
	defer close(r.gone)
	for {
		sig, err := r.ghost.Receive()
		if err != nil {
			return
		}
		if sig.Number == int(unix.SIGCHLD) {
			continue // about a process at home
		}
		if sig.Number == int(unix.SIGCONT) {
			r.mu.Lock()
			woken := r.woken
			r.stopped, r.woken = false, false
			if !woken || int(sig.Pid) != r.s.self {
				r.resumed = true
				r.forgetLocked()
			}
			r.mu.Unlock()
			if woken && int(sig.Pid) == r.s.self {
				continue // the job goes on already
			}
		}
		if stops(sig.Number) && r.wokenUnseen() {
			r.order(control.JobOrder{Signal: int(unix.SIGCONT)})
		}
		group := r.toGroup(sig.Number, sig.Code, int(sig.Pid))
		r.order(control.JobOrder{Signal: sig.Number, Code: sig.Code, Value: sig.Value, Group: group})
	}
}

// stops reports whether a signal is one of those by which job control stops.
func stops(sig int) bool {
	return sig == int(unix.SIGTSTP) || sig == int(unix.SIGTTIN) || sig == int(unix.SIGTTOU)
}

// sureTime is how long a ghost that was told to stop may be seen to run.
const sureTime = 20 * time.Millisecond

// wokenUnseen is asked when the ghost got a signal of job control while it should be stopped: it reports whether it was continued before,
// which nobody saw because the kernel drops a pending SIGCONT for a stop. It runs then; otherwise it is stopped within microseconds.
func (r *remoteJob) wokenUnseen() bool {
	r.mu.Lock()
	should := r.stopped
	r.mu.Unlock()
	if !should {
		return false
	}
	for end := time.Now().Add(sureTime); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if st, err := readStat(r.pid); err != nil || st.state == 'T' {
			return false
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped, r.woken, r.resumed = false, false, true
	r.forgetLocked()
	return true
}

func (r *remoteJob) order(o control.JobOrder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ordered++
	o.N = r.ordered
	if r.orders = append(r.orders, o); len(r.orders) > keptOrders {
		r.orders = slices.Delete(r.orders, 0, 1)
	}
	if r.conn != nil {
		_ = r.conn.Send(o) // a connection that is gone is seen where events are read
	}
}

// keptOrders is how many orders may be under way when a daemon ends.
const keptOrders = 256

// reparented tells the job if its ghost has another parent than it knows of.
func (r *remoteJob) reparented() {
	st, err := readStat(r.pid)
	if err != nil {
		return
	}
	r.mu.Lock()
	was := r.parent
	r.parent = st.ppid
	r.mu.Unlock()
	if was != st.ppid {
		r.order(control.JobOrder{Parent: st.ppid})
	}
}

// stopNative says that the ghost is being stopped by a SIGSTOP it cannot see. The channel is closed when the job has stopped; it is nil
// if it should be stopped already.
func (r *remoteJob) stopNative() <-chan struct{} {
	r.mu.Lock()
	was := r.stopped
	r.stopped = true
	if !was && r.halted == nil {
		r.halted = make(chan struct{})
	}
	halted := r.halted
	r.mu.Unlock()
	if !was {
		r.order(control.JobOrder{Signal: int(unix.SIGSTOP)})
	}
	return halted
}

// haltedNow says that the job has stopped, or that nobody will hear of it.
func (r *remoteJob) haltedNow() {
	r.mu.Lock()
	if r.halted != nil {
		close(r.halted)
		r.halted = nil
	}
	r.mu.Unlock()
}
