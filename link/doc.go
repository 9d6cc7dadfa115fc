// Package link carries messages between hosts over one connection: calls that wait for a reply, streams of messages
// both ways, and notes that go one way. Both ends may start any of them.
//
// # Terms
//
// A message is a head (linkpb.Head: method, the room's own header, deadline or error) and a raw body. It is cut into
// frames of at most MaxFrame bytes. The end that dialled gives odd ids to its calls and streams, the other even ones.
//
// # What is promised
//
//   - A note queued by Notify before anything else is queued on the same connection (a call, a reply, the opening, a
//     message or the end of a stream) is given to the queue of its note handler before that other thing is delivered.
//     Given to its queue, not yet handled: whoever must have the effect waits by Conn.WaitNotes.
//   - Notes of one method are handled in the order queued, one at a time. Messages of a stream arrive in the order sent.
//     Calls are not ordered among themselves.
//   - Cancelling the context of a call or a stream cancels its handler's, and deadlines travel as what is left of them,
//     so the clocks of the hosts need not agree. A call whose connection ends returns at once with an error that is
//     ErrClosed and EHOSTDOWN; whether its handler ran is unknown.
//   - A slow handler or reader delays nobody else. Memory is bounded by MaxCalls, MaxStreams, MaxRequests and the two
//     windows: whoever would exceed them waits at the sending end, under its own context.
//
// # How it is written and read
//
// Small messages (and all notes) are appended to one buffer, which the next write takes whole. Messages above
// smallMessage wait in a ring and give one frame a turn, after the small ones: so nothing small waits behind bulk for
// more than one write, and the ordering of notes holds by itself. Whoever queues something small on an idle connection
// writes it himself; else the writer goroutine does. The reader never writes and never blocks on anything but the
// network, so two ends cannot lock each other up.
//
// # Lock order
//
// Stream.mu and noteQueue.mu, then Conn.mu, then writer.mu; budgets are leaves. No lock is held while a handler runs or
// the network is waited for.
//
// # Traps
//
//   - A note handler that calls back over the same connection stalls its own method's notes, and in the end, when
//     noteWindow is full, every Notify of the peer.
//   - A call handler may call back, but chains of calls that wait for each other use up MaxCalls on both ends when
//     thousands run at once. Give them deadlines.
//   - Things that wait for hours (a process to end) are streams, not calls.
package link
