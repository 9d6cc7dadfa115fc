package proc

import (
	"context"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// Scope says whom a signal is for.
type Scope int

// Scopes of a signal.
const (
	ToProcess Scope = iota
	ToThread        // the number is a thread's
	ToGroup         // all of the process group of that number
	ToAll           // everybody in the number's pid space whom the caller may send to, as kill(-1); the number is 1
)

// InfoSize is that of the kernel's siginfo_t, in bytes.
const InfoSize = 128

// Signal is a signal to be sent.
type Signal struct {
	Number int // 0 only asks whether it could be sent
	Scope  Scope
	Leader int    // of ToThread: the number of the thread's process; 0: not given
	Info   []byte // a siginfo_t, as rt_sigqueueinfo(2) takes it; nil: as kill(2) makes it
}

// Signal implements Process.
func (l *Local) Signal(ctx context.Context, who *Caller, s Signal) error {
	pid := l.number()
	if s.Info != nil && len(s.Info) != InfoSize {
		return syscall.EINVAL
	}
	if s.Info == nil && s.Scope == ToProcess && who.spared() {
		return unix.Kill(pid, syscall.Signal(s.Number))
	}
	var c *sys.Call
	switch {
	case s.Scope == ToAll:
		return SignalAll(ctx, who, s.Number, func(int) bool { return false })
	case s.Scope == ToGroup:
		c = sys.NewCall(unix.SYS_KILL, -pid, s.Number)
	case s.Scope == ToThread && s.Info != nil:
		c = sys.NewCall(unix.SYS_RT_TGSIGQUEUEINFO, s.Leader, pid, s.Number).Buffer(3, s.Info)
	case s.Scope == ToThread && s.Leader != 0:
		c = sys.NewCall(unix.SYS_TGKILL, s.Leader, pid, s.Number)
	case s.Scope == ToThread:
		c = sys.NewCall(unix.SYS_TKILL, pid, s.Number)
	case s.Info != nil:
		c = sys.NewCall(unix.SYS_RT_SIGQUEUEINFO, pid, s.Number).Buffer(2, s.Info)
	default:
		c = sys.NewCall(unix.SYS_KILL, pid, s.Number)
	}
	_, err := one(ctx, who, c)
	return err
}

// SignalAll sends a signal to all of this host's own pid space but its init, this daemon and those to skip, as far as the caller may.
// Processes of other homes that run here are not of this space. What is forked meanwhile may be missed, which kill(-1) itself does not.
func SignalAll(ctx context.Context, who *Caller, sig int, skip func(pid int) bool) error {
	return signalEach(ctx, who, sig, func(pid int) bool {
		return pid > 1 && pid != os.Getpid() && depth(pid) == 1 && !skip(pid)
	})
}

// SignalMembers sends a signal to each member of a process group of this host but those to skip, as far as the caller may. What is forked
// meanwhile may be missed.
func SignalMembers(ctx context.Context, who *Caller, group, sig int, skip func(pid int) bool) error {
	return signalEach(ctx, who, sig, func(pid int) bool {
		n, err := unix.Getpgid(pid)
		return err == nil && n == group && !skip(pid)
	})
}

func signalEach(ctx context.Context, who *Caller, sig int, meant func(pid int) bool) error {
	dir, err := os.ReadDir("/proc")
	if err != nil {
		return syscall.ESRCH
	}
	var calls []*sys.Call
	for _, e := range dir {
		if pid := atoi(e.Name()); pid > 0 && meant(pid) {
			calls = append(calls, sys.NewCall(unix.SYS_KILL, pid, sig))
		}
	}
	if len(calls) == 0 {
		return syscall.ESRCH
	}
	if err := as(ctx, who, calls...); err != nil {
		return err
	}
	return all(calls)
}

// all gives what the kernel makes of a signal to many: EPERM only if it may be sent to none of them.
func all(calls []*sys.Call) error {
	last := error(syscall.ESRCH)
	for _, c := range calls {
		switch _, errno := c.Result(); errno {
		case 0:
			return nil
		case syscall.ESRCH: // it has ended meanwhile
		default:
			last = errno
		}
	}
	return last
}
