package proc

import (
	"context"
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// MaxAffinity bounds a mask of CPUs, in bytes.
const MaxAffinity = 4096

// MaxSchedAttr bounds a struct sched_attr, in bytes; the kernel takes a page.
const MaxSchedAttr = 4096

// Affinity implements Process.
func (l *Local) Affinity(ctx context.Context, who *Caller, mask []byte) (int, error) {
	return one(ctx, who, sys.NewCall(unix.SYS_SCHED_GETAFFINITY, l.number(), len(mask)).Buffer(2, mask))
}

// SetAffinity implements Process.
func (l *Local) SetAffinity(ctx context.Context, who *Caller, mask []byte) error {
	_, err := one(ctx, who, sys.NewCall(unix.SYS_SCHED_SETAFFINITY, l.number(), len(mask)).Buffer(2, mask))
	return err
}

// Scheduler implements Process.
func (l *Local) Scheduler(ctx context.Context, who *Caller) (int, error) {
	return one(ctx, who, sys.NewCall(unix.SYS_SCHED_GETSCHEDULER, l.number()))
}

// SetScheduler implements Process.
func (l *Local) SetScheduler(ctx context.Context, who *Caller, policy, priority int) error {
	_, err := one(ctx, who, sys.NewCall(unix.SYS_SCHED_SETSCHEDULER, l.number(), policy).Buffer(2, param(priority)))
	return err
}

// SchedParam implements Process.
func (l *Local) SchedParam(ctx context.Context, who *Caller) (int, error) {
	b := param(0)
	_, err := one(ctx, who, sys.NewCall(unix.SYS_SCHED_GETPARAM, l.number()).Buffer(1, b))
	if err != nil {
		return 0, err
	}
	return int(int32(binary.NativeEndian.Uint32(b))), nil
}

// SetSchedParam implements Process.
func (l *Local) SetSchedParam(ctx context.Context, who *Caller, priority int) error {
	_, err := one(ctx, who, sys.NewCall(unix.SYS_SCHED_SETPARAM, l.number()).Buffer(1, param(priority)))
	return err
}

// param is a struct sched_param.
func param(priority int) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(priority)) }

// SchedAttr implements Process.
func (l *Local) SchedAttr(ctx context.Context, who *Caller, attr []byte, flags int) error {
	_, err := one(ctx, who, sys.NewCall(unix.SYS_SCHED_GETATTR, l.number(), 0, len(attr), flags).Buffer(1, attr))
	return err
}

// SetSchedAttr implements Process.
func (l *Local) SetSchedAttr(ctx context.Context, who *Caller, attr []byte, flags int) error {
	_, err := one(ctx, who, sys.NewCall(unix.SYS_SCHED_SETATTR, l.number(), 0, flags).Buffer(1, attr))
	return err
}

// RRInterval implements Process.
func (l *Local) RRInterval(ctx context.Context, who *Caller) (time.Duration, error) {
	b := make([]byte, 16) // struct timespec
	_, err := one(ctx, who, sys.NewCall(unix.SYS_SCHED_RR_GET_INTERVAL, l.number()).Buffer(1, b))
	if err != nil {
		return 0, err
	}
	return time.Duration(binary.NativeEndian.Uint64(b))*time.Second + time.Duration(binary.NativeEndian.Uint64(b[8:])), nil
}
