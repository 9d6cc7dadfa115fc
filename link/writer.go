package link

import (
	"context"
	"encoding/binary"
	"io"
	"slices"
	"sync"
)

// writer turns messages into writes. At any moment one goroutine writes: the writer goroutine, or a caller who found
// the connection idle.
type writer struct {
	to   io.Writer
	room func() bool // whether a small write will surely not block
	fail func(error) // ends the connection

	mu      sync.Mutex
	wake    sync.Cond
	out     []byte  // whole frames, to be written next
	spare   []byte  // the other of two buffers
	ring    []*bulk // large messages, one frame a turn
	writing bool    // some goroutine is in to.Write
	err     error   // the connection has ended

	bulks sync.Pool // of *bulk
}

// bulk is a large message on its way through the ring.
type bulk struct {
	kind   frameType
	flags  uint8
	id     uint64
	head   []byte // memory of prefix, kept for the next message
	prefix []byte // what is left of the sizes and the head
	body   []byte // borrowed from the sender until taken
	begun  bool
	taken  chan error // gets one word when nothing of body is needed any more
}

func (w *writer) newBulk() *bulk {
	if b, ok := w.bulks.Get().(*bulk); ok {
		return b
	}
	return &bulk{taken: make(chan error, 1)}
}

func (w *writer) init(to io.Writer, room func() bool, fail func(error)) {
	w.to, w.room, w.fail = to, room, fail
	w.wake.L = &w.mu
}

// message sends a message that begins with a head. It returns when nothing of h or body is referenced any more. When
// ctx ends before that, the rest is not sent; begun says whether the peer will see a beginning.
func (w *writer) message(ctx context.Context, kind frameType, id uint64, h *head, body []byte) (begun bool, err error) {
	n := sizesHeader + h.size() + len(body)
	w.mu.Lock()
	if w.err != nil {
		defer w.mu.Unlock()
		return false, w.err
	}
	idle := w.idleLocked()
	if n <= smallMessage || n <= MaxFrame && (idle || kind == frameNote) {
		w.out = appendFrame(w.out, frame{size: n, kind: kind, id: id})
		w.out = append(h.appendMessage(w.out, len(body)), body...)
		w.flush(idle)
		return true, nil
	}
	b := w.newBulk()
	b.kind, b.flags, b.id, b.body, b.begun = kind, 0, id, body, false
	b.head = h.appendMessage(b.head[:0], len(body))
	b.prefix = b.head
	return w.push(ctx, b)
}

// data sends one frame of a stream, as message does.
func (w *writer) data(ctx context.Context, id uint64, chunk []byte, flags uint8) (begun bool, err error) {
	w.mu.Lock()
	if w.err != nil {
		defer w.mu.Unlock()
		return false, w.err
	}
	if idle := w.idleLocked(); idle || len(chunk) <= smallMessage {
		w.out = appendFrame(w.out, frame{size: len(chunk), kind: frameData, flags: flags, id: id})
		w.out = append(w.out, chunk...)
		w.flush(idle)
		return true, nil
	}
	b := w.newBulk()
	b.kind, b.flags, b.id, b.body, b.begun, b.prefix = frameData, flags, id, chunk, false, nil
	return w.push(ctx, b)
}

// control sends a frame without a message, never writing itself: the reader uses it.
func (w *writer) control(kind frameType, id uint64, payload []byte) {
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return
	}
	w.out = appendFrame(w.out, frame{size: len(payload), kind: kind, id: id})
	w.out = append(w.out, payload...)
	w.flush(false)
}

func (w *writer) credit(id uint64, n int) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(n))
	w.control(frameCredit, id, b[:])
}

func (w *writer) idleLocked() bool { return !w.writing && len(w.out) == 0 && len(w.ring) == 0 }

// flush is called with mu held and unlocks it. direct means that nothing but what was just appended waits: if it is
// small and there is room, the caller writes it.
func (w *writer) flush(direct bool) {
	if !direct || len(w.out) > directWrite || !w.room() {
		if !w.writing {
			w.wake.Signal()
		}
		w.mu.Unlock()
		return
	}
	w.writeLocked()
	if len(w.out) > 0 || len(w.ring) > 0 {
		w.wake.Signal()
	}
	w.mu.Unlock()
}

// writeLocked writes out, with mu released meanwhile.
func (w *writer) writeLocked() {
	buf := w.out
	w.out, w.spare, w.writing = w.spare[:0], nil, true
	w.mu.Unlock()
	_, err := w.to.Write(buf)
	if err != nil {
		w.fail(err) // takes mu
	}
	w.mu.Lock()
	if w.writing = false; cap(buf) <= 4*MaxFrame { // a burst's memory is not kept
		w.spare = buf
	}
}

// push puts b, with mu held, into the ring, unlocks, and waits until it is taken or ctx ends.
func (w *writer) push(ctx context.Context, b *bulk) (begun bool, err error) {
	w.ring = append(w.ring, b)
	if !w.writing {
		w.wake.Signal()
	}
	w.mu.Unlock()
	select {
	case err = <-b.taken:
	case <-ctx.Done():
		w.mu.Lock()
		if i := slices.Index(w.ring, b); i >= 0 {
			w.ring = slices.Delete(w.ring, i, i+1)
			err = ctx.Err()
		} else {
			err = <-b.taken // sent under mu, so it is there
		}
		w.mu.Unlock()
	}
	begun = b.begun
	b.body, b.prefix = nil, nil
	w.bulks.Put(b)
	return begun, err
}

// run is the writer goroutine.
func (w *writer) run() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for w.err == nil && (w.writing || len(w.out) == 0 && len(w.ring) == 0) {
			w.wake.Wait()
		}
		if w.err != nil {
			return
		}
		for turns := 0; len(w.ring) > 0 && (turns == 0 || len(w.out) < MaxFrame); turns++ {
			w.turnLocked() // one at least: a flood of small messages must not starve the large ones
		}
		w.writeLocked()
	}
}

// turnLocked takes one frame of the first message of the ring; what is left of it goes to the ring's end.
func (w *writer) turnLocked() {
	b := w.ring[0]
	copy(w.ring, w.ring[1:])
	w.ring[len(w.ring)-1] = nil
	w.ring = w.ring[:len(w.ring)-1]
	kind := b.kind
	if b.begun {
		kind = framePart
	}
	n := min(MaxFrame, len(b.prefix)+len(b.body))
	w.out = appendFrame(w.out, frame{size: n, kind: kind, flags: b.flags, id: b.id})
	p := min(n, len(b.prefix))
	w.out = append(append(w.out, b.prefix[:p]...), b.body[:n-p]...)
	b.prefix, b.body, b.begun = b.prefix[p:], b.body[n-p:], true
	if len(b.prefix)+len(b.body) == 0 {
		b.taken <- nil
		return
	}
	w.ring = append(w.ring, b)
}

// close ends the writer with err: everything waiting in the ring fails.
func (w *writer) close(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	w.err, w.out = err, nil
	for _, b := range w.ring {
		b.taken <- err
	}
	w.ring = nil
	w.wake.Broadcast()
}
