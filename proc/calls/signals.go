package calls

import (
	"context"
	"encoding/binary"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc"
)

// Offsets in siginfo_t, on 64-bit machines.
const (
	infoSignal = 0
	infoCode   = 8
	infoPid    = 16
)

// Values of si_code.
const (
	siQueue = -1
	siTkill = -6
)

func kill(ctx context.Context, c *Call) Answer {
	pid, sig := c.number(0), c.number(1)
	switch {
	case pid > 0:
		return done(c.process(0).Signal(ctx, c.Who, proc.Signal{Number: sig}))
	case pid == 0: // the caller's own group, whose ghosts know
		return Answer{Continue: true}
	case pid == -1 && c.Home == c.space.Self(): // the kernel reaches all but what was forked elsewhere
		if err := c.space.SignalLeased(ctx, c.Who, sig); err == nil && sig == 0 {
			return Answer{}
		}
		return Answer{Continue: true}
	case pid == math.MinInt32:
		return fails(syscall.ESRCH)
	}
	c.Args[0] = uint64(uint32(-pid))
	scope := proc.ToGroup
	if names.Pid(c.Args[0]).Local() == 1 { // as kill(-1), at that host
		scope = proc.ToAll
	}
	return done(c.group(0).Signal(ctx, c.Who, proc.Signal{Number: sig, Scope: scope}))
}

func tkill(ctx context.Context, c *Call) Answer {
	if c.number(0) <= 0 {
		return fails(syscall.EINVAL)
	}
	return done(c.process(0).Signal(ctx, c.Who, proc.Signal{Number: c.number(1), Scope: proc.ToThread}))
}

// thread finds the thread of arguments 0, its process, and 1. Both are of one home.
func (c *Call) thread() (proc.Process, error) {
	if c.number(0) <= 0 || c.number(1) <= 0 {
		return nil, syscall.EINVAL
	}
	if c.pid(0).Host() != c.pid(1).Host() {
		return nil, syscall.ESRCH
	}
	return c.process(1), nil
}

func tgkill(ctx context.Context, c *Call) Answer {
	p, err := c.thread()
	if err != nil {
		return fails(err)
	}
	return done(p.Signal(ctx, c.Who, proc.Signal{Number: c.number(2), Scope: proc.ToThread, Leader: c.pid(0).Local()}))
}

// info reads the siginfo_t of a queued signal. What looks as if the kernel or kill had sent it only they may send; the kernel itself says
// EPERM for that at whatever other process.
func (c *Call) info(at uint64, sig int, to names.Pid) ([]byte, error) {
	b, err := c.read(at, proc.InfoSize)
	if err != nil {
		return nil, err
	}
	binary.NativeEndian.PutUint32(b[infoSignal:], uint32(sig)) // as the kernel does
	code := int32(binary.NativeEndian.Uint32(b[infoCode:]))
	if code >= 0 || code == siTkill {
		return nil, syscall.EPERM
	}
	if code == siQueue && to.Host() != c.Home { // the sender's number as the receiver must use it
		from := names.Pid(binary.NativeEndian.Uint32(b[infoPid:]))
		binary.NativeEndian.PutUint32(b[infoPid:], uint32(c.full(from)))
	}
	return b, nil
}

func sigqueue(ctx context.Context, c *Call) Answer {
	if c.number(0) <= 0 {
		return fails(syscall.ESRCH)
	}
	info, err := c.info(c.Args[2], c.number(1), c.pid(0))
	if err != nil {
		return fails(err)
	}
	return done(c.process(0).Signal(ctx, c.Who, proc.Signal{Number: c.number(1), Info: info}))
}

func tgsigqueue(ctx context.Context, c *Call) Answer {
	p, err := c.thread()
	if err != nil {
		return fails(err)
	}
	info, err := c.info(c.Args[3], c.number(2), c.pid(1))
	if err != nil {
		return fails(err)
	}
	return done(p.Signal(ctx, c.Who, proc.Signal{Number: c.number(2), Scope: proc.ToThread, Leader: c.pid(0).Local(), Info: info}))
}

// pidfdOpen gives a pidfd of a process of this host, that of the ghost for a job elsewhere: the kernel at home knows of the end of either,
// and passes signals to it.
func pidfdOpen(ctx context.Context, c *Call) Answer {
	pid, flags := c.pid(0), c.number(1)
	if c.number(0) <= 0 {
		return fails(syscall.EINVAL)
	}
	p := c.process(0)
	switch p.(type) {
	case *proc.Local, *proc.Away:
		if pid.Host() != c.space.Self() {
			break
		}
		fd, err := unix.PidfdOpen(pid.Local(), flags)
		if err != nil {
			return fails(err)
		}
		return Answer{File: os.NewFile(uintptr(fd), "pidfd")}
	}
	if _, err := p.Where(ctx); err != nil {
		return fails(err)
	}
	return fails(syscall.EOPNOTSUPP)
}

// noChild answers a wait: what has another host's number is nobody's child here.
func noChild(context.Context, *Call) Answer { return fails(syscall.ECHILD) }

// ptrace is refused for whom one would begin to trace; nobody else elsewhere is a tracee.
func ptrace(ctx context.Context, c *Call) Answer {
	switch c.number(0) {
	case unix.PTRACE_ATTACH, unix.PTRACE_SEIZE:
		return refusedFor(1)(ctx, c)
	}
	return fails(syscall.ESRCH)
}

// refusedFor makes what cannot be done for processes elsewhere, named by the arguments; one that is not there is ESRCH all the same.
func refusedFor(args ...int) func(context.Context, *Call) Answer {
	return func(ctx context.Context, c *Call) Answer {
		for _, arg := range args {
			if _, err := c.space.Process(c.pid(arg)).Where(ctx); err != nil {
				return fails(err)
			}
		}
		return fails(syscall.EOPNOTSUPP)
	}
}
