package proc

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// killTime is how long a child that was killed may take to end before it is left to end by itself.
const killTime = time.Second

// as makes the calls with the caller's rights. Their results may be read only if it gives nil.
func as(ctx context.Context, who *Caller, calls ...*sys.Call) error {
	return asOn(ctx, who, 0, calls...)
}

// asOn is as for calls that are about the memory of the process other, if that is not 0.
func asOn(ctx context.Context, who *Caller, other int, calls ...*sys.Call) error {
	if who.spared() {
		for _, c := range calls {
			c.Do()
		}
		return nil
	}
	if who.UID != [3]uint32{} && debuggable() {
		return syscall.EPERM
	}
	child, errno := sys.StartAs(who.identity(), other != 0, other, calls...)
	if errno != 0 {
		return errno
	}
	pid := child.Pid
	ended := make(chan error, 1)
	var mu sync.Mutex // guards reaped: the number is the child's until then
	reaped := false
	go func() {
		var err error
		for {
			if err = unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		mu.Lock()
		if err == nil {
			for {
				if _, err = unix.Wait4(pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
					break
				}
			}
		}
		reaped = true
		mu.Unlock()
		if _, errno := child.Finish(); errno != 0 && err == nil {
			err = errno
		}
		ended <- err
	}()
	limit := time.NewTimer(OperationTime)
	defer limit.Stop()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	case <-limit.C:
	}
	mu.Lock()
	if !reaped {
		_ = unix.Kill(pid, unix.SIGKILL) // it is there, dead or alive
	}
	mu.Unlock()
	limit.Reset(killTime)
	select {
	case err := <-ended:
		if err != nil {
			return err
		}
	case <-limit.C:
	}
	return syscall.ETIMEDOUT // what it did is not known
}

// debuggable reports whether processes that change their ids may be traced by their new user, as a setting of the machine for
// debugging has it: through a child that acts for him he could then read this daemon's memory.
func debuggable() bool {
	b, err := os.ReadFile("/proc/sys/fs/suid_dumpable")
	return err != nil || len(b) > 0 && b[0] == '1'
}

// one makes one call and gives its result.
func one(ctx context.Context, who *Caller, c *sys.Call) (int, error) {
	return outcome(c, as(ctx, who, c))
}

func outcome(c *sys.Call, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, errno := c.Result()
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}
