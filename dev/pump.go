package dev

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// pump moves what processes write to a local pipe or terminal to the home, one piece at a time: the next is not read before
// the home has taken the last, so a slow reader there slows the writers here.
type pump struct {
	near   *os.File // non-blocking read end, or the terminal's master
	term   *console // of a terminal: its master is in packet mode
	obj    *Object
	turn   chan struct{} // held from reading a piece until it is at home
	buf    []byte        // owned by the holder of turn
	broken atomic.Bool   // the home takes no more; near is closed
	began  bool          // run has been or is being called
	done   chan struct{}
}

func newPump(near *os.File, term *console, obj *Object) *pump {
	return &pump{near: near, term: term, obj: obj, turn: make(chan struct{}, 1), done: make(chan struct{})}
}

// run forwards until all writers are gone, the home takes no more, or the pump is closed.
func (p *pump) run(ctx context.Context) {
	defer close(p.done)
	rc, err := p.near.SyscallConn()
	if err != nil {
		return
	}
	for !p.broken.Load() {
		var n int
		var rerr error
		took := false
		err := rc.Read(func(fd uintptr) bool { // waits for readiness without holding the turn
			select {
			case p.turn <- struct{}{}:
			case <-ctx.Done():
				return true
			}
			n, rerr = p.read(int(fd))
			if errors.Is(rerr, syscall.EAGAIN) {
				<-p.turn
				return false
			}
			took = true
			return true
		})
		if !took {
			return
		}
		if err == nil && rerr == nil && n > 0 {
			p.take(ctx, n)
		}
		<-p.turn
		if err != nil || rerr != nil || n == 0 {
			return
		}
	}
}

// read reads one piece; the caller holds the turn.
func (p *pump) read(fd int) (int, error) {
	if p.buf == nil {
		p.buf = make([]byte, maxPiece)
	}
	for {
		n, err := unix.Read(fd, p.buf)
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

// take does with n bytes of buf what they are for; the caller holds the turn.
func (p *pump) take(ctx context.Context, n int) {
	switch {
	case p.term == nil:
		p.forward(ctx, p.buf[:n])
	case p.buf[0] != unix.TIOCPKT_DATA:
		p.term.change(ctx, p.beforeChange(ctx, p.buf[0]))
	default:
		p.forward(ctx, p.buf[1:n])
	}
}

// beforeChange forwards what a program wrote before it turned the processing of output on again, as it was not to be processed: the
// kernel tells of a change of modes sooner than of what was written before it. All other changes go home at once. The state
// is returned with what was added to it meanwhile.
func (p *pump) beforeChange(ctx context.Context, state byte) byte {
	if !p.term.givesBack() {
		return state
	}
	for range 16 {
		n, err := 0, error(nil)
		if cerr := control(p.near, func(fd int) { n, err = p.read(fd) }); cerr != nil || err != nil || n == 0 {
			break
		}
		if p.buf[0] == unix.TIOCPKT_DATA {
			p.forward(ctx, p.buf[1:n])
		} else {
			state |= p.buf[0]
		}
	}
	return state
}

// forward brings a piece home; the caller holds the turn. When the home takes no more, the local end is closed,
// so that the writers get what they would get at home: SIGPIPE, or EIO of a terminal that hung up.
func (p *pump) forward(ctx context.Context, b []byte) {
	var err error
	for err == nil && len(b) > 0 {
		var k int
		k, err = p.obj.write(ctx, b, true) // even if non-blocking at home: our pipe has taken it already
		b = b[k:]
	}
	if err != nil && !p.broken.Swap(true) {
		p.near.Close()
	}
}

// drain forwards what is in the pipe now, in the caller's goroutine.
func (p *pump) drain(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.turn }()
	for !p.broken.Load() {
		n, err := 0, error(nil)
		if cerr := control(p.near, func(fd int) { n, err = p.read(fd) }); cerr != nil {
			return nil // closed
		}
		if err != nil || n == 0 {
			return nil // nothing more: EAGAIN, end of file, or EIO of a terminal without users
		}
		p.take(ctx, n)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// close ends the pump; its context has ended.
func (p *pump) close() {
	if !p.broken.Swap(true) {
		p.near.Close()
	}
	if p.began {
		<-p.done
	}
}
