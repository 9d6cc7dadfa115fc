package link

import "encoding/binary"

// Bounds of messages and of what may be under way.
const (
	MaxMessage = 4<<20 + 64<<10 // bytes of header and body of a call or a reply, and of one message of a stream
	MaxNote    = 60 << 10       // bytes of header and body of a note
	MaxFrame   = 64 << 10       // bytes of payload of a frame
	MaxCalls   = 4096           // calls under way in one direction of a connection
	MaxStreams = 4096           // streams opened by one end of a connection
	// MaxRequests is how many bytes of large call bodies may be under way in one direction of a connection.
	MaxRequests = 64 << 20

	streamWindow = 256 << 10 // bytes of a stream sent and not yet received by the peer's Recv
	noteWindow   = 4 << 20   // bytes of notes sent and not yet handled by the peer
	maxMethod    = 255
	maxText      = 4 << 10  // longer texts of errors are cut
	maxHead      = 8 << 10  // what a head holds beside the room's header, at most
	smallMessage = 4 << 10  // larger ones take turns in the ring
	perFrame     = 64       // what a frame of a stream or a note costs in its window, beside its bytes
	directWrite  = 16 << 10 // most bytes a caller writes himself
)

// frameType is the second field of a frame. The numbers are the protocol.
type frameType uint8

const (
	frameCall   frameType = iota + 1 // begins a message; the reply has the same id
	frameReply                       // begins a message
	frameNote                        // a whole message; id 0
	frameOpen                        // begins a message; opens the stream of that id
	framePart                        // continues the message begun under the id by the same end
	frameData                        // a message of a stream, or with flagMore a part of it
	frameFin                         // the opener sends no more on the stream; no payload
	frameEnd                         // a whole message: the handler has ended; nothing follows from either end
	frameReset                       // a whole message: the opener gives the stream up; an end still answers it
	frameCancel                      // the caller gives the call up; a reply still answers it; no payload
	frameCredit                      // 4 bytes: so much of the stream's window is free again; id 0: of the notes' window
	frameLast   = frameCredit
)

// flagMore says that the message of a stream goes on in the next frame.
const flagMore = 1

// A frame is a header of 16 bytes, big endian, and a payload:
//
//	0  uint32 bytes of payload
//	4  uint8  type
//	5  uint8  flags
//	6  uint16 0
//	8  uint64 id
//
// The payload of a frame that begins a message starts with two uint32: the bytes of its head and of its body. Both
// follow, in this frame and in parts.
type frame struct {
	size  int
	kind  frameType
	flags uint8
	id    uint64
}

const (
	frameHeader = 16
	sizesHeader = 8
)

func appendFrame(b []byte, f frame) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(f.size))
	b = append(b, byte(f.kind), f.flags, 0, 0)
	return binary.BigEndian.AppendUint64(b, f.id)
}

// parseFrame reads a header of frameHeader bytes and checks all that can be checked without knowing the connection.
func parseFrame(b []byte) (frame, error) {
	n := binary.BigEndian.Uint32(b)
	f := frame{size: int(n), kind: frameType(b[4]), flags: b[5], id: binary.BigEndian.Uint64(b[8:])}
	switch {
	case n > MaxFrame:
		return f, errPeer("a frame of %d bytes", n)
	case f.kind == 0 || f.kind > frameLast:
		return f, errPeer("frame type %d", f.kind)
	case b[6] != 0 || b[7] != 0 || f.flags&^flagMore != 0 || f.flags != 0 && f.kind != frameData:
		return f, errPeer("flags %x on frame type %d", b[5:8], f.kind)
	case (f.id == 0) != (f.kind == frameNote) && f.kind != frameCredit:
		return f, errPeer("frame type %d with id %d", f.kind, f.id)
	}
	ok := true
	switch f.kind {
	case frameFin, frameCancel:
		ok = n == 0
	case frameCredit:
		ok = n == 4
	case framePart:
		ok = n > 0
	case frameCall, frameReply, frameNote, frameOpen, frameEnd, frameReset:
		ok = n >= sizesHeader
	}
	if !ok {
		return f, errPeer("frame type %d with %d bytes", f.kind, n)
	}
	return f, nil
}

// parseSizes reads the lengths that begin a message; rest is what of the message is in this frame.
func parseSizes(b []byte, kind frameType, rest int) (head, total int, err error) {
	h, n := uint64(binary.BigEndian.Uint32(b)), uint64(binary.BigEndian.Uint32(b[4:]))
	n += h
	whole := kind != frameCall && kind != frameReply && kind != frameOpen
	if n > MaxMessage+maxHead || uint64(rest) > n || whole && uint64(rest) != n {
		return 0, 0, errPeer("a message of %d bytes, %d of them in its first frame of type %d", n, rest, kind)
	}
	return int(h), int(n), nil
}
