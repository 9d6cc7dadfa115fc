package nest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/intercept"
)

// notified answers one system call of a process of the nest. It runs on the goroutine of the listener and must not block: what has to be
// asked elsewhere is asked on another.
func (s *server) notified(n *intercept.Notification) {
	if n.Fork() {
		s.fork(n)
		return
	}
	s.numbers.seen(n.TID)
	if s.deeper(n.TID) { // its numbers are those of a name space of its own
		n.Continue()
		return
	}
	switch {
	case n.Nr == unix.SYS_GETPPID:
		s.getppid(n)
	case n.Getpgrp():
		s.getpgid(n, 0)
	case n.Nr == unix.SYS_GETPGID:
		s.getpgid(n, number(n.Args[0]))
	case n.Nr == unix.SYS_GETSID:
		s.getsid(n, number(n.Args[0]))
	case n.Nr == unix.SYS_SETSID:
		s.setsid(n)
	case n.Nr == unix.SYS_SETPGID:
		s.setpgid(n, number(n.Args[0]), number(n.Args[1]))
	case n.Nr == unix.SYS_KILL && number(n.Args[0]) <= 0:
		s.killGroup(n, number(n.Args[0]), number(n.Args[1]))
	default:
		for _, arg := range intercept.PidArguments(n.Nr) {
			if pid := number(n.Args[arg]); pid != 0 && !s.native(pid) {
				s.elsewhere(n, n.Args)
				return
			}
		}
		n.Continue()
	}
}

// growTime bounds a fork's wait for more numbers, which are a message to the home away.
const growTime = 2 * time.Second

func (s *server) fork(n *intercept.Notification) {
	ok, soon := s.numbers.fork(n.TID)
	switch {
	case ok:
		n.Continue()
	case soon == nil:
		n.Fail(syscall.EAGAIN)
	default:
		go func() {
			t := time.NewTimer(growTime)
			defer t.Stop()
			select {
			case <-soon:
			case <-t.C:
			}
			if ok, _ := s.numbers.fork(n.TID); ok {
				n.Continue()
			} else {
				n.Fail(syscall.EAGAIN)
			}
		}()
	}
}

// settle freezes the jobs while numbers are scarce, and has them go on.
func (s *server) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	scarce := s.numbers.scarce()
	for _, j := range s.jobs {
		if j.held.frozen != scarce {
			j.held.freeze(scarce)
		}
	}
}

// strays ends the processes that have numbers of nobody's block, which may be those of others.
func (s *server) strays() {
	d, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", s.numbers.proc))
	if err != nil {
		return
	}
	defer d.Close()
	all, _ := d.Readdirnames(-1)
	s.mu.Lock() // held across clone: no job has a number that is not known
	defer s.mu.Unlock()
	for _, name := range all {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == 1 || s.byPid[pid] != nil || s.numbers.leased(pid) {
			continue
		}
		if unix.Kill(pid, unix.SIGKILL) == nil {
			s.log(fmt.Sprintf("no number was left for a process, which got %d: it is killed", pid))
		}
	}
}

// deeper reports whether a thread is in a pid name space that was made inside of the nest.
func (s *server) deeper(tid int) bool {
	s.mu.Lock()
	job := s.byPid[tid] != nil
	s.mu.Unlock()
	if job {
		return false
	}
	space := s.spaceOf(tid)
	return space != "" && space != s.space
}

// spaceOf names the pid name space of a process or thread; "" if it is gone.
func (s *server) spaceOf(tid int) string {
	var buf [64]byte
	got, err := unix.Readlinkat(s.numbers.proc, strconv.Itoa(tid)+"/ns/pid", buf[:])
	if err != nil {
		return ""
	}
	return string(buf[:got])
}

// number is an argument as the kernel takes it for a pid.
func number(arg uint64) int { return int(int32(uint32(arg))) }

// native reports whether a number is that of a process or thread of this nest's jobs, or could be no other's.
func (s *server) native(pid int) bool {
	if pid <= 0 {
		return false
	}
	if s.numbers.leased(pid) {
		return true
	}
	// The low numbers are the home's, but for the init and its threads, which the home knows nothing of.
	return unix.Kill(pid, 0) == nil && unix.Tgkill(1, pid, 0) != nil
}

