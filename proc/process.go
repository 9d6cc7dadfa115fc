package proc

import (
	"context"
	"time"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/sys"
)

// OperationTime bounds every operation but Wait: they take microseconds at the host that has the process, and what is on the way to it
// answers within this time or is down.
const OperationTime = 5 * time.Second

// Process is one process, thread or process group, wherever it is. The methods may be called by several goroutines. Errors are errnos: ESRCH if
// there is no such process (any more), EPERM or EACCES if the kernel that has it says that the caller may not, EHOSTDOWN if its host is
// dead or does not answer.
type Process interface {
	// Signal sends a signal.
	Signal(ctx context.Context, who *Caller, s Signal) error
	// Wait waits until the process has ended; for long. It is not wait(2): it takes no status away from the parent.
	Wait(ctx context.Context) (Status, error)
	// Where gives the host that it runs on; names.Here if that is this one.
	Where(ctx context.Context) (names.Host, error)

	// Parent, Group and Session give numbers of the home's pid space; 0: outside of it.
	Parent(ctx context.Context, who *Caller) (int, error)
	Group(ctx context.Context, who *Caller) (int, error)
	Session(ctx context.Context, who *Caller) (int, error)
	// SetGroup is setpgid(2), which works for nobody but the process itself and its parent.
	SetGroup(ctx context.Context, who *Caller, group int) error

	// Priority gives the nice value, -20..19.
	Priority(ctx context.Context, who *Caller, of Which) (int, error)
	SetPriority(ctx context.Context, who *Caller, of Which, nice int) error
	// IOPriority gives class and level as ioprio_get(2) packs them.
	IOPriority(ctx context.Context, who *Caller, of Which) (int, error)
	SetIOPriority(ctx context.Context, who *Caller, of Which, prio int) error

	// Affinity reads the CPUs of its host that it may use into mask, and gives how many bytes the kernel has filled.
	Affinity(ctx context.Context, who *Caller, mask []byte) (int, error)
	SetAffinity(ctx context.Context, who *Caller, mask []byte) error
	Scheduler(ctx context.Context, who *Caller) (policy int, err error)
	SetScheduler(ctx context.Context, who *Caller, policy, priority int) error
	SchedParam(ctx context.Context, who *Caller) (priority int, err error)
	SetSchedParam(ctx context.Context, who *Caller, priority int) error
	// SchedAttr reads a struct sched_attr of at most len(attr) bytes.
	SchedAttr(ctx context.Context, who *Caller, attr []byte, flags int) error
	SetSchedAttr(ctx context.Context, who *Caller, attr []byte, flags int) error
	RRInterval(ctx context.Context, who *Caller) (time.Duration, error)

	// Limit gives a resource limit, and changes it if set is not nil.
	Limit(ctx context.Context, who *Caller, resource int, set *Limit) (Limit, error)

	// ReadMemory reads pieces of its memory into b, one after the other, and gives how many bytes were read; at most MaxMemory and
	// MaxSpans.
	ReadMemory(ctx context.Context, who *Caller, b []byte, from []sys.Span) (int, error)
	WriteMemory(ctx context.Context, who *Caller, b []byte, to []sys.Span) (int, error)

	// Look shows what /proc shows of it, at most MaxLooks things at a time; each has an errno of its own. Numbers are of its home's pid space, but
	// the kernel's idea of parent, group and session is that of the nest.
	Look(ctx context.Context, who *Caller, looks []Look) ([]View, error)
}

// Bounds of one reading or writing of memory.
const (
	MaxMemory = 1 << 20 // bytes
	MaxSpans  = 1024    // the kernel's own
)

// Which says what the number of an operation names.
type Which int

// What a number may name.
const (
	OfProcess Which = iota
	OfGroup
)

// Limit is a resource limit; ^uint64(0) is none.
type Limit struct{ Soft, Hard uint64 }

// Status is how a process ended: with Code, or by Signal if that is not 0. Where it cannot be had Known is false.
type Status struct {
	Known  bool
	Code   int
	Signal int
	Core   bool
}
