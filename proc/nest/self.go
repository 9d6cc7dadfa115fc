package nest

import (
	"path"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/intercept"
)

// What a process of a nest sees of itself is what it would see at home. There its parent, its group and its session have other
// numbers than the kernel gives them here, where a job's process is a child of the init, in the init's session, and leads a
// group. So a job has these three as at home (parent, group, session), and the kernel's group that it leads stands for the one it is in at
// home. Groups and sessions that descendants make are the kernel's.

// seen is the group that the kernel's group of the job's process stands for; the server's lock is held.
func (j *job) seen() int {
	if j.group == 0 {
		return j.pid
	}
	return j.group
}

// process gives the job whose process a thread belongs to; nil: it is a descendant's.
func (s *server) process(tid int) *job {
	pid := s.leader(tid)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byPid[pid]
}

// leader gives the process that a thread belongs to; 0 if it is gone.
func (s *server) leader(tid int) int {
	if unix.Tgkill(tid, tid, 0) == nil {
		return tid
	}
	for line := range strings.Lines(s.proc(tid, "status")) {
		if v, ok := strings.CutPrefix(line, "Tgid:"); ok {
			pid, err := strconv.Atoi(strings.TrimSpace(v))
			if err == nil {
				return pid
			}
		}
	}
	return 0
}

func (s *server) getppid(n *intercept.Notification) {
	j := s.process(n.TID)
	if j == nil {
		n.Continue()
		return
	}
	s.mu.Lock()
	parent := j.parent
	s.mu.Unlock()
	if parent == 0 { // it is not known
		n.Continue()
		return
	}
	n.Return(int64(parent))
}

// getpgid answers getpgid and getpgrp.
func (s *server) getpgid(n *intercept.Notification, pid int) {
	target, ok := s.target(n, pid)
	if !ok {
		return
	}
	group, err := unix.Getpgid(target)
	if err != nil {
		n.Fail(errnoOf(err))
		return
	}
	s.mu.Lock()
	if j := s.leads[group]; j != nil {
		group = j.seen()
	}
	s.mu.Unlock()
	n.Return(int64(group))
}

func (s *server) getsid(n *intercept.Notification, pid int) {
	target, ok := s.target(n, pid)
	if !ok {
		return
	}
	session, err := unix.Getsid(target)
	if err != nil {
		n.Fail(errnoOf(err))
		return
	}
	if session <= 1 { // the init's
		if j := s.jobOf(target); j != nil {
			s.mu.Lock()
			if j.session != 0 {
				session = j.session
			}
			s.mu.Unlock()
		}
	}
	n.Return(int64(session))
}

// target is whom a question is about, if it is a process of this nest; otherwise the question has been passed on.
func (s *server) target(n *intercept.Notification, pid int) (int, bool) {
	switch {
	case pid == 0:
		return n.TID, true
	case s.native(pid):
		return pid, true
	}
	s.elsewhere(n, n.Args)
	return 0, false
}

// jobOf gives the job that a process is of, its own or a descendant's.
func (s *server) jobOf(pid int) *job {
	group, err := unix.Getpgid(pid)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	j := s.leads[group]
	s.mu.Unlock()
	if j != nil {
		return j
	}
	for line := range strings.Lines(s.proc(pid, "cgroup")) {
		if at, ok := strings.CutPrefix(line, "0::"); ok {
			name := path.Base(strings.TrimSpace(at))
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, j := range s.jobs {
				if j.held.name == name {
					return j
				}
			}
		}
	}
	return nil
}

// setsid of a descendant is the kernel's. A job's process cannot be let do it, for it leads the kernel's group; at home it may well not.
func (s *server) setsid(n *intercept.Notification) {
	j := s.process(n.TID)
	if j == nil {
		n.Continue()
		return
	}
	group, err := unix.Getpgid(j.pid)
	if err != nil || group != j.pid { // it has joined a descendant's group, and leads none
		n.Continue()
		return
	}
	s.mu.Lock()
	leads := j.seen() == j.pid
	if !leads {
		j.group, j.session, j.made = j.pid, j.pid, true
	}
	s.mu.Unlock()
	if leads {
		n.Fail(syscall.EPERM)
		return
	}
	s.did(j, &Event{Kind: Regrouped, Group: j.pid, Session: true})
	n.Return(int64(j.pid))
}

func (s *server) setpgid(n *intercept.Notification, pid, group int) {
	if group < 0 {
		n.Fail(syscall.EINVAL)
		return
	}
	j := s.process(n.TID)
	if j != nil && (pid == 0 || pid == j.pid) {
		s.setOwnGroup(n, j, group)
		return
	}
	if pid == 0 {
		pid = n.TID
	}
	if group == 0 || group == pid {
		n.Continue()
		return
	}
	// A group of the home has another number in the kernel.
	s.mu.Lock()
	var stands *job
	for _, l := range s.leads {
		if l.group == group && l.pid != group {
			stands = l
			if now, err := unix.Getpgid(pid); err == nil && now == l.pid {
				break
			}
		}
	}
	s.mu.Unlock()
	if stands == nil {
		n.Continue()
		return
	}
	if now, err := unix.Getpgid(pid); err == nil && now == stands.pid {
		n.Return(0) // it is in it
		return
	}
	n.Fail(syscall.EPERM) // only the process itself or its parent could move it, by a number they do not know
}

// setOwnGroup is a setpgid of a job's process for itself.
func (s *server) setOwnGroup(n *intercept.Notification, j *job, group int) {
	if group == 0 {
		group = j.pid
	}
	now, err := unix.Getpgid(j.pid)
	if err != nil {
		n.Fail(syscall.ESRCH)
		return
	}
	s.mu.Lock()
	moves := false
	errno := syscall.Errno(0)
	switch {
	case j.group == 0, group != j.pid && group != j.home: // nothing of it is the home's
		s.mu.Unlock()
		n.Continue()
		return
	case j.session == j.pid: // a session's leader stays in its group
		errno = syscall.EPERM
	case group == j.group && now == j.pid:
	case now == j.pid:
		j.group, j.made, moves = group, group == j.pid && group != j.home, true
	case group == j.pid && j.group == group: // back from a descendant's group, into that of the kernel that it led
		s.mu.Unlock()
		n.Continue()
		return
	default:
		errno = syscall.EPERM
	}
	s.mu.Unlock()
	if moves {
		s.did(j, &Event{Kind: Regrouped, Group: group})
	}
	if errno != 0 {
		n.Fail(errno)
		return
	}
	n.Return(0)
}
