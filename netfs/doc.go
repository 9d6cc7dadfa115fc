// Package netfs shows a host's file tree on another host, over FUSE: Server at the home, Mount at the helper, and one goal, that
// a compiler that runs there does not notice.
//
// Terms. The home owns the tree and orders everything. A file is named over the wire by its id, which is a file handle of
// the home's kernel behind a mount number, so the server keeps no table of what clients know; descriptors are a cache
// (objects). A node is a file that the helper's kernel knows. The daemon is, at the helper, the process that has the mount: the carrier of the home. An invalidation is a note from the home: this name, these
// attributes, this data are not what you were told.
//
// What is kept, and how it is taken back. The helper's kernel keeps names, missing names, attributes and data without
// time limit, and the daemon keeps whole small directories besides (cache), because the cost of a compile is its thousands
// of lookups. Listings only the daemon keeps, in the home's order: the kernel would mix those of several readers. Before the home gives anything away it (1) watches the directory with fanotify, (2) notes who is told
// (package token), (3) only then looks. So a change is either in the answer or followed by a note. Notes and replies travel in one order,
// and notes are applied in order by one goroutine. Server.Drain turns everything that has happened at home into notes, and
// Mount.Applied waits until they are applied: this pair is what goes before every exec, exit and signal that crosses hosts, and before a program elsewhere
// gets what it reads from a pipe, socket, terminal or fifo of the home, or a lock (order).
// Between two such points a change is seen within about a millisecond, not at once.
//
// Native stores through a mapping, and native writes through a hard link that was made outside of what is watched after
// the file was looked up, give no event.
//
// Writing. A client that writes has the file's write token, holds the bytes back and sends them in pieces of 1 MiB, at
// close, at fsync, and when the home recalls the token because somebody else asks. A file made here that fits in memory
// stays until Mount.Flush, or for MountConfig.Hold (5 s), while the home has ample room: a temporary file that is removed before never crosses. Flush goes
// before an exit status, output or signal leaves the helper, and what is held goes before a byte into a fifo and before a lock that is asked for or given back;
// its error must reach the process's status. The home keeps no
// descriptor open for writing between calls, so that it can execute what was built.
//
// Natives and what is held. The home marks a file whose writes it gives away, and the kernel asks before a native opens it (guard): it waits until
// the helper has handed over. So what a program elsewhere has written is seen by whoever opens the file after that, and by who has had it open
// within Hold. Only opens wait: stat shows the size that is at home, and truncate(2) by name cuts what is there.
//
// A lost connection. The mount attaches to the next by itself, for the same life of the home. What the home granted is void, all
// that is kept is forgotten (Applied waits for that), calls that may be done twice are, changes of names that were done are not done again
// (deeds), and what is held back stays held. Operations wait for that a little. The home's daemon may have been started again meanwhile: file ids
// and inode numbers mean to the next server what they meant to the last (mountTable), and pins, record locks and open fifos are lost with it.
// When the helper itself is lost, so is what it held back; the home removes the files that it made and sent nothing of, for they are
// empty, and Server.Lost waits for that before their makers run again.
//
// Removed files. What is removed lives on where it is open, as on one machine. A mount that removes an open file itself says so in the call (Op.Pin). Of
// what another removes or renames a file over, a native above all, the home does not know who has it open: if it has a descriptor of it
// still (those of the last 3000 files that it used are kept), it keeps the file for each mount that knows it, and says so
// (Inval.Kept); the mount makes its kernel drop the name and gives the file back (fs.unpin) when the kernel closes or forgets it. A create that
// finds its file removed again gives the file all the same: an error would make the kernel look up the name anew and create it once more.
//
// Two mounts of one home are meant: a full one, and one with NoOpen for trees that are mostly read, in which open and close
// never leave the kernel. There writes go through at once, nothing is held back, and fifos cannot be opened.
//
// Locks are the home's, of one description there for each owner. A process's record locks end with its first close of a descriptor that could write, those
// of one that only reads with the last close of that open file (lockers). The kernel tells the NoOpen mount of no close: locks on it last until the task has ended.
// It tells of a last close later than the program goes on: who tries for a lock that somebody else has by this mount tries again when those closes have been told of
// (lockers.settle).
//
// Names on which something is mounted here (MountConfig.Keep) are told to the kernel for ever, those of volatile file systems too: if it asked again
// and the answer were another file (/proc has a new id after the home's daemon was started again) or an error, it would take the mount away.
//
// Fifos are shown as regular files (stat too), because only then do their reads and writes reach us: each is done at
// the home, and poll takes them for always ready. One that was made here is a fifo of this kernel as long as its task
// (task) runs; others that open it meanwhile wait. Device nodes never open a device of the helper (the mount is nodev); connecting to a unix socket of the home gives
// ECONNREFUSED.
//
// Who asks. The helper's kernel checks permissions by mode bits (default_permissions); the home does what makes, removes
// or changes with the caller's fsuid, fsgid and groups on a thread of its own (workers), so its own rules hold too. What is written is
// written for the user who wrote last: quotas and the file system's reserve bind him as at home. Changes made by
// such a thread are known from fanotify by their thread number and are told to everybody but their author.
//
// Lock order. Server: fanMu, guard.mu, Server.mu, client.mu; objects.mu, unsent.mu and markMu are taken last. Mount: node.w.mu, node.rd.mu,
// rawFS.mu, then one of cache.mu, taskCache.mu, heldSet.mu, invalQueue.mu, ships.mu, which nest in nothing. No lock that a FUSE request takes is held across a notify to the
// kernel: dropping a name takes the directory's lock in the kernel, which a request under way may hold. For the same reason the
// home never waits for a client to apply a note.
//
// Sizes. The kernel must never be told a size that a file had before: it cuts its pages off there, and when the file is longer again takes the
// rest of the last one for zeros, until it is told to forget it. So a file whose writes are ours has its attributes from here, under the lock under which
// they are sent (local); an answer of the home during which something was written is not used (attrOf, enter); and of a file that another changed
// the pages go before its new size is told, though the note of the change waits in line (settle);
// until that is applied a program may find the file to end where it did. What is appended goes to the file's end
// at home; if the kernel took that to be elsewhere, its pages go (misplaced).
//
// Traps. A daemon killed inside a notify leaves its callers in D state until somebody writes to AbortPath. A daemon that is stopped
// answers nothing: natives that open what is marked then wait for it, until they are killed. A signal ends no call
// but one that programs expect to wait (locks, fifos); a killed process is let go at once, and where the home may yet carry out
// what it asked, the home tells this mount of it as it tells others. Nothing here may drop a name from the kernel: that takes
// along what a nest has mounted on it; names are expired instead (Linux 6.2). On an overlay, a descriptor opened for reading shows the old content after a copy up: the
// server opens for each read.
package netfs
