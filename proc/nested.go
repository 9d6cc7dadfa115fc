package proc

import (
	"context"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// Nested is a process of another home that runs here. It holds its pidfd, which is closed by Close. Signals go by that; the other
// operations go by its number on this host, learnt when it was opened: one is made for each operation.
type Nested struct {
	*Local // its number in this host's own pid space
	pidfd  *os.File
	proc   *os.File // a /proc of its nest, and its number there; nil: nobody has said
	inner  int
}

// NewNested takes over the pidfd, not blocking, of a process in a nest. ESRCH: it has ended.
func NewNested(pidfd *os.File) (*Nested, error) {
	n := numberOf(pidfd)
	if n <= 0 {
		pidfd.Close()
		return nil, syscall.ESRCH
	}
	return &Nested{Local: Here(n), pidfd: pidfd}, nil
}

// Close gives up the pidfd.
func (n *Nested) Close() { n.pidfd.Close() }

// Flags of pidfd_send_signal(2).
const (
	pidfdSignalThread = 1
	pidfdSignalGroup  = 4
)

// Signal implements Process. A signal sent from outside of a pid name space comes from pid 0 there.
func (n *Nested) Signal(ctx context.Context, who *Caller, s Signal) error {
	if s.Info != nil && len(s.Info) != InfoSize {
		return syscall.EINVAL
	}
	flags := 0
	switch s.Scope {
	case ToThread:
		flags = pidfdSignalThread
		if leader, err := n.leader(); err != nil || s.Leader != 0 && leader != s.Leader {
			return syscall.ESRCH
		}
	case ToGroup:
		flags = pidfdSignalGroup
	case ToAll:
		return syscall.ESRCH // the space is its home's
	}
	rc, err := n.pidfd.SyscallConn()
	if err != nil {
		return syscall.ESRCH
	}
	var serr error
	err = rc.Control(func(fd uintptr) {
		_, serr = one(ctx, who, sys.NewCall(unix.SYS_PIDFD_SEND_SIGNAL, int(fd), s.Number, 0, flags).Buffer(2, s.Info))
	})
	if err != nil {
		return syscall.ESRCH
	}
	return serr
}

// leader gives the number, in its own space, of the process that it is or is a thread of.
func (n *Nested) leader() (int, error) { return innermost(n.number(), "NStgid") }

// Wait implements Process.
func (n *Nested) Wait(ctx context.Context) (Status, error) {
	return awaitEnd(ctx, n.pidfd, n.number())
}

// Parent implements Process.
func (n *Nested) Parent(ctx context.Context, who *Caller) (int, error) {
	parent, err := n.Local.Parent(ctx, who)
	if err != nil {
		return 0, err
	}
	if depth(parent) < 2 {
		return 0, nil // the nest's maker
	}
	return innermost(parent, "NSpid")
}

// Group implements Process.
func (n *Nested) Group(context.Context, *Caller) (int, error) {
	return innermost(n.number(), "NSpgid")
}

// Session implements Process.
func (n *Nested) Session(context.Context, *Caller) (int, error) {
	return innermost(n.number(), "NSsid")
}

// SetGroup implements Process: nobody who calls from outside is its parent.
func (n *Nested) SetGroup(context.Context, *Caller, int) error { return syscall.ESRCH }
