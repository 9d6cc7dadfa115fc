package semantics

// Exceptions are the cases that are not the same elsewhere, and why. A case that is listed and does not differ fails the suite.
var Exceptions = map[string]string{
	// What stands at home for a process elsewhere is its ghost, and some calls are about the process that is there.
	"exit/core-dump status":                         "WCOREDUMP is false: a ghost dies by the signal, but without a core, which would be of its own memory",
	"wait/usage is that of the process":             "wait4 and RUSAGE_CHILDREN give the usage of the ghost: the kernel counts only what ran here",
	"go/usage":                                      "wait4 and RUSAGE_CHILDREN give the usage of the ghost: the kernel counts only what ran here",
	"memory/proc of a child":                        "/proc/PID at home is the ghost's: exe, cmdline, comm and environ are right, cwd is where it began",
	"memory/signals in the status of a child":       "/proc/PID at home is the ghost's, which blocks every signal to pass it on",
	"memory/oom_score_adj and comm of a child":      "what is written to /proc/PID at home is the ghost's",
	"memory/process_vm_readv of a child":            "by the plain number process_vm_readv and process_vm_writev reach the ghost: EFAULT; the number with its host part works",
	"nice/set by itself, asked by its parent":       "what a process elsewhere sets of itself is not set for its ghost: getpriority by the plain number gives what it began with",
	"memory/kcmp of a child":                        "kcmp gives EBADF: the ghost has no descriptors",
	"pidfd/getfd of a child":                        "pidfd_getfd gives EBADF: the ghost has no descriptors",
	"family/PR_SET_PDEATHSIG of a spreader's child": "no signal is sent when the parent dies: the parent that the kernel knows there is the init of the nest",

	// What a process leaves behind elsewhere.
	"family/orphans of children":                "a process that outlives its job has its inherited output and input cut off: writes give SIGPIPE and EPIPE",
	"family/a subreaper of what children leave": "an orphan elsewhere goes to the init of the nest, not to a subreaper at home; wait gives ECHILD",

	// Descriptors whose operations are shipped home, one read or write at a time.
	"fd/O_NONBLOCK is shared":                 "O_NONBLOCK set on an inherited descriptor is set there only, and reads wait at home all the same",
	"fd/a deleted file, sought":               "an inherited file that is open for writing, or has no name, cannot be sought: lseek and pread give ESPIPE",
	"fd/shared offset":                        "an inherited file that is open for writing, or has no name, cannot be sought: lseek and pread give ESPIPE",
	"fd/flock is shared":                      "flock on an inherited file that is open for writing gives EINVAL",
	"fd/poll of a pipe":                       "poll and select say of an inherited pipe that somebody else could read too that it is readable; a read waits",
	"fd/standard input of several at once":    "a file that is only read is read there at an offset of its own, which the one at home follows when the process ends",
	"fd/the end of a pipe":                    "the home keeps the descriptors of a job until it ends, to begin it again if its host is lost: readers see the end of file then",
	"limit/RLIMIT_FSIZE of an inherited file": "RLIMIT_FSIZE does not bound writes to an inherited file, which are done by the home",

	// Files.
	"exec/directory":                       "a directory that is renamed at home keeps its old name for getcwd of the processes elsewhere that are in it",
	"python/multiprocessing of a spreader": "POSIX shared memory and semaphores (/dev/shm) are each host's own: sem_open gives ENOENT",

	// Hosts differ.
	"sched/affinity inherited": "CPU numbers are each host's own: a process that begins elsewhere may use all of them",

	// Terminals.
	"terminal/tostop":                         "what a job in the background writes from elsewhere is shown in spite of tostop",
	"terminal/tcsetpgrp":                      "the terminal is nobody's controlling one there: tcsetpgrp and tcgetpgrp give ENOTTY, and /dev/tty ENXIO",
	"terminal/what a program sees of it":      "the terminal is nobody's controlling one there: tcsetpgrp and tcgetpgrp give ENOTTY, and /dev/tty ENXIO",
	"group/an orphaned group gets no SIGTSTP": "the group of a process elsewhere is never orphaned: SIGTSTP stops it",

	// A nest has name spaces of its own.
	"family/PPid in /proc":     "/proc there shows the parent, group and session that the kernel of the nest knows; getppid and its like are right",
	"memory/own /proc":         "/proc there shows the parent, group and session that the kernel of the nest knows; getppid and its like are right",
	"group/setsid(1)":          "/proc there shows the parent, group and session that the kernel of the nest knows; getppid and its like are right",
	"signal/codes and senders": "si_pid of a signal that kill sends from another host is not that of its sender",
}

// AtHome are the cases of which no process can go elsewhere, and why. One that goes after all fails the suite.
var AtHome = map[string]string{
	"exec/directory that is removed":    "a removed directory has no name elsewhere",
	"exec/errors of a spreader's child": "no exec succeeds",
	"exec/errors of the command":        "no exec succeeds",
	"exit/not found and not executable": "no exec succeeds",
	"go/errors":                         "no exec succeeds",
	"fd/a socket that listens":          "an inherited socket is this host's",
	"fd/socketpair":                     "an inherited socket is this host's",
	"fd/eventfd, memfd and timerfd":     "an inherited eventfd is this host's",
}
