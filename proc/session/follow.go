package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/proc/ghost"
)

// follow reads the job's events to its end, beginning it again where that is allowed.
func (r *remoteJob) follow() {
	defer r.end()
	// A ghost that was killed, or whose session ends, takes its job along: the closed connection says so to the daemon.
	watch := make(chan struct{})
	defer close(watch)
	go func() {
		select {
		case <-r.gone:
			r.order(control.JobOrder{Signal: int(unix.SIGKILL)})
			select {
			case <-watch:
			case <-time.After(killTimeout):
			}
		case <-r.s.ctx.Done():
		case <-watch:
			return
		}
		r.hangUp()
	}()
	for {
		last := r.events()
		if last.Kind == jobCut {
			ev, more := r.resume()
			if more {
				continue
			}
			last = ev
		}
		select {
		case <-r.gone: // nobody is left to end
			r.killed(last)
			return
		case <-r.s.ctx.Done():
			return
		default:
		}
		if last.Kind == control.JobExited {
			r.exit(last)
			return
		}
		if !r.retry(last) {
			return
		}
	}
}

// killTimeout bounds the wait for a job to die whose ghost was killed.
const killTimeout = 10 * time.Second

// jobCut is the event that a job's connection ended without a last event: the daemon did.
const jobCut = "cut"

// events handles events until the last one, which it returns: JobExited, jobCut, or JobLost however it came to that.
func (r *remoteJob) events() control.JobEvent {
	r.mu.Lock()
	conn := r.conn
	r.mu.Unlock()
	if conn == nil {
		return control.JobEvent{Kind: control.JobLost, Reason: reasonNoDaemon}
	}
	for {
		var ev control.JobEvent
		if _, err := conn.Receive(&ev); err != nil {
			if _, said := errors.AsType[*control.Failure](err); said {
				return control.JobEvent{Kind: control.JobLost, Reason: err.Error()}
			}
			return control.JobEvent{Kind: jobCut, Reason: "onehostd ended", Forgotten: true}
		}
		switch ev.Kind {
		case control.JobStopped:
			r.haltedNow()
			r.stop(ev.Signal)
		case control.JobContinued:
			r.cont()
		case control.JobRegrouped: // what the kernel refuses here it would have refused there
			if ev.Session {
				_ = r.ghost.Setsid()
			} else {
				_ = r.ghost.Setpgid(ev.Group)
			}
		case control.JobExited:
			return ev
		case control.JobLost, control.JobRefused:
			ev.Kind = control.JobLost
			return ev
		}
	}
}

// staleTime is how long a job that was stopped and sent a SIGCONT may take to say that it was continued.
const staleTime = 200 * time.Millisecond

// stop stops the ghost as its job was stopped, unless it is already. News of a stop may meet a SIGCONT under way: then the job says soon
// that it was continued, and a ghost that had been stopped meanwhile might stay so.
func (r *remoteJob) stop(signal int) {
	r.mu.Lock()
	if r.resumed {
		r.forgetLocked()
		r.late = time.AfterFunc(staleTime, func() {
			r.mu.Lock()
			still := r.late != nil
			r.late = nil
			if still {
				r.resumed = false
			}
			r.mu.Unlock()
			if still {
				r.stop(signal)
			}
		})
		r.mu.Unlock()
		return
	}
	was := r.stopped
	r.stopped = true
	r.mu.Unlock()
	if st, err := readStat(r.pid); was || err != nil || st.state == 'T' {
		return
	}
	switch signal {
	case int(unix.SIGSTOP), int(unix.SIGTSTP), int(unix.SIGTTIN), int(unix.SIGTTOU):
	default:
		signal = int(unix.SIGSTOP)
	}
	_ = r.ghost.Stop(signal) // gone: seen by forward
}

// forgetLocked drops a stop that was news of before a SIGCONT.
func (r *remoteJob) forgetLocked() {
	if r.late != nil {
		r.late.Stop()
		r.late = nil
	}
}

// cont wakes the ghost if somebody there continued its job.
func (r *remoteJob) cont() {
	r.mu.Lock()
	r.resumed = false
	r.forgetLocked()
	was := r.stopped && r.halted == nil // or it is news of before a SIGSTOP that is under way
	if r.halted == nil {
		r.stopped = false
	}
	r.mu.Unlock()
	if st, err := readStat(r.pid); was && err == nil && st.state == 'T' {
		r.mu.Lock()
		r.woken = true
		r.mu.Unlock()
		_ = unix.Kill(r.pid, unix.SIGCONT)
	}
}

