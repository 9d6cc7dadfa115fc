// Package nest runs the processes of one home on a helper host.
//
// A nest is a pid, mount, uts and ipc name space; the network is the helper's. Its root is the home's tree, so that every
// name means there what it means at home, and its pid 1 is an init of ours. A process moved there is made by that init with
// clone3's set_tid, so that it keeps the number it has at home; its descendants draw theirs from a block that the home leased
// to this nest.
//
// Terms. The daemon is the process that calls Open; the init is pid 1 of the nest, the daemon's own binary run again
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
// What is guaranteed of numbers. A started process has exactly the number asked for, or Start fails with EEXIST. Numbers of its
// descendants lie in [PidFirst, PidLast] as long as fewer are forked (threads count) between two looks at the cursor than are left of
// the block: a quarter of it within 10 ms, all of it within 40 ms. One look is made at every start, too. Past the end of the block the kernel would wrap to
// 300, silently; nothing gets a number above PidLast.
//
// Death. When the daemon dies the init sees end of file, aborts the FUSE connection (so that no process waits in it
// for ever) and exits; the kernel then ends everything in the pid name space. When the init dies the daemon sees end of file and
// every process's Events end with Lost.
//
// Traps. Never touch the nest's root from the daemon while holding a lock that the file server needs: Open and Start wait for
// the init, and the init waits for the file server. A job that calls setsid itself gets EPERM, being a group leader. The nest's
// devices are made anew: its terminals are those of its own devpts (PTMX), never the home's.
//
// Lock order, in the init: server.mu, then groups.mu. server.mu is held across clone, never across I/O on the socket.
package nest
