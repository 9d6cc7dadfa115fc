package proc

import (
	"context"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// Parent implements Process.
func (l *Local) Parent(context.Context, *Caller) (int, error) {
	f := statusField(l.number(), "PPid")
	if len(f) != 1 {
		return 0, syscall.ESRCH
	}
	return atoi(f[0]), nil
}

// Group implements Process.
func (l *Local) Group(context.Context, *Caller) (int, error) { return unix.Getpgid(l.number()) }

// Session implements Process.
func (l *Local) Session(context.Context, *Caller) (int, error) { return unix.Getsid(l.number()) }

// SetGroup implements Process. The kernel asks whose child the process is; of nobody who calls from elsewhere.
func (l *Local) SetGroup(ctx context.Context, who *Caller, group int) error {
	_, err := one(ctx, who, sys.NewCall(unix.SYS_SETPGID, l.number(), group))
	return err
}

// innermost gives the number that a process has in its own pid name space, by the key of /proc/PID/status that lists all of them.
func innermost(pid int, key string) (int, error) {
	f := statusField(pid, key)
	if len(f) == 0 {
		return 0, syscall.ESRCH
	}
	return atoi(f[len(f)-1]), nil
}