// killGroup is a kill of a process group or of everybody. A group that jobs only have members of can have others at home and on other
// hosts: the home reaches them all, those here among them.
func (s *server) killGroup(n *intercept.Notification, pid, sig int) {
	if pid == -1 {
		s.elsewhere(n, n.Args)
		return
	}
	own, err := unix.Getpgid(n.TID)
	if err != nil {
		n.Fail(syscall.ESRCH) // it is dead
		return
	}
	s.mu.Lock()
	mine := s.leads[own] // the job whose group the caller is in
	j, group := mine, -pid
	switch {
	case pid == 0 && mine != nil:
		group = mine.seen()
	case pid == 0:
		group = own
	case mine == nil || mine.seen() != group:
		if j = s.leads[group]; j != nil && j.seen() != group {
			j, group = nil, 0 // in the kernel that number is another group's
		}
	}
	here := j == nil && s.numbers.leased(group) || j != nil && (j.made || j.group == 0) || pid == 0 && !s.asks
	if here || !s.asks {
		s.mu.Unlock()
		if here {
			n.Continue()
		} else {
			n.Fail(syscall.ESRCH)
		}
		return
	}
	args := n.Args
	if pid == 0 {
		args[0] = uint64(-int64(group))
	}
	var e *echo
	if j != nil && j == mine && sig > 0 && sig <= 64 {
		e = &echo{job: j, sig: sig, came: make(chan struct{})}
		s.echoes[e] = struct{}{}
	}
	s.mu.Unlock()
	go func() {
		s.finish(n, s.ask(n, args), e)
		s.mu.Lock()
		delete(s.echoes, e)
		s.mu.Unlock()
	}()
}

// echo is a signal that one of a job's processes sent to its group by way of the home. It comes back to the job as it comes to the group's
// other members; kill returns when it has, for a process that signals itself is to have the signal by then.
type echo struct {
	job  *job
	sig  int
	came chan struct{} // closed by echoed
}

// Bounds of the wait for it, which takes as long as a message to the home and back, of hosts that may be busy, and how often the caller is
// looked at meanwhile: not every such signal comes by way of the init.
const (
	echoTime  = 2 * time.Second
	echoEvery = 500 * time.Microsecond
)

// await returns when the signal has come to the caller, or the caller is dead.
func (s *server) await(n *intercept.Notification, e *echo) {
	t := time.NewTicker(echoEvery)
	defer t.Stop()
	for end := time.Now().Add(echoTime); time.Now().Before(end) && n.Valid() && !s.has(n.TID, e.sig); {
		select {
		case <-e.came:
			return
		case <-t.C:
		}
	}
}

// has reports whether a signal is waiting for a thread, or is ignored and never will be.
func (s *server) has(tid, sig int) bool {
	for line := range strings.Lines(s.proc(tid, "status")) {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "SigPnd", "ShdPnd", "SigIgn":
			set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			if err == nil && set&(1<<(sig-1)) != 0 {
				return true
			}
		}
	}
	return false
}

// echoedLocked says that a signal has gone to the job's group.
func (s *server) echoedLocked(j *job, sig int) {
	for e := range s.echoes {
		if e.job == j && e.sig == sig {
			delete(s.echoes, e)
			close(e.came)
		}
	}
}

// elsewhere lets the daemon carry out a call.
func (s *server) elsewhere(n *intercept.Notification, args [6]uint64) {
	if !s.asks {
		n.Fail(syscall.ESRCH)
		return
	}
	go func() { s.finish(n, s.ask(n, args), nil) }()
}

// result is how a call ended that the daemon carried out.
type result struct {
	value int64
	errno syscall.Errno
	fd    int // a descriptor that is to be the value, or -1
}

// ask sends a call to the daemon and waits for its answer. It is as long as the daemon wants; the caller can be killed meanwhile.
func (s *server) ask(n *intercept.Notification, args [6]uint64) result {
	c := make(chan result, 1)
	s.mu.Lock()
	s.lastAsk++
	seq := s.lastAsk
	s.answers[seq] = c
	s.mu.Unlock()
	e := newMessage(msgCall)
	e.uint(seq)
	e.uint(uint64(s.leader(n.TID)))
	e.uint(uint64(n.Nr))
	for _, a := range args {
		e.uint(a)
	}
	if err := s.conn.writeAs(n.TID, e); err != nil {
		s.mu.Lock()
		delete(s.answers, seq)
		s.mu.Unlock()
		return result{errno: syscall.ESRCH, fd: -1} // the caller is dead, or the daemon
	}
	return <-c
}

// answered passes on what the daemon says.
func (s *server) answered(seq uint64, r result) {
	s.mu.Lock()
	c := s.answers[seq]
	delete(s.answers, seq)
	s.mu.Unlock()
	if c != nil {
		c <- r
	}
}

func (s *server) finish(n *intercept.Notification, r result, e *echo) {
	switch {
	case r.errno != 0:
		n.Fail(r.errno)
	case r.fd >= 0:
		f := os.NewFile(uintptr(r.fd), "descriptor")
		if n.ReturnFD(f) != nil {
			n.Fail(syscall.EMFILE)
		}
		f.Close()
	default:
		if e != nil {
			s.await(n, e)
		}
		n.Return(r.value)
	}
}

// proc reads a file of /proc/PID, as much of it as a page holds; "" if the process is gone.
func (s *server) proc(tid int, name string) string {
	fd, err := unix.Openat(s.numbers.proc, strconv.Itoa(tid)+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var buf [4096]byte
	got, err := unix.Pread(fd, buf[:], 0)
	if err != nil {
		return ""
	}
	return string(buf[:got])
}
