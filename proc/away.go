package proc

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Away is a job of this home that is elsewhere. Its family is its ghost's: those are the real ones, of which the nest has only a picture; and
// the ghost ends as the job ended. What is set for the job is set for the ghost too, if it worked, so that who asks the kernel at home is told
// the same.
type Away struct {
	*Remote
	Ghost *Local
}

// Signal implements Process. A job that has just ended still has its ghost, which is as a process that nobody has waited for yet. A ghost that
// is stopped passes a SIGCONT on. It may have been stopped itself, by a SIGSTOP of which its job is still to hear: one
// that came to the job first would continue nobody, and the stop that follows would last.
func (a *Away) Signal(ctx context.Context, who *Caller, s Signal) error {
	if s.Number == int(unix.SIGCONT) && a.Ghost.Stopped() {
		return a.Ghost.Signal(ctx, who, s)
	}
	err := a.Remote.Signal(ctx, who, s)
	if errors.Is(err, syscall.ESRCH) {
		return a.Ghost.Signal(ctx, who, s)
	}
	return err
}

// Stopped reports whether a process is stopped by a signal of job control, or about to be by SIGSTOP.
func (l *Local) Stopped() bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(l.number()) + "/status")
	if err != nil {
		return false
	}
	for line := range bytes.Lines(b) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch string(key) {
		case "State":
			if bytes.HasPrefix(value, []byte("T")) {
				return true
			}
		case "SigPnd", "ShdPnd":
			set, err := strconv.ParseUint(string(value), 16, 64)
			if err == nil && set&(1<<(unix.SIGSTOP-1)) != 0 {
				return true
			}
		}
	}
	return false
}

// Wait implements Process.
func (a *Away) Wait(ctx context.Context) (Status, error) { return a.Ghost.Wait(ctx) }

// Parent implements Process.
func (a *Away) Parent(ctx context.Context, who *Caller) (int, error) { return a.Ghost.Parent(ctx, who) }

// Group implements Process.
func (a *Away) Group(ctx context.Context, who *Caller) (int, error) { return a.Ghost.Group(ctx, who) }

// Session implements Process.
func (a *Away) Session(ctx context.Context, who *Caller) (int, error) {
	return a.Ghost.Session(ctx, who)
}

// SetGroup implements Process.
func (a *Away) SetGroup(ctx context.Context, who *Caller, group int) error {
	return a.Ghost.SetGroup(ctx, who, group)
}

// SetPriority implements Process.
func (a *Away) SetPriority(ctx context.Context, who *Caller, of Which, nice int) error {
	if err := a.Remote.SetPriority(ctx, who, of, nice); err != nil {
		return err
	}
	return a.Ghost.SetPriority(ctx, who, of, nice)
}

// SetIOPriority implements Process.
func (a *Away) SetIOPriority(ctx context.Context, who *Caller, of Which, prio int) error {
	if err := a.Remote.SetIOPriority(ctx, who, of, prio); err != nil {
		return err
	}
	return a.Ghost.SetIOPriority(ctx, who, of, prio)
}

// SetScheduler implements Process.
func (a *Away) SetScheduler(ctx context.Context, who *Caller, policy, priority int) error {
	if err := a.Remote.SetScheduler(ctx, who, policy, priority); err != nil {
		return err
	}
	return a.Ghost.SetScheduler(ctx, who, policy, priority)
}

// SetSchedParam implements Process.
func (a *Away) SetSchedParam(ctx context.Context, who *Caller, priority int) error {
	if err := a.Remote.SetSchedParam(ctx, who, priority); err != nil {
		return err
	}
	return a.Ghost.SetSchedParam(ctx, who, priority)
}

// SetSchedAttr implements Process.
func (a *Away) SetSchedAttr(ctx context.Context, who *Caller, attr []byte, flags int) error {
	if err := a.Remote.SetSchedAttr(ctx, who, attr, flags); err != nil {
		return err
	}
	return a.Ghost.SetSchedAttr(ctx, who, attr, flags)
}

// SetAffinity implements Process. CPUs are those of the job's host, of which the ghost's may have none: then it keeps its own.
func (a *Away) SetAffinity(ctx context.Context, who *Caller, mask []byte) error {
	if err := a.Remote.SetAffinity(ctx, who, mask); err != nil {
		return err
	}
	_ = a.Ghost.SetAffinity(ctx, who, mask)
	return nil
}

// Limit implements Process.
func (a *Away) Limit(ctx context.Context, who *Caller, resource int, set *Limit) (Limit, error) {
	was, err := a.Remote.Limit(ctx, who, resource, set)
	if err == nil && set != nil {
		_, err = a.Ghost.Limit(ctx, who, resource, set)
	}
	return was, err
}
