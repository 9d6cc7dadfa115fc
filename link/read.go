package link

import (
	"bufio"
	"encoding/binary"
	"io"
)

// assembly is a message of which frames are still to come.
type assembly struct {
	kind frameType
	buf  *buffer
	head int
	got  int
}

// reader is the state of the goroutine that reads; nobody else touches it.
type reader struct {
	c     *Conn
	br    *bufio.Reader
	parts map[uint64]*assembly

	calls int // of parts, how many are calls of the peer
	large int // bytes of parts that are large calls of the peer
}

// read is the reader goroutine. It ends with the connection.
func (c *Conn) read() {
	r := &reader{c: c, br: bufio.NewReaderSize(c.rwc, 32<<10), parts: map[uint64]*assembly{}}
	for {
		if err := r.frame(); err != nil {
			c.closeWith(err)
			return
		}
	}
}

func (r *reader) frame() error {
	b, err := r.br.Peek(frameHeader)
	if err != nil {
		return err
	}
	f, err := parseFrame(b)
	if err != nil {
		return err
	}
	if _, err := r.br.Discard(frameHeader); err != nil {
		return err
	}
	switch f.kind {
	case framePart:
		return r.part(f)
	case frameData:
		return r.data(f)
	case frameFin:
		return r.c.finished(f.id)
	case frameCancel:
		return r.cancelled(f.id)
	case frameCredit:
		if b, err = r.br.Peek(4); err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint32(b))
		if _, err := r.br.Discard(4); err != nil {
			return err
		}
		return r.c.credited(f.id, n)
	default:
		return r.begin(f)
	}
}

// begin reads the first frame of a message.
func (r *reader) begin(f frame) error {
	// Replies and ends answer what is ours; all else the peer begins.
	if answer := f.kind == frameReply || f.kind == frameEnd; f.id != 0 && answer != r.c.ours(f.id) {
		return errPeer("frame type %d with the id %d of the wrong end", f.kind, f.id)
	}
	if a := r.parts[f.id]; a != nil {
		if f.kind == frameReset && a.kind == frameOpen { // given up before it was open
			r.forget(f.id, a)
			go r.c.sendEnd(f.id, errCancelled)
			_, err := r.br.Discard(f.size)
			return err
		}
		return errPeer("a message of type %d in the midst of another, id %d", f.kind, f.id)
	}
	b, err := r.br.Peek(sizesHeader)
	if err != nil {
		return err
	}
	rest := f.size - sizesHeader
	head, total, err := parseSizes(b, f.kind, rest)
	if err != nil {
		return err
	}
	if _, err := r.br.Discard(sizesHeader); err != nil {
		return err
	}
	a := assembly{kind: f.kind, head: head}
	if f.kind == frameCall && r.tooMany(total) {
		return errPeer("more calls at once than the %d and %d bytes agreed", MaxCalls, MaxRequests)
	}
	if f.kind == frameReply || f.kind == frameOpen {
		a.buf = newBuffer(total) // its receiver keeps it
	} else {
		a.buf = getBuffer(total)
	}
	if _, err := io.ReadFull(r.br, a.buf.b[:rest]); err != nil {
		return err
	}
	if a.got = rest; a.got < total {
		later := a
		r.parts[f.id] = &later
		if f.kind == frameCall {
			r.calls, r.large = r.calls+1, r.large+total
		}
		return nil
	}
	return r.deliver(f.id, &a)
}

// tooMany says whether the peer began more calls than its own limits allow it.
func (r *reader) tooMany(total int) bool {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return r.calls+len(r.c.serving) >= MaxCalls || r.large+total > MaxRequests+MaxCalls*smallMessage
}

// part reads a further frame of a message.
func (r *reader) part(f frame) error {
	a := r.parts[f.id]
	if a == nil || f.size > len(a.buf.b)-a.got {
		return errPeer("a part of %d bytes of no message, id %d", f.size, f.id)
	}
	if _, err := io.ReadFull(r.br, a.buf.b[a.got:a.got+f.size]); err != nil {
		return err
	}
	if a.got += f.size; a.got < len(a.buf.b) {
		return nil
	}
	r.forget(f.id, a)
	return r.deliver(f.id, a)
}

func (r *reader) forget(id uint64, a *assembly) {
	delete(r.parts, id)
	if a.kind == frameCall {
		r.calls, r.large = r.calls-1, r.large-len(a.buf.b)
	}
}

// cancelled handles the end of the peer's interest in a call of its own.
func (r *reader) cancelled(id uint64) error {
	if a := r.parts[id]; a != nil && a.kind == frameCall && !r.c.ours(id) {
		r.forget(id, a)
		a.buf.free()
		go r.c.reply(id, Reply{}, errCancelled)
		return nil
	}
	r.c.cancelServing(id)
	return nil
}

// data reads a frame of a stream.
func (r *reader) data(f frame) error {
	s := r.c.streamOf(f.id)
	if s == nil { // it has ended, and the peer did not know yet
		_, err := r.br.Discard(f.size)
		return err
	}
	chunk := make([]byte, f.size)
	if _, err := io.ReadFull(r.br, chunk); err != nil {
		return err
	}
	return s.received(chunk, f.flags&flagMore != 0)
}

// deliver hands on a whole message.
func (r *reader) deliver(id uint64, a *assembly) error {
	h, err := parseHead(a.buf.b[:a.head])
	if err != nil {
		return err
	}
	body := a.buf.b[a.head:]
	switch a.kind {
	case frameCall:
		return r.c.serve(id, h, body, a.buf)
	case frameReply:
		return r.c.replied(id, h, body)
	case frameNote:
		return r.c.inbound.add(h, body, a.buf)
	case frameOpen:
		return r.c.accept(id, h, body)
	case frameEnd:
		err = r.c.ended(id, h)
	case frameReset:
		r.c.wasReset(id, h)
	}
	a.buf.free()
	return err
}
