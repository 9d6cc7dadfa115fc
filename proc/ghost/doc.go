// Package ghost leaves something at home in the place of a process that runs elsewhere: a real entry of the
// process table with the same pid, name and parent, about 20 kB, that forwards the signals it gets and ends as the
// process ended. So wait, kill, ps, process groups and the terminal stay native at home.
//
// A ghost is made of the image that exec just loaded. Takeover seizes the caller of a notified exec, lets the exec
// happen, and holds the new image at PTRACE_EVENT_EXEC: nothing of it ran, its memory is its own, its other threads are
// gone, a vfork parent is released. Convert then writes the stub (stub_amd64.S) over its first instructions and lets it go. The
// stub closes every descriptor and asks for its socket by a kill of Hello, a pid that no process can have and that the
// filter therefore notifies: whoever serves the listener answers with Ghost.Attach.
//
// Terms. An order goes to the ghost (exit, die, stop, re-exec), a Signal comes from it. To re-exec is to run the
// command here after all: the supervisor puts the saved descriptors back (Restore, the answer to a kill of Restore) and
// the stub execs the same file with the same arguments, signal mask and dispositions.
//
// Traps. All of Takeover happens on one thread, and so does every call on a Held: lock the goroutine to it. No
// thread of the process may wait for children by waitid(P_ALL), or it steals the events; wait by pidfd. A ghost whose
// socket closes dies by SIGKILL: it must not outlive its supervisor. A signal sent from outside by SIGSTOP is not seen by
// the stub, since it cannot be blocked; State tells. What execs a file without x86-64 code cannot become a ghost.
package ghost
