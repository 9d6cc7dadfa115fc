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
	"github.com/onehost/onehost/sys"
)

// follow reads the job's events to its end, beginning it again where that is allowed.
func (r *remoteJob) follow() {
	defer r.end()
	defer context.AfterFunc(r.s.ctx, r.hangUp)() // a session that ends takes its jobs along
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
			r.stop(ev)
		case control.JobContinued:
			r.cont(ev)
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

// stop stops the ghost as its job was stopped, unless it is already, or the job has been sent a SIGCONT since.
func (r *remoteJob) stop(ev control.JobEvent) {
	r.mu.Lock()
	if ev.Done < r.resumed {
		r.mu.Unlock()
		return
	}
	was := r.stopped
	r.stopped = true
	conts := r.conts
	r.mu.Unlock()
	r.haltedNow()
	if st, err := sys.ReadProcStat(r.pid); was || err != nil || st.State == 'T' {
		return
	}
	switch ev.Signal {
	case int(unix.SIGSTOP), int(unix.SIGTSTP), int(unix.SIGTTIN), int(unix.SIGTTOU):
	default:
		ev.Signal = int(unix.SIGSTOP)
	}
	_ = r.ghost.Stop(ev.Signal, conts) // gone: seen by forward
}

// haltTime bounds the wait for a ghost to do as it was told: to stop.
const haltTime = time.Second

// cont wakes the ghost if somebody there continued its job, unless the job has been sent a SIGSTOP since.
func (r *remoteJob) cont(ev control.JobEvent) {
	for end := time.Now().Add(haltTime); time.Now().Before(end); time.Sleep(time.Millisecond) {
		r.mu.Lock()
		if !r.stopped || ev.Done < r.stopOf { // by now
			r.mu.Unlock()
			return
		}
		st, err := sys.ReadProcStat(r.pid)
		waked := err == nil && st.State == 'T'
		if waked {
			r.stopped, r.woken = false, true
			_ = unix.Kill(r.pid, unix.SIGCONT) // before another stop can be ordered, which it would undo
		}
		r.mu.Unlock()
		if waked || err != nil {
			return
		}
	}
}

// exit ends the ghost as the job ended.
func (r *remoteJob) exit(ev control.JobEvent) {
	r.pass(ev)
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

// endsTime is more than a ghost takes to end, unless it is stopped.
const endsTime = 2 * time.Millisecond

// finish makes the ghost end, and waits for it.
func (r *remoteJob) finish(st Status) {
	var err error
	if st.Signal != 0 {
		err = r.ghost.Die(int(st.Signal))
	} else {
		err = r.ghost.Exit(st.Code)
	}
	if err == nil {
		select {
		case <-r.gone:
			return
		case <-time.After(endsTime):
		}
		if isStopped(r.pid) {
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
	if !r.again && !last.Unbegun {
		r.fail(fmt.Sprintf("%s was lost (%s) while it ran: %s", r.hostName, last.Reason, r.command))
		return false
	}
	if last.Forgotten {
		return r.comeHome("fallback", false)
	}
	for {
		r.avoid = append(r.avoid, r.host)
		to, err := r.s.where(r.job)
		if err == nil && to.Refused && r.again && r.rounds < lostRounds { // each host lost it once: those that are back may try again
			r.rounds++
			r.avoid = nil
			to, err = r.s.where(r.job)
		}
		if err != nil || to.Host == 0 || slices.Contains(r.avoid, to.Host) {
			if !r.again && r.s.cfg.NoLocal {
				r.fail(fmt.Sprintf("%s refused it (%s), and no host is left for: %s", r.hostName, last.Reason, r.command))
				return false
			}
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
		r.resumed, r.stopOf = 0, 0 // to this process nothing has been sent
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
	if isStopped(r.pid) {
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

// pass leaves the connection of a job that has ended to the next one, if the daemon says that it takes one.
func (r *remoteJob) pass(last control.JobEvent) {
	r.mu.Lock()
	conn := r.conn
	r.conn = nil
	r.mu.Unlock()
	switch {
	case conn == nil:
	case last.Next && conn.Send(control.JobOrder{Over: true}) == nil:
		r.s.idle.put(conn, r.serves)
	default:
		conn.Close()
	}
}

// end forgets the job.
func (r *remoteJob) end() {
	r.haltedNow()
	r.hangUp()
	r.attached()
	r.ghost.Close()
	r.s.mu.Lock()
	if r.s.ghosts[r.pid] == r {
		r.s.forgetGhostLocked(r.pid)
	}
	r.s.mu.Unlock()
	r.mu.Lock()
	if r.ended = true; r.killing != nil {
		r.killing.Stop()
	}
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
		if st, err := sys.ReadProcStat(r.pid); err == nil && st.State != 'T' {
			return false
		}
	}
	return true
}
