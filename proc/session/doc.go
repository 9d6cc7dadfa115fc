// Package session is the supervisor behind `onehost run`: it starts the command under the filter, decides about every exec
// of its processes, and stands between the ghosts at home and the jobs elsewhere.
//
// The tree of processes:
//
//	run      front and supervisor; a subreaper, in case the keeper dies
//	└ keeper a subreaper that does nothing but wait (sys.StartKept); a pipe tells it when run dies. It leads a session of its own,
//	  |      so that it outlives a SIGKILL of run's process group
//	  ├ witness in run's group: counts what that gets, and does nothing else
//	  └ CMD  under the filter, as all of its descendants; ghosts stand among them
//
// Whichever of run and keeper is left kills every descendant, again and again until there is none. What runs
// elsewhere ends because the daemon sees its connections close.
//
// When the daemon ends, its connections do, without a last word. The session waits for the next one, opens itself again with it, and has each job taken
// up: so it keeps the descriptors of all jobs, and the last orders to each, which are numbered. Questions where a candidate goes wait too.
//
// Terms. A spreader is a program whose children are candidates: make, ninja, and run itself. A run inside of the run becomes its
// command (it joins), which is a candidate whoever started it. A candidate becomes a job,
// remote or local; every local one has a reason. A process decided local stays so whatever it execs later.
// To re-exec is to turn a ghost back into its command, here (see package ghost).
//
// An exec that concerns nobody costs two reads of the caller's memory, and where spreaders other than run live one of its
// /proc/PID/stat; a thread outside of the Go runtime answers it (sys.Gate), which is told of every change to the supervisor's maps. All else
// comes to the listener's goroutine. Only a candidate gets a goroutine of its own, a question to the daemon, and, if it
// goes, a thread while it is traced.
//
// The session ends when CMD has ended and every job it had elsewhere has. What CMD left in the background at home is
// killed then: nobody would answer its calls any more.
//
// A signal to a ghost was for it alone or for all of its group. Which, the witness tells, which is in the run's group, and for
// other groups the filter, which shows us every kill of a group that the session's own processes make.
//
// Stops and continues go both ways and cross. What the job says of one names the last of the session's orders that it had got by then (nest.Event.After), so
// old news is known for that; what the ghost is told of one names how many SIGCONTs it had sent by then (ghost.Stop). No time decides. Run itself stops
// with CMD; a SIGCONT that reaches run is CMD's too if it is for the group, and is passed on only if the keeper has no news of CMD.
//
// A call about a process of another host, or one that changes a ghost's settings, is carried out by the daemon (package calls). It is told no more
// than which thread waits in one, and our part is to hand on the answer, if the thread still waits.
//
// A /proc of the cluster (package procfs) is served by run, and is seen below the keeper only: CMD makes its mount name space between fork and exec,
// while run and the keeper stay in the host's and read the kernel's own /proc.
//
// Locks: supervisor.mu and daemon.mu are leaves; nothing blocks under them.
package session
