package nest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Spec says everything of a process that is to be started.
type Spec struct {
	Pid int // its number, as at home; 0: the next of the leased block
	// What it has at home: parent, process group, session; 0: what it has here, as the init's child and leader of a group.
	Parent, Group, Session int

	Exe        string // what execve is called with
	Argv, Env  []string
	Cwd        string
	CwdIno     uint64 // its inode number at home, if not 0: it must be that directory still, or Start fails with ESTALE
	Umask      uint32
	Rlimits    []Rlimit
	Nice       int       // -20..19
	Scheduler  uint32    // the policy, as sched_getscheduler gives it: not a real-time one
	IOPriority uint32    // as ioprio_get gives it; 0: none
	TimerSlack uint64    // ns by which timers may be late; 0: the kernel's default of 50 µs
	SigMask    uint64    // blocked signals; bit n-1 is signal n
	SigIgnored uint64    // ignored signals, likewise
	UID, GID   [4]uint32 // real, effective, saved, file system
	Groups     []uint32
	NoNewPrivs bool
	FDs        []FD
}

// Rlimit is one resource limit. A hard limit above what the helper itself may have is cut to that.
type Rlimit struct {
	Resource   int
	Soft, Hard uint64
}

// FD is one descriptor of the process: File, which stays the caller's, or else Path opened with Flags inside the nest, with the rights
// of the init. If Ino is not 0 it must be the file of that inode number and Path without symbolic links, or Start fails: names may
// have been changed by somebody who could not open the file himself. Two FDs with the same File share one open file. Descriptors
// not listed are closed.
type FD struct {
	N     int
	File  *os.File
	Path  string
	Flags int
	Ino   uint64
}

// Kinds of Event.
const (
	Stopped   = iota + 1 // by Status.StopSignal
	Continued            //
	Exited               // with Status; the last event
	Lost                 // the nest is gone; the last event
	Regrouped            // it has moved to Group by setpgid or, with Session, setsid
)

// Event is one change of a process's state.
type Event struct {
	Kind   int
	Status syscall.WaitStatus
	// CPU time and the largest resident set (in kB) of the process and of the descendants it waited for.
	User, System time.Duration
	MaxRSS       int64
	// Left, of Exited: descendants of the process live on. Kill ends them.
	Left bool
	// After is the highest Signal.N of the signals that the process had got before this change of state: they may have to do with it, later ones have not.
	After uint64
	// Of Regrouped.
	Group   int
	Session bool
}

// Process is one started process.
type Process struct {
	Pid    int
	nest   *Nest
	group  string // name of its cgroup
	job    uint64
	events chan *Event
	start  chan started // the answer to Start; capacity 1

	mu   sync.Mutex // guards what follows
	over bool       // events is closed
}

type started struct {
	pid   int
	errno syscall.Errno
	text  string
}

// Start starts a process. It returns when execve has succeeded, or with the step that failed; errors wrap a syscall.Errno. EEXIST: the
// number is in use in the nest. When ctx ends first the process is killed. The caller may close its Files as soon
// as Start returns.
func (n *Nest) Start(ctx context.Context, s Spec) (*Process, error) {
	if err := s.check(n.cfg); err != nil {
		return nil, err
	}
	p := &Process{nest: n, events: make(chan *Event, 64), start: make(chan started, 1)}
	if err := n.add(p); err != nil {
		return nil, err
	}
	if err := n.send(p, s); err != nil {
		n.remove(p)
		return nil, fmt.Errorf("nest of %s: start %s: %w", n.cfg.HomeName, s.Exe, err)
	}
	select {
	case r := <-p.start:
		if r.errno != 0 {
			return nil, fmt.Errorf("nest of %s: start %s: %s: %w", n.cfg.HomeName, s.Exe, r.text, r.errno)
		}
		p.Pid, p.group = r.pid, r.text
		return p, nil
	case <-n.done:
		return nil, fmt.Errorf("nest of %s: start %s: the nest ended: %w", n.cfg.HomeName, s.Exe, syscall.ESRCH)
	case <-ctx.Done():
		_ = p.Kill() // fails only if the nest ends, and the process with it
		return nil, fmt.Errorf("nest of %s: start %s: %w", n.cfg.HomeName, s.Exe, context.Cause(ctx))
	}
}

