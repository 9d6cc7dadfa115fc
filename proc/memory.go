package proc

import (
	"context"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// ReadMemory implements Process.
func (l *Local) ReadMemory(ctx context.Context, who *Caller, b []byte, from []sys.Span) (int, error) {
	return l.memory(ctx, who, unix.SYS_PROCESS_VM_READV, b, from)
}

// WriteMemory implements Process.
func (l *Local) WriteMemory(ctx context.Context, who *Caller, b []byte, to []sys.Span) (int, error) {
	return l.memory(ctx, who, unix.SYS_PROCESS_VM_WRITEV, b, to)
}

// memory copies between b and the process. The one who does it is no kin of a caller who is spared, nor of the process: a machine where only a
// parent may look into its children (Yama) lets only root through.
func (l *Local) memory(ctx context.Context, who *Caller, nr int, b []byte, spans []sys.Span) (int, error) {
	if len(b) > MaxMemory || len(spans) > MaxSpans {
		return 0, syscall.EINVAL
	}
	c := sys.NewCall(nr, l.number()).Vectors(1, b, spans)
	return outcome(c, asOn(ctx, who, l.number(), c))
}