// exit ends the ghost as the job ended.
func (r *remoteJob) exit(ev control.JobEvent) {
	r.hangUp()
	r.mu.Lock()
	fds := r.fds
	r.fds = nil
	r.mu.Unlock()
	ghost.DropAll(fds)   // before the end is told: readers of its pipes must see theirs
	if ev.Reason != "" { // onehost, not the command, has something to say of the end
		r.s.report.Say(ev.Reason + ": " + r.command)
	}
	status := Status{Code: ev.Code, Signal: unix.Signal(ev.Signal)}
	r.cpu = ev.User + ev.System
	r.s.report.JobDone(r.id, status.Shell(), r.cpu, time.Since(r.began))
	r.finish(status)
}

// killed reports the end of a job whose ghost was killed.
func (r *remoteJob) killed(last control.JobEvent) {
	r.cpu = last.User + last.System
	r.s.report.JobDone(r.id, Status{Signal: unix.SIGKILL}.Shell(), r.cpu, time.Since(r.began))
}

// finish makes the ghost end, and waits for it.
func (r *remoteJob) finish(st Status) {
	var err error
	if st.Signal != 0 {
		err = r.ghost.Die(int(st.Signal))
	} else {
		err = r.ghost.Exit(st.Code)
	}
	if err == nil {
		if st, err := readStat(r.pid); err == nil && st.state == 'T' {
			_ = unix.Kill(r.pid, unix.SIGCONT) // it must run to end
		}
		select {
		case <-r.gone:
			return
		case <-time.After(killTimeout):
		}
	}
	r.ghost.Close() // and the stub dies
}

// lostRounds is how often a job that may not run at home goes through all hosts again when each has lost it.
const lostRounds = 2

// retry begins the job again: on another host, or here. It reports whether there are more events to come.
func (r *remoteJob) retry(last control.JobEvent) bool {
	r.hangUp()
	if !r.again {
		r.fail(fmt.Sprintf("%s was lost (%s) while it ran: %s", r.hostName, last.Reason, r.command))
		return false
	}
	if last.Forgotten {
		return r.comeHome("fallback", false)
	}
	for rounds := 0; ; {
		r.avoid = append(r.avoid, r.host)
		to, err := r.s.where(r.job)
		if err == nil && to.Refused && rounds < lostRounds { // each host lost it once: those that are back may try again
			rounds++
			r.avoid = nil
			to, err = r.s.where(r.job)
		}
		if err != nil || to.Host == 0 || slices.Contains(r.avoid, to.Host) {
			held := err == nil && to.Host == 0
			why := to.Reason
			if why == "" {
				why = "fallback"
			}
			return r.comeHome(why, held)
		}
		r.host, r.hostName = to.Host, to.Name
		r.serves = r.s.daemon.session()
		conn, err := r.s.restart(r.job)
		if err != nil {
			continue
		}
		r.mu.Lock()
		r.conn = conn
		r.mu.Unlock()
		r.s.report.JobRemote(r.id, r.command, r.hostName)
		return true
	}
}

// resume has the job taken up by the daemon that has been started again. It reports whether there are more events to come; if not, last says how
// the job was lost.
func (r *remoteJob) resume() (last control.JobEvent, more bool) {
	r.hangUp()
	for {
		if r.s.daemon.await(r.s.ctx, r.serves) != nil {
			return control.JobEvent{Kind: control.JobLost, Reason: "onehostd ended", Forgotten: true}, false
		}
		r.serves = r.s.daemon.session()
		conn, ev, err := r.takeUp()
		switch {
		case err != nil: // this daemon has ended too
			continue
		case ev.Kind == control.JobResumed:
			return ev, true
		}
		conn.Close()
		return ev, false
	}
}

