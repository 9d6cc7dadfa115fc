package session

import (
	"context"
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
	"github.com/onehost/onehost/sys"
)

// job is one candidate.
type job struct {
	id       uint64
	pid      int
	ppid     int // as it was before the daemon looked; 0: not known
	command  string
	began    time.Time
	work     place.Work
	cpu      time.Duration // that it used elsewhere; 0: not known
	again    bool          // it may run a second time if its host is lost
	avoid    []names.Host  // hosts that failed it
	rounds   int           // how often it began again with all of them
	host     names.Host
	hostName names.HostName
	serves   int // which of the session's daemons was asked last
}

// remoteJob is a job that is elsewhere, with its ghost.
type remoteJob struct {
	*job
	s         *supervisor
	ghost     *ghost.Ghost
	attaching context.Context // done when the ghost has its socket
	attached  context.CancelFunc
	gone      chan struct{} // closed when the ghost's socket ended
	back      chan struct{} // closed when it execs again here
	exe       string        // the image's file
	mask      uint64        // signals it blocked
	fds       []ghost.Kept  // its descriptors, kept while it may have to come back, or be taken up by another daemon

	parent  int        // of the ghost, as the job knows it; guarded by mu
	counted [65]uint32 // by signal: how often its group had got it when the ghost got one last; forward's alone

	mu      sync.Mutex // guards what follows
	conn    *control.Conn
	begun   bool               // the daemon knows that there is a ghost
	orders  []control.JobOrder // the last that were sent, for the next daemon if this one ends
	ordered uint64             // the number of the last
	stopped bool               // the ghost is stopped, or on its way
	woken   bool               // we sent the ghost a SIGCONT because the job was continued there
	home    bool               // it comes back: its next exec is let through
	halted  chan struct{}      // closed when the job says that it has stopped, or ends; nil if nobody waits for that
	expect  map[int]expected   // by signal
	conts   uint32             // how many SIGCONTs the ghost got
	resumed uint64             // the last order by which the job got a SIGCONT
	stopOf  uint64             // and a SIGSTOP that its ghost cannot see
	ended   bool               // nobody follows it any more
	killing *time.Timer        // hangs up, if a job does not die with its ghost
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
	s.wg.Go(r.awaitAttach)
	r.follow()
}

// awaitAttach watches for the death of a ghost that has no socket yet. From then on its death is the end of that.
func (r *remoteJob) awaitAttach() {
	if r.attaching.Err() == nil {
		if pidfd, err := openPidfd(r.pid); err == nil {
			_ = awaitExit(r.attaching, pidfd)
			pidfd.Close()
		}
	}
	r.ghost.Died()
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
	if err == nil && jobserver(held.Pid, fds) {
		err = stays(place.ReasonSpreader)
	}
	var conn *control.Conn
	parent := j.ppid
	if parent == 0 {
		if st, err := sys.ReadProcStat(held.Pid); err == nil {
			parent = st.Ppid
		}
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
			held.Release() // first: until then its parent's wait does not see its end
			s.daemon.release(j.id, 0)
			return nil
		}
		s.local(j, err.Error(), true)
		held.Release()
		return nil
	}
	return r
}

// stays is a reason as an error.
type stays string

func (r stays) Error() string { return string(r) }

