// Package proc is the process as a class: one interface, Process, with a method for every operation that programs do on a process,
// and its instances. Whoever holds a Process need not know where it runs.
//
// Terms. A caller is whose rights an operation is made with: his ids, groups and capabilities as the kernel of his host gave them to
// its daemon. A job is elsewhere when it was sent to a helper; its ghost stands for it at home. A process is nested when it
// runs here, on the helper, in the pid name space of its home.
//
// The instances:
//
//   - Local is a number of this host's own pid space. Resolving one and calling it allocates nothing.
//   - Nested is a process of another home in a nest here, held by its pidfd, so that a number used again is never hit.
//   - Remote is a message to the host that has the process, or knows who has.
//   - Away is a job of this home that is elsewhere: its family (parent, group, session, end) is the ghost's, all else the job's.
//   - Gone answers everything with one errno.
//
// Rights. The kernel that has the process checks them, as for any local process: the operation is made by a child that has taken on the
// caller's ids and capabilities and ends with it (sys.StartAs). Nothing is decided here. Only a caller who may do all that this daemon may
// is spared the child.
//
// Errors are errnos, as the system call would give them; names.Errno finds them. Every operation ends: within OperationTime here, within
// the same over a link, where a host that does not answer is EHOSTDOWN. Only Wait waits for as long as its context lives.
//
// Traps. Numbers that operations give and take (group, session, parent) are of the home's pid space; Nested translates them. A thread is a
// process of the same space to the kernel in all but signals, and so it is here.
package proc