// takeUp asks for the job, and sends again what was not carried out. An error says that there was no answer.
func (r *remoteJob) takeUp() (*control.Conn, control.JobEvent, error) {
	ctx, cancel := context.WithTimeout(r.s.ctx, captureTimeout)
	defer cancel()
	var ev control.JobEvent
	conn, err := control.Dial(ctx, r.s.cfg.ControlPath)
	if err != nil {
		return nil, ev, err
	}
	r.mu.Lock()
	kept := r.fds
	r.mu.Unlock()
	req := control.ExecRequest{Session: r.s.daemon.reply.Session, Job: r.id, Pid: r.pid, Host: r.host, Resume: true}
	files, err := ghost.Files(kept)
	if err != nil {
		conn.Close()
		return nil, ev, err
	}
	defer ghost.CloseAll(files)
	all := make([]*os.File, len(files))
	for i, f := range files {
		req.FDs, all[i] = append(req.FDs, control.FD{N: f.N}), f.File
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if err = conn.Open(control.OpExec, req, all...); err == nil {
		_, err = conn.Receive(&ev)
	}
	if f, said := errors.AsType[*control.Failure](err); said {
		return conn, control.JobEvent{Kind: control.JobLost, Reason: f.Error(), Forgotten: true}, nil
	}
	if err != nil {
		conn.Close()
		return nil, ev, err
	}
	if ev.Kind == control.JobResumed {
		r.mu.Lock()
		r.conn = conn
		for _, o := range r.orders {
			if o.N > ev.Done {
				_ = conn.Send(o)
			}
		}
		r.mu.Unlock()
	}
	return conn, ev, nil
}

// restart asks for the kept image of the job to be run on its new host.
func (s *supervisor) restart(j *job) (*control.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, captureTimeout)
	defer cancel()
	conn, err := control.Dial(ctx, s.cfg.ControlPath)
	if err != nil {
		return nil, err
	}
	err = conn.Open(control.OpExec, control.ExecRequest{Session: s.daemon.reply.Session, Job: j.id, Pid: j.pid, Host: j.host, Again: true})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// comeHome makes the ghost its command again, here.
func (r *remoteJob) comeHome(reason string, slot bool) bool {
	if r.s.cfg.NoLocal {
		r.fail(fmt.Sprintf("no host is left for: %s", r.command))
		return false
	}
	r.mu.Lock()
	r.home = true
	r.mu.Unlock()
	if !slot && r.s.daemon != nil {
		r.s.daemon.release(r.id, r.cpu) // and the daemon lets go of the descriptors it kept
	}
	r.s.local(r.job, reason, slot)
	if err := r.ghost.Reexec(r.exe, r.mask); err != nil {
		r.ghost.Close()
		return false
	}
	if st, err := readStat(r.pid); err == nil && st.state == 'T' {
		_ = unix.Kill(r.pid, unix.SIGCONT)
	}
	// The end of its socket says nothing now: the first descriptor put back may take the socket's number.
	select {
	case <-r.back:
	case <-time.After(killTimeout): // it died on the way, or is stopped again
		r.ghost.Close()
	}
	return false
}

// backHome is told of the exec of a ghost that comes home.
func (s *supervisor) backHome(r *remoteJob) {
	s.mu.Lock()
	first := s.ghosts[r.pid] == r
	if first {
		s.forgetGhostLocked(r.pid)
	}
	s.mu.Unlock()
	if first {
		close(r.back)
	}
}

// fail ends a job that cannot be begun again.
func (r *remoteJob) fail(line string) {
	r.s.report.Say(line)
	r.s.report.JobDone(r.id, 1, 0, time.Since(r.began))
	r.finish(Status{Code: 1})
}

// hangUp closes the job's connection.
func (r *remoteJob) hangUp() {
	r.mu.Lock()
	conn := r.conn
	r.conn = nil
	r.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
}

// end forgets the job.
func (r *remoteJob) end() {
	r.haltedNow()
	r.hangUp()
	r.ghost.Close()
	r.s.mu.Lock()
	if r.s.ghosts[r.pid] == r {
		r.s.forgetGhostLocked(r.pid)
	}
	r.s.mu.Unlock()
	r.mu.Lock()
	r.forgetLocked()
	fds, home := r.fds, r.home
	r.fds = nil
	r.mu.Unlock()
	ghost.DropAll(fds)
	if !home && r.s.daemon != nil {
		r.s.daemon.release(r.id, r.cpu)
	}
}

// stoppedAll reports whether every ghost is stopped.
func (s *supervisor) stoppedAll() bool {
	for _, r := range s.allGhosts() {
		if st, err := readStat(r.pid); err == nil && st.state != 'T' {
			return false
		}
	}
	return true
}
