// Package dev ships the operations on a descriptor to the host that owns it.
//
// A process that goes elsewhere leaves its open files at home: their offsets are shared with whoever else inherited them, and the
// kernel at home does the locking. The home keeps a descriptor of each (Server) under a number, an id; the helper (Client) gives the
// process something local in its place.
//
// What is given, by kind:
//
//	output     a write-capable pipe or stream socket: a local pipe; a pump reads it and writes to the home, one piece at a
//	           time, so that a slow reader at home slows the writer
//	terminal   a local terminal for all descriptors of the home's: output as above; changes of its modes go home, its size comes
//	           from there, and what is typed is brought when somebody waits for it (keyboard)
//	shipped    the reading side of another pipe or socket, and regular files in any mode: each read and write is
//	           one call to the home (Object), through a file that the Shipper makes; nothing is read ahead. A regular file
//	           that is only read is opened by name instead, if it has one, once for the descriptors that share an offset, and the home's offset moved at the end
//	input      the reading side of a pipe or socket that nobody else can read: a local pipe, filled ahead
//	path       the null device and its like, and directories: opened in the nest by name
//	ended      a pipe whose writers are gone for good: a local one like it
//	stay       what cannot go; Classify says why
//
// An operation is carried out once, also when the connection ends before its reply has come or the home's daemon is killed: the helper asks again, by
// another connection (line), and the home has kept what became of the last operation of each kind on a descriptor (lane), in a file. One read and one
// write of a descriptor are under way at a time.
//
// What passes tells of what was done before: before anything is written to a stream, the files that were written here go home (Options.BeforeForward), and
// before what was read from one is handed over, the changes at home are known here (Changes, Options.AfterRead).
//
// Descriptors of one output (2>&1) share one local pipe, so their order is kept; Drain waits until what was written is at home.
//
// Traps. What is shipped looks like an empty regular file that cannot be sought: a compiler that measures its input finds
// none. That is why input is filled ahead wherever nobody can notice, and files that are only read are opened by name. The home's open file is shared: never set O_NONBLOCK on it (os.File.Fd clears it, as bad). Pipes and terminals are
// opened anew through /proc/self/fd, which gives an open file of our own on the same pipe; sockets take MSG_DONTWAIT. A read that
// was interrupted at the helper may have succeeded at home: its reply is awaited and handed over, never dropped. A local
// terminal is nobody's controlling one, so /dev/tty does not open; what the controlling terminal does (^C, stops of the
// background) the home does, and the server in its place where a job reads (ground).
//
// Lock order: none is held across a call or a blocking system call, but pump.turn, then Object.turns, which order what goes home, and lane.turn there.
package dev
