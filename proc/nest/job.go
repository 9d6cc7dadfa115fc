package nest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// States of a job in the init.
const (
	jobStarting = iota // cloned, not known to have become its program
	jobRunning
	jobFailed // a step before execve failed, and the daemon knows
	jobEnded  // its process has; descendants may live
)

// sweepEvery is how often jobs are looked at that have ended and whose descendants have not.
const sweepEvery = 50 * time.Millisecond

// job is one process that the daemon asked for.
type job struct {
	id    uint64
	pid   int
	held  *jobGroup
	state int
	early []*Event // what came while starting
	// What its process has of the home: parent, group and session, and the group that it began with; 0: not known.
	parent, group, session, home int
	made                         bool   // its group is one that it made here
	after                        uint64 // the last order by which its process got a signal
	// The child runs in it until it has become its program, or died.
	program *sys.Program
}

func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	errno := syscall.EIO
	_ = errors.As(err, &errno)
	return errno
}

// start makes the process and answers the daemon. It takes over fds.
func (s *server) start(id uint64, spec Spec, slots []slot, fds []int) {
	pid, err := s.launch(id, spec, slots, fds)
	e := newMessage(msgStarted)
	e.uint(id)
	e.int(int64(pid))
	if err != nil {
		e.uint(uint64(errnoOf(err)))
		e.string(err.Error())
		_ = s.conn.write(e)
		return
	}
	e.uint(0)
	e.string(s.groupOf(id))
	_ = s.conn.write(e) // before any event of the job: it becomes running below
	for {
		s.mu.Lock()
		j := s.jobs[id]
		early := j.early
		if j.early = nil; len(early) == 0 {
			j.state, j.program = jobRunning, nil
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		for _, ev := range early {
			s.tell(j, ev)
		}
		if early[len(early)-1].Kind == Exited {
			return // it may be forgotten by now
		}
	}
}

// groupOf gives the name of the cgroup of a job that has been started.
func (s *server) groupOf(id uint64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[id].held.name
}

func (s *server) launch(id uint64, spec Spec, slots []slot, fds []int) (int, error) {
	defer closeAll(fds)
	var report [2]int
	if err := unix.Pipe2(report[:], unix.O_CLOEXEC); err != nil {
		return 0, fmt.Errorf("pipe: %w", err)
	}
	defer unix.Close(report[0])
	p, err := s.program(spec, slots, fds, report[1])
	if err != nil {
		unix.Close(report[1])
		return 0, err
	}
	g, err := s.groups.take()
	if err != nil {
		unix.Close(report[1])
		return 0, err
	}
	j := &job{id: id, held: g, program: p, parent: spec.Parent, group: spec.Group, session: spec.Session, home: spec.Group}
	pid, errno := 0, syscall.EAGAIN // no number is left
	done, ok := s.numbers.own()     // for the child, or for the thread that waits for it below
	defer done()
	s.mu.Lock()
	if ok || spec.Pid != 0 {
		s.numbers.watch(true)
		pid, errno = s.maker.clone(p, sys.CloneOptions{Pid: spec.Pid, Cgroup: g.fd, Report: report[1]})
	}
	unix.Close(report[1])
	if errno != 0 {
		s.numbers.watch(len(s.jobs) > 0)
		s.mu.Unlock()
		s.groups.collect(g) // nothing was ever in it
		if errno == syscall.EEXIST {
			return 0, fmt.Errorf("pid %d is in use in the nest: %w", spec.Pid, errno)
		}
		return 0, fmt.Errorf("clone: %w", errno)
	}
	j.pid = pid
	s.jobs[id], s.byPid[pid], s.leads[pid] = j, j, j
	s.made++
	s.children.Signal()
	s.mu.Unlock()
	if err := failure(p, report[0]); err != nil {
		s.mu.Lock()
		j.state = jobFailed
		if len(j.early) > 0 && j.early[len(j.early)-1].Kind == Exited {
			s.endLocked(j)
		}
		s.mu.Unlock()
		return 0, err
	}
	return pid, nil
}

// failure waits for execve to succeed or a step to fail.
func failure(p *sys.Program, fd int) error {
	var buf [8]byte
	for {
		n, err := unix.Read(fd, buf[:])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("report pipe: %w", err)
		case n < len(buf):
			return nil // end of file: close-on-exec
		}
		step, errno := binary.NativeEndian.Uint32(buf[:4]), binary.NativeEndian.Uint32(buf[4:])
		return fmt.Errorf("%s: %w", p.StepName(int(step)), syscall.Errno(errno))
	}
}

