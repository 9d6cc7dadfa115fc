package dev

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/onehost/onehost/link"
)

// interruptTimeout bounds the wait for the home's answer to an interrupted operation.
const interruptTimeout = 5 * time.Second

// Object is the helper's end of one descriptor kept at home. Its methods may be called by several goroutines and return
// syscall.Errno (wrapped, when the link says more).
type Object struct {
	line   *line
	seq    *atomic.Uint64 // numbers the operations of a client
	id     uint64
	turns  [2]chan struct{} // of reads and of writes: one at a time is under way, so that the home need remember one only
	flags  int
	stream bool            // what passes tells of what was done before
	life   context.Context // ends with the Set
}

// Flags gives the access mode and status flags of the home's open file.
func (o *Object) Flags() int { return o.flags }

// Read reads at most n bytes (64 kB at a time) at the shared offset; an empty result is the end of the file. It waits as long as the home's
// descriptor has nothing; when ctx ends it fails with EINTR, unless something had been read by then.
func (o *Object) Read(ctx context.Context, n int) ([]byte, error) {
	if n <= 0 {
		return nil, nil
	}
	r, err := o.read(ctx, min(n, maxPiece))
	return r.Body, err
}

// read gives, of a terminal, the modes with which it was typed as the header.
func (o *Object) read(ctx context.Context, n int) (link.Reply, error) {
	r, err := o.call(ctx, readMethod, nil, uint64(n))
	if err != nil {
		return r, err
	}
	seq, k := binary.Uvarint(r.Header)
	if k <= 0 {
		return link.Reply{}, syscall.EIO
	}
	r.Header = r.Header[k:]
	if seq != 0 && o.line.after != nil {
		known, cancel := context.WithTimeout(o.life, interruptTimeout)
		defer cancel()
		_ = o.line.after(known, seq) // fails if the home is lost; what was read is handed over all the same
	}
	return r, nil
}

// Write writes p at the shared offset, or at the end if the home's open file appends. A short count comes with the error that
// stopped it; EINTR when ctx ended.
func (o *Object) Write(ctx context.Context, p []byte) (int, error) {
	return o.write(ctx, p, false)
}

// write is Write; with wait it waits for room even if the home's open file is non-blocking.
func (o *Object) write(ctx context.Context, p []byte, wait bool) (int, error) {
	waits := uint64(0)
	if wait {
		waits = 1
	}
	if o.stream && o.line.before != nil {
		if err := o.line.before(ctx); err != nil {
			return 0, err
		}
	}
	done := 0
	for {
		piece := p[done:min(len(p), done+maxPiece)]
		r, err := o.call(ctx, writeMethod, piece, waits)
		if err != nil {
			return done, err
		}
		v, err := header(r.Header, 2)
		if err != nil || v[0] > uint64(len(piece)) {
			return done, syscall.EIO
		}
		done += int(v[0])
		if v[1] != 0 {
			return done, syscall.Errno(v[1])
		}
		if done >= len(p) {
			return done, nil
		}
		if v[0] == 0 {
			return done, syscall.EIO
		}
	}
}

// Seek moves the shared offset, as lseek does.
func (o *Object) Seek(ctx context.Context, offset int64, whence int) (int64, error) {
	r, err := o.line.call(ctx, seekMethod, encode(o.id, uint64(offset), uint64(whence)), nil, nil)
	if err != nil {
		return 0, err
	}
	v, err := header(r.Header, 1)
	if err != nil {
		return 0, syscall.EIO
	}
	return int64(v[0]), nil
}

// newObject makes the end of a descriptor.
func newObject(l *line, seq *atomic.Uint64, d Desc, life context.Context) *Object {
	return &Object{line: l, seq: seq, id: d.ID, flags: d.Flags, stream: d.Stream, life: life, turns: [2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)}}
}

// call performs one operation. The end of ctx interrupts it at home and its reply is still awaited, so that nothing that was read is
// lost; the end of the Set ends the wait, and so does interruptTimeout. When the connection ends it goes on by the next.
func (o *Object) call(ctx context.Context, method string, body []byte, args ...uint64) (link.Reply, error) {
	if o.life.Err() != nil {
		return link.Reply{}, errOver
	}
	turn := o.turns[0]
	if method == writeMethod {
		turn = o.turns[1]
	}
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return link.Reply{}, syscall.EINTR
	case <-o.life.Done():
		return link.Reply{}, errOver
	}
	seq := o.seq.Add(1)
	life, cancel := context.WithCancel(o.life)
	defer cancel()
	var by atomic.Pointer[link.Conn]
	interrupt := func(conn *link.Conn) {
		_ = conn.Notify(interruptMethod, encode(seq), nil) // fails only with the connection; the next is told too
	}
	stop := context.AfterFunc(ctx, func() {
		if conn := by.Load(); conn != nil {
			interrupt(conn)
		}
		time.AfterFunc(interruptTimeout, cancel)
	})
	defer stop()
	r, err := o.line.call(life, method, encode(append([]uint64{o.id, seq}, args...)...), body, func(conn *link.Conn) {
		by.Store(conn)
		if ctx.Err() != nil { // and its interruption came by an earlier one, if at all
			interrupt(conn)
		}
	})
	if err != nil && errors.Is(err, context.Canceled) {
		err = fmt.Errorf("the job is over: %w", syscall.EINTR)
	}
	return r, err
}
