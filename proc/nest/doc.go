// Package nest runs the processes of one home on a helper host.
//
// A nest is a pid, mount, uts and ipc name space; the network is the helper's. Its root is the home's tree, so that every
// name means there what it means at home, and its pid 1 is an init of ours. A process moved there is made by that init with
// clone3's set_tid, so that it keeps the number it has at home; its descendants draw theirs from a block that the home leased
// to this nest.
//
// Terms. The daemon is the process that calls Open (the helper's carrier of the home, which is not its onehostd); the init is pid 1 of the nest, the daemon's own binary run again
// (Reexec). They talk over a SEQPACKET socket pair. A job is one process started by Start together with all its descendants.
//
// How a job starts. The init turns the Spec into a list of raw system calls (sys.Program), clones, and the child runs that
// list and execs. A step that fails is reported through a close-on-exec pipe, so Start returns only when execve has succeeded or
// with the step that did not.
//
// How a job is held. Each job is born in a cgroup of its own (v2, no controllers, so nothing is accounted twice), and
// cgroup.kill ends the whole tree, daemonized descendants too. The cgroups are kept and used again, so a job pays for an
// open group, not for a new one. A job leads a process group, in the init's session: with a session of its own its group
// would be orphaned, and the kernel drops SIGTSTP for such.
//
// What is guaranteed of numbers. A started process has exactly the number asked for, or Start fails with EEXIST. The number of every
// descendant, processes and threads, lies in [PidFirst, PidLast] or another block that was leased: past the end the kernel would wrap to 300, silently.
// Threads are notified and counted before the kernel makes them (numbers; while there are plenty left, by a bare thread, sys.Turnstile);
// for processes another bare thread (sys.Cursor) sets the next number back in time. A nest that uses more than half of its numbers asks for another
// block (Config.More), and its jobs are frozen meanwhile. When all are in use, no thread can be made (EAGAIN), and a process with a number from elsewhere is killed at once.
//
// What a process is told. One seccomp filter (intercept.Nests) with one listener is on everything in the nest: it is put on one thread
// of the init, which makes the jobs and does nothing else (maker). The init answers. getppid, getpgrp, getpgid and getsid
// say what they would at home, and setsid and setpgid do what they would there (the home hears of it: Regrouped). A call
// about a process that is not in the nest goes to Config.Call. All else is the kernel's, and so are processes in pid name spaces that were made inside of the nest, but for the
// counting of their forks.
//
// A job's process leads a group of the kernel's that stands for the group it is in at home, of which there may be members anywhere: so
// a signal to its own group goes by way of the home, and comes back as an order for the group, by Signal. Groups and sessions that
// were made in the nest have no members elsewhere but the ghost, and are the kernel's alone.
//
// Death. When the daemon dies the init sees end of file, aborts the FUSE connection (so that no process waits in it
// for ever) and exits; the kernel then ends everything in the pid name space. When the init dies the daemon sees end of file and
// every process's Events end with Lost.
//
// Traps. Never touch the nest's root from the daemon while holding a lock that the file server needs: Open and Start wait for
// the init, and the init waits for the file server. The nest's
// devices are made anew: its terminals are those of its own devpts (PTMX), never the home's.
//
// What no answer reaches: numbers that the kernel itself puts somewhere, as si_pid of a signal from outside of the nest (0), SO_PEERCRED
// of the daemon, tcgetpgrp, and all of /proc; wait for a group of the home's number (the kernel knows it by the job's own); a job's process
// that has called setsid cannot acquire a controlling terminal.
//
// Lock order, in the init: server.mu, then groups.mu or numbers.mu. server.mu is held across clone, never across I/O on the socket. Nothing
// that the listener's goroutine waits for may wait for a process of the nest.
package nest