func (s *Spec) check(c Config) error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("nest of %s: start %s: %s: %w", c.HomeName, s.Exe, fmt.Sprintf(format, a...), syscall.EINVAL)
	}
	switch {
	case s.Exe == "":
		return bad("no program given")
	case s.Cwd == "":
		return bad("no working directory given")
	case s.Pid < 0 || s.Pid > c.PidLast:
		return bad("pid %d: want 1 to %d, or 0 for any", s.Pid, c.PidLast)
	}
	seen := map[int]bool{}
	for _, f := range s.FDs {
		if f.N < 0 || f.N > 1<<20 || seen[f.N] {
			return bad("descriptor %d: want a number from 0 to %d, once", f.N, 1<<20)
		}
		seen[f.N] = true
		if f.File == nil && f.Path == "" {
			return bad("descriptor %d: neither a file nor a path", f.N)
		}
	}
	return nil
}

// send gives the spec and its files to the init.
func (n *Nest) send(p *Process, s Spec) error {
	var files []*os.File
	index := map[int]int{}
	for i, f := range s.FDs {
		index[i] = -1
		if f.File == nil {
			continue
		}
		at := slices.Index(files, f.File)
		if at < 0 {
			at = len(files)
			files = append(files, f.File)
		}
		index[i] = at
	}
	e := newMessage(msgStart)
	e.uint(p.job)
	s.encode(e, index)
	return withFDs(files, nil, func(fds []int) error { return n.conn.write(e, fds...) })
}

// withFDs calls fn with the numbers of files, which cannot be closed meanwhile. File.Fd would not do: it makes the open file
// blocking for everybody who shares it.
func withFDs(files []*os.File, fds []int, fn func([]int) error) error {
	if len(files) == 0 {
		return fn(fds)
	}
	rc, err := files[0].SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := rc.Control(func(fd uintptr) { inner = withFDs(files[1:], append(fds, int(fd)), fn) }); err != nil {
		return err
	}
	return inner
}

// Events gives the process's changes of state; it is closed after Exited or Lost. A reader that is slow may miss stops and
// continues, never the end.
func (p *Process) Events() <-chan *Event { return p.events }

// Signal is a signal for a process. If Code is below 0, as that of a queued one, all of it reaches the process; otherwise it looks as if
// the init had sent it by kill(2): nobody may say that for another.
type Signal struct {
	Number int32
	Code   int32 // si_code
	Value  int64 // si_value
	From   int32 // si_pid, in the home's pid space
	UID    uint32
	Group  bool   // to the process's whole group
	N      uint64 // the sender's own number for it, see Event.After
}

// Signal sends a signal, to the process or to its whole process group. It waits for the answer of the init; ESRCH: the process has ended.
func (p *Process) Signal(s Signal) error {
	return p.nest.ask(func(seq uint64) *encoder {
		e := newMessage(msgSignal)
		e.uint(p.job)
		e.uint(seq)
		e.int(int64(s.Number))
		e.int(int64(s.Code))
		e.int(s.Value)
		e.int(int64(s.From))
		e.uint(uint64(s.UID))
		e.bool(s.Group)
		e.uint(s.N)
		return e
	})
}

// SetParent says that the process has another parent at home now.
func (p *Process) SetParent(pid int) error {
	e := newMessage(msgParent)
	e.uint(p.job)
	e.int(int64(pid))
	return p.nest.conn.write(e)
}

// Pids gives the numbers on this host of the process and its descendants, as long as it has not ended.
func (p *Process) Pids() ([]int, error) {
	b, err := os.ReadFile(filepath.Join(p.nest.group.path, p.group, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for f := range bytes.FieldsSeq(b) {
		if pid, err := strconv.Atoi(string(f)); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Kill ends the process and all its descendants, daemonized ones too, also after the process itself has ended. It
// returns when the kernel has been told; the end is an event as usual.
func (p *Process) Kill() error {
	return p.nest.ask(func(seq uint64) *encoder {
		e := newMessage(msgKill)
		e.uint(p.job)
		e.uint(seq)
		return e
	})
}

// deliver passes an event on; the last places of the queue are kept for the end.
func (p *Process) deliver(ev *Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := ev.Kind == Exited || ev.Kind == Lost
	if p.over || !last && len(p.events) >= cap(p.events)-1 {
		return
	}
	p.events <- ev
	if last {
		p.over = true
		close(p.events)
	}
}
