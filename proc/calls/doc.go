// Package calls carries out system calls that concern processes of other hosts, for callers that wait in a seccomp notification.
//
// The daemon believes the kernel and not the session that tells it of a call: number and arguments are read from /proc/TID/syscall, where a
// thread that waits shows them, whose rights it has from /proc/TID/status, and its memory by /proc/TID/mem. So whoever may
// speak to the daemon can have nothing done but what a thread of his asks its kernel for at that moment. What is read from
// memory another thread may change: it is read once, and nothing but the call itself follows from it.
//
// Terms. The home of a caller is the host whose pid space its own number is of, which a host part of 0 means. An answer is value or errno,
// as the kernel gives them to a program; Continue says that nothing of the call concerns another host, so that the kernel may have it.
//
// What cannot be done for a process elsewhere, and the errno (onehost-pids(7) has the list for people):
//
//   - wait4, waitid: ECHILD. A child by another name than its number at home is none; its ghost is waited for natively.
//   - setpgid: ESRCH for a process elsewhere, EPERM for a group elsewhere, as for what is neither oneself nor a child.
//   - pidfd_open of another home's process: EOPNOTSUPP. A descriptor would have to carry signals both ways.
//   - ptrace, kcmp, migrate_pages, move_pages, get_robust_list: EOPNOTSUPP; they need one kernel for both.
//
// Traps. The user of a thread can let it go on while we look, and have it become a set-uid program: rights must not be read a moment later than
// the call, nor results be written into what the thread has become. Read sees to the first, and a descriptor of the memory, opened
// with it, to the second.
package calls
