package calls

import (
	"context"
	"encoding/binary"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/proc"
)

func getpgid(ctx context.Context, c *Call) Answer {
	n, err := c.process(0).Group(ctx, c.Who)
	return value(c.ours(c.pid(0), n), err)
}

func getsid(ctx context.Context, c *Call) Answer {
	n, err := c.process(0).Session(ctx, c.Who)
	return value(c.ours(c.pid(0), n), err)
}

// setpgid is for the caller himself and for his children, who are known by their plain numbers; and no group elsewhere is of his session.
func setpgid(_ context.Context, c *Call) Answer {
	if c.number(0) < 0 || c.number(1) < 0 {
		return fails(syscall.EINVAL)
	}
	if c.number(0) == 0 || c.pid(0).Host() == c.Home && c.number(0) <= 0xffff {
		return fails(syscall.EPERM)
	}
	return fails(syscall.ESRCH)
}

// of finds what the arguments 0, which, and 1 name; first is what the kernel calls a process there.
func (c *Call) of(first int) (proc.Process, proc.Which, error) {
	switch c.number(0) - first {
	case int(proc.OfProcess):
		return c.process(1), proc.OfProcess, nil
	case int(proc.OfGroup):
		return c.group(1), proc.OfGroup, nil
	}
	return nil, 0, syscall.EINVAL
}

// ioprioWhoProcess is IOPRIO_WHO_PROCESS.
const ioprioWhoProcess = 1

func getpriority(ctx context.Context, c *Call) Answer {
	p, which, err := c.of(unix.PRIO_PROCESS)
	if err != nil {
		return fails(err)
	}
	nice, err := p.Priority(ctx, c.Who, which)
	return value(int64(20-nice), err) // as the kernel gives it, to stay positive
}

func setpriority(ctx context.Context, c *Call) Answer {
	p, which, err := c.of(unix.PRIO_PROCESS)
	if err != nil {
		return fails(err)
	}
	return done(p.SetPriority(ctx, c.Who, which, c.number(2)))
}

func ioprioGet(ctx context.Context, c *Call) Answer {
	p, which, err := c.of(ioprioWhoProcess)
	if err != nil {
		return fails(err)
	}
	prio, err := p.IOPriority(ctx, c.Who, which)
	return value(int64(prio), err)
}

func ioprioSet(ctx context.Context, c *Call) Answer {
	p, which, err := c.of(ioprioWhoProcess)
	if err != nil {
		return fails(err)
	}
	return done(p.SetIOPriority(ctx, c.Who, which, c.number(2)))
}

func getaffinity(ctx context.Context, c *Call) Answer {
	mask := make([]byte, min(uint64(uint32(c.Args[1])), proc.MaxAffinity))
	n, err := c.process(0).Affinity(ctx, c.Who, mask)
	if err == nil {
		err = c.write(c.Args[2], mask[:n])
	}
	return value(int64(n), err)
}

func setaffinity(ctx context.Context, c *Call) Answer {
	mask, err := c.read(c.Args[2], int(min(uint64(uint32(c.Args[1])), proc.MaxAffinity)))
	if err != nil {
		return fails(err)
	}
	return done(c.process(0).SetAffinity(ctx, c.Who, mask))
}

func getscheduler(ctx context.Context, c *Call) Answer {
	n, err := c.process(0).Scheduler(ctx, c.Who)
	return value(int64(n), err)
}

// param reads a struct sched_param.
func (c *Call) param(arg int) (int, error) {
	if c.Args[arg] == 0 {
		return 0, syscall.EINVAL
	}
	b, err := c.read(c.Args[arg], 4)
	if err != nil {
		return 0, err
	}
	return int(int32(binary.NativeEndian.Uint32(b))), nil
}

func setscheduler(ctx context.Context, c *Call) Answer {
	priority, err := c.param(2)
	if err != nil {
		return fails(err)
	}
	return done(c.process(0).SetScheduler(ctx, c.Who, c.number(1), priority))
}

func getparam(ctx context.Context, c *Call) Answer {
	if c.Args[1] == 0 {
		return fails(syscall.EINVAL)
	}
	n, err := c.process(0).SchedParam(ctx, c.Who)
	if err == nil {
		err = c.write(c.Args[1], binary.NativeEndian.AppendUint32(nil, uint32(n)))
	}
	return done(err)
}

func setparam(ctx context.Context, c *Call) Answer {
	priority, err := c.param(1)
	if err != nil {
		return fails(err)
	}
	return done(c.process(0).SetSchedParam(ctx, c.Who, priority))
}

// firstSchedAttr is the size of the first struct sched_attr, which a size of 0 stands for.
const firstSchedAttr = 48

func getattr(ctx context.Context, c *Call) Answer {
	size := c.number(2)
	if c.Args[1] == 0 || size < firstSchedAttr || size > proc.MaxSchedAttr {
		return fails(syscall.EINVAL)
	}
	attr := make([]byte, size)
	err := c.process(0).SchedAttr(ctx, c.Who, attr, c.number(3))
	if err == nil {
		known := min(int(binary.NativeEndian.Uint32(attr)), size) // the kernel writes no more than it knows
		err = c.write(c.Args[1], attr[:known])
	}
	return done(err)
}

func setattr(ctx context.Context, c *Call) Answer {
	if c.Args[1] == 0 {
		return fails(syscall.EINVAL)
	}
	head, err := c.read(c.Args[1], 4)
	if err != nil {
		return fails(err)
	}
	size := binary.NativeEndian.Uint32(head)
	if size == 0 {
		size = firstSchedAttr
	}
	if size < firstSchedAttr || size > proc.MaxSchedAttr {
		return fails(syscall.E2BIG)
	}
	attr, err := c.read(c.Args[1], int(size))
	if err != nil {
		return fails(err)
	}
	binary.NativeEndian.PutUint32(attr, size) // another thread may have changed it
	return done(c.process(0).SetSchedAttr(ctx, c.Who, attr, c.number(2)))
}

func rrInterval(ctx context.Context, c *Call) Answer {
	d, err := c.process(0).RRInterval(ctx, c.Who)
	if err == nil {
		b := binary.NativeEndian.AppendUint64(nil, uint64(d/time.Second))
		err = c.write(c.Args[1], binary.NativeEndian.AppendUint64(b, uint64(d%time.Second)))
	}
	return done(err)
}

func prlimit(ctx context.Context, c *Call) Answer {
	var set *proc.Limit
	if c.Args[2] != 0 {
		b, err := c.read(c.Args[2], 16)
		if err != nil {
			return fails(err)
		}
		l := proc.ParseLimit(b)
		set = &l
	}
	was, err := c.process(0).Limit(ctx, c.Who, c.number(1), set)
	if err == nil && c.Args[3] != 0 {
		err = c.write(c.Args[3], was.Bytes())
	}
	return done(err)
}
