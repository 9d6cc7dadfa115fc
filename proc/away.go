package proc

import (
	"context"
	"errors"
	"syscall"
)

// Away is a job of this home that is elsewhere. Its family is its ghost's: those are the real ones, of which the nest has only a picture; and
// the ghost ends as the job ended. What is set for the job is set for the ghost too, if it worked, so that who asks the kernel at home is told
// the same.
type Away struct {
	*Remote
	Ghost *Local
}

// Signal implements Process. A job that has just ended still has its ghost, which is as a process that nobody has waited for yet.
func (a *Away) Signal(ctx context.Context, who *Caller, s Signal) error {
	err := a.Remote.Signal(ctx, who, s)
	if errors.Is(err, syscall.ESRCH) {
		return a.Ghost.Signal(ctx, who, s)
	}
	return err
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
