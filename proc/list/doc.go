// Package list reads which processes there are: this host's from /proc, the cluster's by asking all hosts.
//
// Terms. A row is one process. Its home is the host in whose space its number is, its host the one that runs it. A ghost is what stands at home for a
// process that is elsewhere: the home tells of it, and it is listed only when its host does not list the process itself.
//
// Every process is listed once, although the hosts read their /proc at slightly different moments: rows are joined by pid, what a nest lists comes before
// what a home does, and that before a ghost. A process that goes elsewhere or comes to its end just then is listed in one of the states it had meanwhile.
//
// What is in a nest is found by its pid name space, which nothing can leave: /proc/PID/ns/pid, and the parents of that for processes that made name spaces of
// their own. Their numbers in the nest, which are those at home, are NSpid of /proc/PID/status; parent, group and session are translated by what was read of
// those. The job at the top of them has parent, group, session and terminal from its ghost, and its descendants the group, as they would at home.
//
// What is shown. /proc is read by root, but only what it shows to everybody: stat, status and cmdline. Where the host's /proc is mounted with hidepid an
// ordinary user is told of his own processes only; who he is the daemon that he asked says, by SO_PEERCRED.
//
// What it costs. A full reading is three files for each process. For a display that asks every second only stat is read each time, the others every few
// seconds or when the name changed, and a reading is shared among all who ask within 300 ms, or longer if it took long.
//
// A host that does not answer holds up nobody: after AskTime it is among those that failed, and the others are shown.
//
// Traps. A process may end between two reads: it is left out. Numbers above names.MaxNative of a host whose pid_max is too large have no name in the cluster;
// they are counted and told. Texts are bytes that any user chose: who prints them makes them fit for a terminal.
//
// Locks: Reader.mu is held while /proc is read, for milliseconds; Config's functions are called under it and take their own. users.mu is a leaf.
package list
