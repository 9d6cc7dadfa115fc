// Package procfs is a /proc of the whole cluster, as a FUSE file system: what is of this host leads to this host's own /proc, and processes of other
// hosts, or of this home on other hosts, are shown by the hosts that have them.
//
// Terms. The native /proc is the kernel's, of this host. A pid is native if it is shown there under the number that it has in the cluster; all
// others are remote, also what runs here, in a nest, for another home. The reader is the thread that waits in a system call for us.
//
// What is native costs a link. Files of the native /proc are symbolic links to where it is mounted, so that the kernel opens them for the
// reader, with his rights. In the root of the native one that is all; self and thread-self are links that know who reads them. The
// directory of a native process is one of ours, and so is each below it, because there are programs that open these without following
// links (htop); whoever does follow links gets the kernel's own directory, by looking twice (turns). The kernel's links (exe, cwd, fd/3) read as they are;
// one whose path leads elsewhere than the link, as of a file that was removed, leads to the kernel's own, and one that has no path, as
// pipe:[4711], is found again in its directory (dir.nameless).
//
// What is remote is asked for: the operation Look of package proc, by way of the daemon, with the rights of the reader. The host that has the process
// carries it out, and its kernel decides. A file is read when it is opened, and again when it is read again from the start. The numbers in stat,
// status and children are made those that the reader knows; parent, group, session, terminal and start are those of the daemon's list. What everybody
// reads who lists processes is fetched with the directory, and for a reader who goes through the list for the next processes, too (firsts).
//
// Whose rights. The kernel tells which thread asks. A native directory or link that the kernel shows to some only is looked at by this process if the
// reader has the rights of this process, and otherwise by the daemon for the reader. The daemon believes only root in this.
//
// Time. The list of processes is up to half a second old, and a process's first files a tenth. A host that does not answer costs each
// look at its processes a few seconds (EHOSTDOWN), and the list two, and holds up nobody else.
//
// Traps. This process must not be in the mount name space that it serves, or it would wait for itself as soon as it looks into /proc. Nothing here may
// wait for a reader.
//
// Memory. The kernel keeps names that it has seen, and we keep an inode for each until it forgets them, some hundred bytes.
//
// Locks: tables.mu is held while the daemon is asked for the list, and a handle's while its file is fetched; client.mu, prefetched.mu, absent.mu and
// turns.mu are leaves.
package procfs
