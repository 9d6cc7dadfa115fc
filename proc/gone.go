package proc

import (
	"context"
	"syscall"
	"time"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/sys"
)

// Gone is a process that cannot be reached: it answers everything with its errno.
type Gone syscall.Errno

// Nobody is a number that nobody has.
const Nobody = Gone(syscall.ESRCH)

func (g Gone) err() error { return syscall.Errno(g) }

// Signal implements Process.
func (g Gone) Signal(context.Context, *Caller, Signal) error { return g.err() }

// Wait implements Process.
func (g Gone) Wait(context.Context) (Status, error) { return Status{}, g.err() }

// Where implements Process.
func (g Gone) Where(context.Context) (names.Host, error) { return names.Here, g.err() }

// Parent implements Process.
func (g Gone) Parent(context.Context, *Caller) (int, error) { return 0, g.err() }

// Group implements Process.
func (g Gone) Group(context.Context, *Caller) (int, error) { return 0, g.err() }

// Session implements Process.
func (g Gone) Session(context.Context, *Caller) (int, error) { return 0, g.err() }

// SetGroup implements Process.
func (g Gone) SetGroup(context.Context, *Caller, int) error { return g.err() }

// Priority implements Process.
func (g Gone) Priority(context.Context, *Caller, Which) (int, error) { return 0, g.err() }

// SetPriority implements Process.
func (g Gone) SetPriority(context.Context, *Caller, Which, int) error { return g.err() }

// IOPriority implements Process.
func (g Gone) IOPriority(context.Context, *Caller, Which) (int, error) { return 0, g.err() }

// SetIOPriority implements Process.
func (g Gone) SetIOPriority(context.Context, *Caller, Which, int) error { return g.err() }

// Affinity implements Process.
func (g Gone) Affinity(context.Context, *Caller, []byte) (int, error) { return 0, g.err() }

// SetAffinity implements Process.
func (g Gone) SetAffinity(context.Context, *Caller, []byte) error { return g.err() }

// Scheduler implements Process.
func (g Gone) Scheduler(context.Context, *Caller) (int, error) { return 0, g.err() }

// SetScheduler implements Process.
func (g Gone) SetScheduler(context.Context, *Caller, int, int) error { return g.err() }

// SchedParam implements Process.
func (g Gone) SchedParam(context.Context, *Caller) (int, error) { return 0, g.err() }

// SetSchedParam implements Process.
func (g Gone) SetSchedParam(context.Context, *Caller, int) error { return g.err() }

// SchedAttr implements Process.
func (g Gone) SchedAttr(context.Context, *Caller, []byte, int) error { return g.err() }

// SetSchedAttr implements Process.
func (g Gone) SetSchedAttr(context.Context, *Caller, []byte, int) error { return g.err() }

// RRInterval implements Process.
func (g Gone) RRInterval(context.Context, *Caller) (time.Duration, error) { return 0, g.err() }

// Limit implements Process.
func (g Gone) Limit(context.Context, *Caller, int, *Limit) (Limit, error) { return Limit{}, g.err() }

// ReadMemory implements Process.
func (g Gone) ReadMemory(context.Context, *Caller, []byte, []sys.Span) (int, error) {
	return 0, g.err()
}

// Look implements Process.
func (g Gone) Look(context.Context, *Caller, []Look) ([]View, error) { return nil, g.err() }

// WriteMemory implements Process.
func (g Gone) WriteMemory(context.Context, *Caller, []byte, []sys.Span) (int, error) {
	return 0, g.err()
}
