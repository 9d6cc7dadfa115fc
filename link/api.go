package link

import (
	"context"

	"github.com/onehost/onehost/names"
)

// Peer says who is at the other end of a connection, as its certificate and its hello prove it.
type Peer struct {
	Number      names.Host
	Name        names.HostName
	Incarnation names.Incarnation
	// Carrier is not 0 if this is not the host's daemon but one of its carriers. Then Incarnation is the carrier's own, by which it can be told from
	// every other process of the host that there ever was, and Birth is 0.
	Carrier uint32
	// Birth is the incarnation in which the life of the host began that this one goes on with: a daemon that is started again is
	// another incarnation of the same life. It is Incarnation itself, or 0, if the host lives anew.
	Birth names.Incarnation
}

// GoesOn reports whether the peer is still what it was in an earlier incarnation, or the same.
func (p Peer) GoesOn(was names.Incarnation) bool {
	birth := p.Birth
	if birth == 0 {
		birth = p.Incarnation
	}
	return birth <= was && was <= p.Incarnation
}

// Request is one incoming call or the opening of one incoming stream.
type Request struct {
	Method string // "room.verb", as "fs.lookup"
	Header []byte // a protobuf message of the room that owns the method
	Body   []byte // raw bytes; belongs to the handler until it returns
	From   Peer
	Conn   *Conn // the connection it came by, to call back on
}

// Reply is what a call returns.
type Reply struct {
	Header []byte
	Body   []byte
}

// CallHandler serves a call. ctx ends when the caller gives up or the connection drops. An error that wraps a
// syscall.Errno reaches the caller as that errno with its text; any other reaches it as EIO with its text.
// Each call runs on its own goroutine.
type CallHandler func(ctx context.Context, r *Request) (Reply, error)

// StreamHandler serves one stream until it returns; the stream is closed with its error, nil meaning a clean end.
type StreamHandler func(ctx context.Context, r *Request, s *Stream) error

// NoteHandler takes a one-way message. Notes of one connection are handled one after another, in the order
// sent, on one goroutine per method: a note handler must not block on a call over the same connection. Those of
// Router.HandleNoteNow run on the goroutine that reads.
type NoteHandler func(r *Request)
