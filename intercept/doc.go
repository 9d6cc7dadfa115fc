// Package intercept sees the system calls of a session that concern the cluster, by seccomp user notification: every
// exec, the calls that name a process of another host, the few signals of which a ghost could not tell what they mean (SIGSTOP,
// and one to a process group), and the rare calls that change a setting of another process, which may be a ghost. All else goes
// straight to the kernel.
//
// Terms. A notification is one system call that waits for our answer; its caller sleeps meanwhile. Continue lets the
// kernel carry it out as it was asked. The listener is the descriptor notifications come from; there can be one per
// chain of filters, so a second session inside a session gets EBUSY and joins the outer one. A pid is foreign when
// this host's kernel cannot have given it: its host part (names.Pid) is neither 0 nor, as in kill(-1) and kill(-pgid), 0xffff, or
// its number is above names.MaxNative.
//
// There are two filters: that of a session (Filter), whose notifications a Handler gets, and that of a nest on another host (Nests), in
// which other calls matter, and which is served by Each.
//
// A session's filter is installed in a process made for it, which then execs the command (sys.StartKept); never in the
// supervisor, whose own children would be notified to itself. The listener goes to the supervisor by SCM_RIGHTS.
//
// Traps. What Notification reads from the caller's memory is valid only if Valid says so afterwards: the caller may
// have died and its number been given away. Another thread of the caller may change that memory after we looked, so
// nothing read here may be used to grant anything. When every holder of the listener is gone the notified calls
// return ENOSYS. A notification answered twice, or whose caller died, gives ENOENT, which is no fault.
package intercept

import "errors"

// ErrInside says that the process is inside a session already: its filter has a listener, and there can be only one.
var ErrInside = errors.New("already inside a session")