// reap waits for every child of the init, orphans of the nest too, and tells the daemon about its jobs. It takes a child's news under the lock under
// which jobs get signals: of each stop it is known after which of them it was.
func (s *server) reap() {
	for {
		s.mu.Lock()
		seen := s.made
		s.mu.Unlock()
		pid, errno := sys.AwaitChild()
		switch errno {
		case 0:
			s.news(pid)
		case syscall.ECHILD:
			s.mu.Lock()
			for s.made == seen {
				s.children.Wait()
			}
			s.mu.Unlock()
		default: // EINTR
		}
	}
}

// news takes what a child's change of state was and passes it on according to the state of its job.
func (s *server) news(pid int) {
	s.mu.Lock()
	var ws unix.WaitStatus
	var ru unix.Rusage
	if got, err := unix.Wait4(pid, &ws, unix.WNOHANG|unix.WUNTRACED|unix.WCONTINUED|unix.WALL, &ru); err != nil || got != pid {
		s.mu.Unlock()
		return // a stop that was over before it could be told
	}
	j := s.byPid[pid]
	if j == nil {
		s.mu.Unlock()
		return // an orphan
	}
	ev := &Event{Status: syscall.WaitStatus(ws), User: duration(ru.Utime), System: duration(ru.Stime), MaxRSS: ru.Maxrss, After: j.after}
	switch {
	case ws.Stopped():
		ev.Kind = Stopped
	case ws.Continued():
		ev.Kind = Continued
	default:
		ev.Kind = Exited
		delete(s.byPid, pid)
	}
	switch j.state {
	case jobStarting:
		j.early = append(j.early, ev)
	case jobFailed:
		if ev.Kind == Exited {
			s.endLocked(j)
		}
	default:
		defer s.tell(j, ev)
	}
	s.mu.Unlock()
}

func duration(t unix.Timeval) time.Duration { return time.Duration(t.Nano()) }

// tell sends an event to the daemon. At the end the job is forgotten, unless descendants are left.
func (s *server) tell(j *job, ev *Event) {
	if ev.Kind == Exited {
		s.mu.Lock()
		ev.Left = !s.endLocked(j)
		s.mu.Unlock()
	}
	e := newMessage(msgEvent)
	e.uint(j.id)
	ev.encode(e)
	_ = s.conn.write(e)
}

// endLocked ends a job whose process has ended, and reports whether nothing of it is left.
func (s *server) endLocked(j *job) bool {
	j.state = jobEnded
	empty := s.collectLocked(j)
	if !empty && !s.sweeping {
		s.sweeping = true
		go s.sweep()
	}
	return empty
}

// collectLocked forgets an ended job if nothing of it is left, and reports whether it has.
func (s *server) collectLocked(j *job) bool {
	if !s.groups.collect(j.held) {
		return false
	}
	delete(s.jobs, j.id)
	s.numbers.watch(len(s.jobs) > 0)
	if s.leads[j.pid] == j {
		delete(s.leads, j.pid)
	}
	return true
}

// did passes on what a job's process did itself.
func (s *server) did(j *job, ev *Event) {
	s.mu.Lock()
	if j.state == jobStarting {
		j.early = append(j.early, ev)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	s.tell(j, ev)
}

// siTkill is the si_code of a signal sent by tkill or tgkill.
const siTkill = -6

// signal sends a signal to the process of a job or to its process group.
func (s *server) signal(id uint64, sig Signal) syscall.Errno {
	s.mu.Lock()
	defer s.mu.Unlock() // the process cannot be reaped, nor its number given again, as long as byPid has it
	j := s.jobs[id]
	if j == nil || s.byPid[j.pid] != j {
		return syscall.ESRCH
	}
	j.after = max(j.after, sig.N)
	number := syscall.Signal(sig.Number)
	switch {
	case sig.Group:
		err := unix.Kill(-j.pid, number)
		s.echoedLocked(j, int(sig.Number))
		return errnoOf(err)
	case sig.Code == siTkill: // which nobody may claim for another process
		return errnoOf(unix.Tgkill(j.pid, j.pid, number))
	case sig.Code < 0:
		return sys.Sigqueue(j.pid, int(sig.Number), sig.Code, sig.From, sig.UID, sig.Value)
	}
	return errnoOf(unix.Kill(j.pid, number))
}

// kill ends the whole tree of a job.
func (s *server) kill(id uint64) syscall.Errno {
	s.mu.Lock()
	defer s.mu.Unlock() // the group cannot become another job's meanwhile
	j := s.jobs[id]
	if j == nil {
		return 0 // nothing of it is left
	}
	return s.groups.kill(j.held)
}

// sweep forgets ended jobs when their last descendants are gone.
func (s *server) sweep() {
	for {
		time.Sleep(sweepEvery)
		s.mu.Lock()
		left := false
		for _, j := range s.jobs {
			left = j.state == jobEnded && !s.collectLocked(j) || left
		}
		if !left {
			s.sweeping = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}
