// Package soak lets processes do at random what processes do, on four hosts of which some are killed, cut off and frozen meanwhile, and holds what
// they saw against a model.
//
// Terms. An agent is a process that does what the soak tells it (lib/agent.c); it has a name, which no other agent ever has, and a connection
// to a socket on the loopback of the host that runs it, where the soak listens. So where an agent runs and when it dies is known from the kernel,
// not from what is tested. A session is an agent that was started by `onehost run`, or by `onehost on`, and all of its descendants. A driver
// is a goroutine that has agents of a session do things. A round is some sessions, their drivers and the faults meanwhile; between rounds it is quiet.
//
// What is held against the model while it goes on: every status that a wait gives, who gets which signal how often, where each process is said to
// run, the lists of processes, parents, groups and sessions. A number is no other's while its process lives. After each round the
// waits and signals of each process are given to porcupine, as operations on a register that is alive, then dead, then waited for.
//
// What a fault excuses. A host is suspect from the moment at which something is about to be done to it until it takes jobs again. Only
// processes that run there, and those elsewhere whose home it is, may be lost by it; only operations on such may fail or be unanswered. Everything else must go on
// as if nothing had happened.
//
// When it is quiet no host may have more processes, descriptors, mounts, name spaces or cgroups than at the first quiet point, and at the end
// the daemons' goroutines are looked through.
//
// The choices come from the seed; what meets what does not, as the hosts are real. A finding names the seed and shows what was noted of the agents concerned.
//
// Locks: agent.cmd is held for whole operations, and several are taken by TryLock only, so nobody waits for anybody. book.mu and agent.mu are leaves.
package soak
