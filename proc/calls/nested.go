package calls

import (
	"context"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/nest"
)

// Nested carries out a call of a process of another home that runs here, as its nest tells it: the nest's init is a process of this
// daemon's. What the number 0 of a group means, the nest knows; what -1 means is everybody of the home.
func Nested(ctx context.Context, s Space, home names.Host, n nest.Call) nest.Result {
	c, err := Read(n.TID)
	if err != nil {
		return nest.Result{Errno: syscall.ESRCH} // it was killed meanwhile
	}
	defer c.Close()
	if c.Nr != n.Nr {
		return nest.Result{Errno: syscall.ESRCH}
	}
	c.Args = n.Args
	if c.Nr == unix.SYS_KILL && c.number(0) == -1 {
		all := int32(names.MakePid(home, 1))
		c.Args[0] = uint64(-int64(all))
	}
	a := c.Perform(ctx, s, home, n.Pid)
	if a.Continue { // nothing that is meant here is the kernel's here
		a.Errno = syscall.ESRCH
	}
	return nest.Result{Value: a.Value, Errno: a.Errno, File: a.File}
}