// capture asks the daemon to read the held image; its error is the reason for staying.
func (s *supervisor) capture(j *job, fds []ghost.FD) (*control.Conn, error) {
	j.serves = s.daemon.session()
	req := control.ExecRequest{Session: s.daemon.reply.Session, Job: j.id, Pid: j.pid, Host: j.host}
	files := make([]*os.File, len(fds))
	req.FDs = make([]control.FD, len(fds))
	for i, fd := range fds {
		req.FDs[i].N, files[i] = fd.N, fd.File
	}
	conn, ev, err := s.offer(j, req, files)
	runtime.KeepAlive(fds)
	if err != nil {
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

// offer sends the job by a connection that had one before, if there is one, and gives the answer. The daemon may close such a one at any time: then the
// job is sent again, by another, but only if it is certain that it was not received.
func (s *supervisor) offer(j *job, req control.ExecRequest, files []*os.File) (*control.Conn, control.JobEvent, error) {
	for {
		var ev control.JobEvent
		conn, kept, err := s.idle.take(s.ctx, j.serves)
		if err != nil {
			return nil, ev, stays(reasonNoDaemon)
		}
		s.daemon.uses(j.host)
		_ = conn.SetDeadline(time.Now().Add(captureTimeout))
		if err = conn.Open(control.OpExec, req, files...); err == nil {
			if _, err = conn.Receive(&ev); err == nil {
				return conn, ev, nil
			}
			kept = kept && control.Unread(err)
		}
		conn.Close()
		if f, ok := errors.AsType[*control.Failure](err); ok {
			return nil, ev, f
		}
		if !kept {
			return nil, ev, stays(reasonNoDaemon)
		}
	}
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
	r.attaching, r.attached = context.WithCancel(s.ctx)
	for sig := 1; sig < len(r.counted); sig++ {
		r.counted[sig] = s.witness.counts.Of(sig)
	}
	if r.fds, err = ghost.Keep(&s.open, fds); err != nil {
		r.attached()
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
		r.attached()
		g.Close()
		ghost.DropAll(r.fds)
		return nil, fmt.Errorf("no ghost: %w", err)
	}
	ghost.CloseAll(fds)
	r.stands()
	r.reparented() // perhaps meanwhile
	return r, nil
}

// forward passes on what the ghost gets, until it is gone.
func (r *remoteJob) forward() {
	defer r.lost()
	for {
		sig, err := r.ghost.Receive()
		if err != nil {
			return
		}
		if sig.Number == int(unix.SIGCHLD) {
			continue // about a process at home
		}
		if sig.Number == int(unix.SIGCONT) && r.wokenByUs(int(sig.Pid)) {
			continue // the job goes on already
		}
		if stops(sig.Number) {
			r.wokenUnseen()
		}
		group := r.toGroup(sig.Number, sig.Code, int(sig.Pid))
		o := control.JobOrder{Signal: sig.Number, Code: sig.Code, Value: sig.Value, Sender: int(sig.Pid), UID: sig.UID, Group: group}
		if sig.Number == int(unix.SIGCONT) {
			r.goOn(o)
		} else {
			r.order(o)
		}
	}
}

// wokenByUs reports whether a SIGCONT that the ghost got is that of cont.
func (r *remoteJob) wokenByUs(from int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conts++
	woken := r.woken
	r.woken = false
	return woken && from == r.s.self
}

// goOn passes on a SIGCONT that the ghost got. If it has been stopped again since, so has its job or, as the ghost, it has not been continued yet.
func (r *remoteJob) goOn(o control.JobOrder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped && isStopped(r.pid) {
		return
	}
	r.stopped = false
	r.orderLocked(o)
}

// lost says that the ghost is gone. One that was killed takes its job along.
func (r *remoteJob) lost() {
	close(r.gone)
	r.order(control.JobOrder{Signal: int(unix.SIGKILL)})
	r.mu.Lock()
	if !r.ended {
		r.killing = time.AfterFunc(killTimeout, r.hangUp) // the closed connection says so to the daemon
	}
	r.mu.Unlock()
}

// stops reports whether a signal is one of those by which job control stops.
func stops(sig int) bool {
	return sig == int(unix.SIGTSTP) || sig == int(unix.SIGTTIN) || sig == int(unix.SIGTTOU)
}

// sureTime is how long a ghost that was told to stop may be seen to run.
const sureTime = 20 * time.Millisecond

// wokenUnseen is for when the ghost got a signal of job control while it should be stopped: it continues the job if the ghost was continued before,
// which nobody saw because the kernel drops a pending SIGCONT for a stop. It runs then; otherwise it is stopped within microseconds.
func (r *remoteJob) wokenUnseen() {
	if !r.unsettled() {
		return
	}
	for end := time.Now().Add(sureTime); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if st, err := sys.ReadProcStat(r.pid); err != nil || st.State == 'T' {
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped, r.woken = false, false
	r.orderLocked(control.JobOrder{Signal: int(unix.SIGCONT)})
}

// unsettled reports whether the ghost runs although it should be stopped: it is about to stop, or its SIGCONT has not been seen yet.
func (r *remoteJob) unsettled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopped && !isStopped(r.pid)
}

// stands says that there is a ghost now: the job may begin. What was ordered before follows.
func (r *remoteJob) stands() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = true
	if r.conn == nil {
		return
	}
	_ = r.conn.Send(control.JobOrder{Ghost: true}) // a connection that is gone is seen where events are read
	for _, o := range r.orders {
		_ = r.conn.Send(o)
	}
}

func (r *remoteJob) order(o control.JobOrder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.orderLocked(o)
}

func (r *remoteJob) orderLocked(o control.JobOrder) {
	r.ordered++
	o.N = r.ordered
	if o.Signal == int(unix.SIGCONT) {
		r.resumed = o.N
	}
	if r.orders = append(r.orders, o); len(r.orders) > keptOrders {
		r.orders = slices.Delete(r.orders, 0, 1)
	}
	if r.conn != nil && r.begun {
		_ = r.conn.Send(o) // a connection that is gone is seen where events are read
	}
}

// keptOrders is how many orders may be under way when a daemon ends.
const keptOrders = 256

// reparented tells the job if its ghost has another parent than it knows of.
func (r *remoteJob) reparented() {
	st, err := sys.ReadProcStat(r.pid)
	if err != nil {
		return
	}
	r.mu.Lock()
	was := r.parent
	r.parent = st.Ppid
	r.mu.Unlock()
	if was != st.Ppid {
		r.order(control.JobOrder{Parent: st.Ppid})
	}
}

// stopNative says that the ghost is being stopped by a SIGSTOP it cannot see. The channel is closed when the job has stopped; it is nil
// if it should be stopped already.
func (r *remoteJob) stopNative() (halted <-chan struct{}) {
	r.mu.Lock()
	was := r.stopped
	r.stopped = true
	if !was && r.halted == nil {
		r.halted = make(chan struct{})
	}
	if !was {
		r.orderLocked(control.JobOrder{Signal: int(unix.SIGSTOP)})
		r.stopOf = r.ordered
	}
	halted = r.halted
	r.mu.Unlock()
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
