// Package split divides one machine into hosts: the product feature for a machine with many processors, and the test
// bed of everything else.
//
// Terms. A split is one set of hosts h1..hN; the machine's own has no name, private ones (tests) have one, and splits
// never meet. A host is a process tree under an init of ours (pid 1 of a pid name space) with its own net, mount, uts, ipc
// and cgroup name spaces, an overlay root over the machine's /, cgroups, one address and one onehostd. The switch is a bridge in
// a network name space of its own, so that the machine's network is never touched; each host has one veth into it.
//
// Everything a split owns can be found again by its name alone: the tmpfs at /run/onehost/split[-NAME] (state, the hosts'
// disks, the pin of the switch), the cgroups onehost-split[-NAME]/hN under every hierarchy used. Down goes by those and not by
// the state file, so it also cleans what a killed command left. The veths and the bridge die with the switch.
//
// What a host sees. / is an overlay over the machine's root; a further disk mounted below it (a /home or /usr of its own)
// gets its own overlay. Writes stay in memory until Down and are kept over Kill and Start. /tmp and /run start empty at each boot, /dev, /proc, /sys
// and /sys/fs/cgroup are the host's own, every other mount of the machine is hidden unless it is bound. A host is not a
// wall: its root is the machine's root.
//
// How a host boots. The command starts the init, which waits; puts it into the cgroups and plugs in the network; then sends it
// its configuration. The init makes the mounts on one locked thread (a cgroup name space belongs to a thread), pivots, and execs itself,
// so that all threads of the lasting init are alike. It then reaps, runs onehostd, and serves programs at a socket under the
// host's /run, which is a directory of the split's tmpfs and so is seen from outside.
//
// Lock order: there is one lock, the flock on /run/onehost/split[-NAME].lock, held by every command that changes a split. exec
// and status take none; they read the state file, which is replaced atomically.
//
// Traps. An overlay whose upper lies on the same file system as its lower is refused (ELOOP), hence the tmpfs. A crash has to cut the
// network before it kills, or the kernel says goodbye (FIN, RST) for the dead. A process put into a host by setns escapes
// its cgroup, so programs go through the init. kernel.pid_max is per name space from Linux 6.14 only; before, writing it would
// change the machine. Mounts and name spaces of a dead host go away a moment after its last process: wait on conditions.
package split
