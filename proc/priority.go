package proc

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// ioprio is the kernel's word for Which in ioprio_get and ioprio_set; that in getpriority and setpriority is Which itself.
func (w Which) ioprio() int { return int(w) + 1 }

// Priority implements Process. Everybody may ask.
func (l *Local) Priority(_ context.Context, _ *Caller, of Which) (int, error) {
	n, err := unix.Getpriority(int(of), l.number())
	return 20 - n, err // the system call gives 20-nice, to stay positive
}

// SetPriority implements Process.
func (l *Local) SetPriority(ctx context.Context, who *Caller, of Which, nice int) error {
	_, err := one(ctx, who, sys.NewCall(unix.SYS_SETPRIORITY, int(of), l.number(), nice))
	return err
}

// IOPriority implements Process.
func (l *Local) IOPriority(ctx context.Context, who *Caller, of Which) (int, error) {
	return one(ctx, who, sys.NewCall(unix.SYS_IOPRIO_GET, of.ioprio(), l.number()))
}

// SetIOPriority implements Process.
func (l *Local) SetIOPriority(ctx context.Context, who *Caller, of Which, prio int) error {
	_, err := one(ctx, who, sys.NewCall(unix.SYS_IOPRIO_SET, of.ioprio(), l.number(), prio))
	return err
}
