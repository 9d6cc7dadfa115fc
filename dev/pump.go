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
	obj    *Object
	before func(ctx context.Context) error
	turn   chan struct{} // held from reading a piece until it is at home
	buf    []byte        // owned by the holder of turn
	broken atomic.Bool   // the home takes no more; near is closed
	began  bool          // run has been or is being called
	done   chan struct{}
}

func newPump(near *os.File, obj *Object, before func(ctx context.Context) error) *pump {
	return &pump{near: near, obj: obj, before: before, turn: make(chan struct{}, 1), done: make(chan struct{})}
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
			p.forward(ctx, n)
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

// forward brings the first n bytes of buf home; the caller holds the turn. When the home takes no more, the local end is closed,
// so that the writers get what they would get at home: SIGPIPE, or EIO of a terminal that hung up.
func (p *pump) forward(ctx context.Context, n int) {
	var err error
	if p.before != nil {
		err = p.before(ctx)
	}
	for done := 0; err == nil && done < n; {
		var k int
		k, err = p.obj.write(ctx, p.buf[done:n], true) // even if non-blocking at home: our pipe has taken it already
		done += k
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
		p.forward(ctx, n)
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
