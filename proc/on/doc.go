// Package on runs a command on another host as a process of that host: `onehost on HOST CMD`.
//
// # Terms
//
// The caller is the program that asked, by the control socket of its own host. The home is the daemon there (Home), the host where the
// command runs has the Server; they speak over one stream of method "proc.on" for each command. A host may be its own home: then the
// stream goes through memory. Unlike a job (package jobs) the command sees HOST's own tree, has a number of HOST's, and is no
// child of anything at home.
//
// # What it is allowed
//
// What the kernel of the home says of the caller when he asks, never what he says himself: his effective ids and supplementary
// groups, no_new_privs, his limits and nice value. No capability that the caller lacks can come back there, whatever is executed: the
// bounding set is cut to his. A caller in another root or user name space, or in a sandbox of his own, is refused, because these cannot
// be taken along. The kernel of HOST does the rest: directory and program are tried by the command's own process, after it has given
// up root, and never looked at on its behalf.
//
// # Descriptors
//
// Without a terminal the command has three pipes, with one it has a pty, which it leads as a new session. Each descriptor is a
// carrier's source at one end and a sink at the other, with a window of its own, so that a reader who does not read holds
// up nobody else. An end of file crosses, and so does the news that nobody reads any more: the writer gets his SIGPIPE.
//
// # The end
//
// The command is held by a cgroup. At its normal end what it left in the background lives on, as after a login; its output is waited
// for, as long as anybody holds it, unless it is a terminal, which hangs up. When the caller, the home or the way to it dies, everything
// in the cgroup gets SIGHUP and SIGCONT, and what lives 2 s later is killed. The command is not reaped before all is over: so its
// number and its group's cannot become another's while signals are passed on.
//
// A daemon that is killed takes no command along that ended; those that still ran are killed by the daemon that comes after it.
//
// # Locks
//
// Server.mu, leftovers.mu, source.mu and sink.mu are leaves: nothing is waited for under them.
//
// # Traps
//
// The command begins in the daemon's memory (sys.Clone): until it has executed its program nothing but raw calls may be made there. A
// pipe belongs to whoever made it; it is given to the user, or he could not open /dev/stderr. What a dead process wrote to its terminal may not have
// reached the master yet: a read there that would block says that all has come, a poll does not.
package on
