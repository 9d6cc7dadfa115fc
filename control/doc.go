// Package control is the daemon's local socket: the types that cross it, the client the commands use, and the
// server half the daemon builds on.
//
// It is a unix SEQPACKET socket. One packet is one JSON value, at most MaxPacket bytes, and may carry
// descriptors. A connection opens with a Request that names an operation; what follows is the operation's
// own. The kernel vouches for who is at the other end (SO_PEERCRED): the server hands that to the handler, which decides
// what that user may do.
//
// Traps: a packet longer than the receiver's buffer is cut silently by the kernel, so both ends hold
// MaxPacket; descriptors arrive close-on-exec; a reader that is gone shows as EPIPE or end of file, which is how a
// daemon learns that a session ended and a session that its daemon did.
package control
