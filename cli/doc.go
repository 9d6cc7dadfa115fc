// Package cli is the command line: the commands a person types, over the daemon's control socket. It knows control
// and names and never the daemon's own parts; what it cannot do itself, running a session and splitting a machine,
// is given to it as Parts by the program that joins them.
//
// Terms. An Env is everything a command sees of the world besides the daemon: streams, environment, where settings
// files are. Nothing here reads os.Args, os.Stdout or the process's environment, so the whole command line runs
// inside tests. A setting is a flag that may also be given by environment and by settings files, in the order
// flag, ONEHOST_NAME, the user's file, the system's file: the flag's own parser reads all four.
//
// Exits. 0 for success; 1 for a failure, told in one line "onehost: …" on stderr; 2 for a command line that makes no
// sense, with a hint. run and on are the exceptions: their status is their command's, so their own failures are 125, 126 when the
// command cannot be executed and 127 when it is not found, as env(1) has it.
//
// Traps. run's flags end at the first word that is not a flag, so that make's -j8 is make's; on's may also follow the host. Signals belong
// to the session while one runs, and to the command while on stands for one: only the other commands turn SIGINT into giving up
// their call. The daemon never gets our own standard descriptors, which others may share: it has pipes, and on carries.
package cli
