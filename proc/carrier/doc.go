// Package carrier keeps what a host runs for a home in a process of its own, so that it outlives the daemon.
//
// Terms. A carrier is that process: the daemon's own binary run again (Reexec), with the home's tree mounted, its nest, the pumps of its jobs, and
// a link to the home. Its daemon is the onehostd that is connected to it (own), and it is alone while there is none. There is one carrier for each home
// of which anything runs here. A carrier has a number among those that one incarnation of the daemon has started, and by both an incarnation of its own
// (names.Incarnation.Carrier), which no other process of the host ever has.
//
// Three parties. Carriers is the daemon's side: it starts carriers, takes on those of earlier daemons, asks them for what it is asked for, and clears
// up after them. The carrier serves a control socket in a directory of its own, which is root's. Reach is the home's side: where a job is to run it
// gives the connection that the carrier has made, or asks the daemon there (proc.reach) to start one and have it dial. From then on the daemon
// is on no way that a job takes.
//
// What a carrier lives by. It belongs to a life of its host and to one of its home. Its daemon compares it with each view (Follow) and ends it (opEnd)
// when either is over. A home that sees its host's life end tells the carrier itself (Stop): then only the daemon may be dead. The answer comes when all that it
// ran is dead, so nothing of that runs beside what begins again elsewhere. A carrier that is alone for aloneTime ends. One that ends kills its jobs before its
// link ends, and tells nobody how they ended.
//
// What it leaves. Nothing, when it ends by itself. When it is killed, its nest's init sees the end of its socket, aborts the FUSE connections and ends,
// and the kernel ends what is in the nest; mounts, groups and socket are cleared away by the daemon, or by the next one, before a home is told that
// the carrier is over.
// A dead carrier may not end: one of its threads may tell the kernel of a changed name, and wait for a directory that is locked until the
// carrier has answered. What it has open stays open, so that nobody sees its end. Its daemon looks whether it is dead, and aborts the connections then.
//
// Versions. A carrier may be older than its daemon. They say which Protocol they speak when a daemon takes a carrier on; one that it cannot
// speak with it ends. So opOwn, opEnd and their messages stay what they are for ever.
//
// Counts. How many jobs run is told in every heartbeat, five times a second. The carrier writes it to memory that the daemon has open, so that neither is
// woken.
//
// Locks: Carriers.mu and server.mu are leaves; nothing blocks under them.
//
// Traps. The daemon may be gone between any two lines of a carrier, and the carrier between any two of a daemon: each asks with a bound, and takes
// ESRCH for an answer. What a carrier inherits it has for longer than the daemon: its log may be a pipe that nobody reads.
package carrier
