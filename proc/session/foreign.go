package session

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/intercept"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/ghost"
)

// callTimeout bounds the daemon's answer about a call, which it bounds itself: more than that and the daemon stands still.
const callTimeout = 15 * time.Second

// Foreign implements intercept.Handler: the daemon carries out what concerns other hosts. Two pids that cannot be are the ghosts' own.
func (s *supervisor) Foreign(n *intercept.Notification, pid names.Pid) {
	switch pid {
	case ghost.Hello, ghost.Restore:
		j := s.ghost(n.TID)
		if j == nil {
			n.Fail(syscall.ESRCH)
			return
		}
		if pid == ghost.Hello {
			j.ghost.Attach(n)
			j.attached()
		} else {
			ghost.PutBack(n, j.fds)
		}
		return
	}
	switch {
	case (n.Nr == unix.SYS_WAIT4 || n.Nr == unix.SYS_WAITID) && pid.Host() == names.Here:
		n.Continue() // the kernel knows best who is a child
	case n.Nr == unix.SYS_WAIT4 || n.Nr == unix.SYS_WAITID:
		n.Fail(syscall.ECHILD)
	case s.daemon == nil: // --local: no host is known but this one
		n.Fail(syscall.ESRCH)
	default:
		s.wg.Go(func() { s.ask(n) })
	}
}

// Setter implements intercept.Handler: what is changed of a ghost is changed of its job, which the daemon sees to.
func (s *supervisor) Setter(n *intercept.Notification, pid int, group bool) {
	if s.daemon == nil {
		n.Continue()
		return
	}
	about := pid
	if group {
		about = -pid
	}
	if s.whenTaken(n, about, func() { s.set(n, pid, group) }) {
		return
	}
	s.set(n, pid, group)
}

func (s *supervisor) set(n *intercept.Notification, pid int, group bool) {
	if !s.concernsGhost(pid, group) {
		n.Continue()
		return
	}
	s.wg.Go(func() { s.ask(n) })
}

// concernsGhost reports whether the number is a ghost's, or that of a group with a ghost in it.
func (s *supervisor) concernsGhost(pid int, group bool) bool {
	if !group {
		return s.ghost(pid) != nil
	}
	for _, j := range s.allGhosts() {
		if inGroup(j.pid, pid) {
			return true
		}
	}
	return false
}

// ask has the daemon carry out the call, and answers.
func (s *supervisor) ask(n *intercept.Notification) {
	reply, files, err := s.call(n.TID)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if !n.Valid() {
		return // the caller died: the number may be another's by now
	}
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		n.Fail(errno)
	case err != nil:
		n.Fail(syscall.EHOSTDOWN) // whoever it is about cannot be asked for
	case reply.Continue:
		n.Continue()
	case reply.Errno != 0:
		n.Fail(syscall.Errno(reply.Errno))
	case len(files) == 1:
		if err := n.ReturnFD(files[0]); err != nil {
			n.Fail(names.Errno(err))
		}
	default:
		n.Return(reply.Value)
	}
}

// call asks the daemon on a connection of its own. An error that is an errno is the daemon's.
func (s *supervisor) call(tid int) (control.CallReply, []*os.File, error) {
	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	var reply control.CallReply
	conn, err := control.Dial(ctx, s.cfg.ControlPath)
	if err != nil {
		return reply, nil, errNoDaemon
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if err := conn.Open(control.OpCall, control.CallRequest{TID: tid}); err != nil {
		return reply, nil, errNoDaemon
	}
	files, err := conn.Receive(&reply)
	if err == nil {
		return reply, files, nil
	}
	if f, refused := errors.AsType[*control.Failure](err); refused && f.Errno != 0 {
		return reply, nil, f.Errno
	}
	return reply, nil, errNoDaemon
}
