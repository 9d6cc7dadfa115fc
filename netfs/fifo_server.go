package netfs

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/netfs/fspb"
)

// fifo is a fifo of the home that a process elsewhere has open. Every read and write of the process is one here, so that
// the home's kernel keeps the bytes, their order, and the atomicity of short writes.
type fifo struct {
	f *os.File // non-blocking, so that Go's poller waits and a deadline calls it back

	mu  sync.Mutex
	met bool // a writer has been seen: from now on 0 bytes mean the end
}

func (f *fifo) close() { _ = f.f.Close() }

const fifoTry = 5 * time.Millisecond // how often an open without a partner looks again

// fifoOpen: id, flags, cred. Result.n is the handle. It waits for the other end as open does, unless O_NONBLOCK.
func (s *Server) fifoOpen(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	x, err := s.files.get(string(op.Id))
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(x)
	var st unix.Statx_t
	if err := statx(x.fd, &st); err != nil {
		return nil, nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, nil, syscall.ENXIO
	}
	acc := int(op.Flags & unix.O_ACCMODE)
	fd := -1
	for {
		err = s.workers.as(op.Cred, func() (err error) {
			fd, err = unix.Open(procFD(x.fd), acc|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			return err
		})
		if !errors.Is(err, syscall.ENXIO) || op.Flags&unix.O_NONBLOCK != 0 {
			break
		}
		t := time.NewTimer(fifoTry) // no reader yet
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, nil, syscall.EINTR
		case <-t.C:
		}
	}
	if err != nil {
		return nil, nil, err
	}
	f := &fifo{f: os.NewFile(uintptr(fd), "fifo"), met: acc != unix.O_RDONLY || op.Flags&unix.O_NONBLOCK != 0}
	res := &fspb.Result{}
	if err := s.heard(ctx, c, res); err != nil {
		f.close()
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		f.close()
		return nil, nil, syscall.EHOSTDOWN
	}
	c.next++
	c.fifos[c.next] = f
	res.N = int64(c.next)
	return res, nil, nil
}

func (c *client) fifo(h uint64) (*fifo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.fifos[h]; f != nil {
		return f, nil
	}
	return nil, syscall.EBADF
}

// fifoRead: handle, len, flags (O_NONBLOCK). It ends with EINTR when the caller gives up; what was read is never lost: the
// caller gives up before bytes come, or gets them.
func (s *Server) fifoRead(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	f, err := c.fifo(op.Handle)
	if err != nil {
		return nil, nil, err
	}
	b := make([]byte, min(max(op.Len, 0), maxData))
	for {
		n, err := f.do(ctx, op.Flags, func(fd int) (int, error) { return unix.Read(fd, b) }, true)
		if err != nil || len(b) == 0 {
			return nil, nil, err
		}
		if n > 0 || f.ended() {
			res := &fspb.Result{Eof: n == 0}
			return res, b[:n], s.heard(ctx, c, res)
		}
		t := time.NewTimer(fifoTry) // opened before any writer
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, nil, syscall.EINTR
		case <-t.C:
		}
	}
}

// fifoWrite: handle, body, flags (O_NONBLOCK). Result.n bytes were written. EPIPE is for the caller to turn into a signal.
func (s *Server) fifoWrite(ctx context.Context, c viewer, op *fspb.Op, body []byte) (*fspb.Result, []byte, error) {
	f, err := c.fifo(op.Handle)
	if err != nil {
		return nil, nil, err
	}
	done := 0
	for done < len(body) {
		n, err := f.do(ctx, op.Flags, func(fd int) (int, error) { return unix.Write(fd, body[done:]) }, false)
		if err != nil {
			if done > 0 {
				break
			}
			return nil, nil, err
		}
		done += n
	}
	return &fspb.Result{N: int64(done)}, nil, nil
}

// fifoClose: handle.
func (s *Server) fifoClose(_ context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	c.mu.Lock()
	f := c.fifos[op.Handle]
	delete(c.fifos, op.Handle)
	c.mu.Unlock()
	if f == nil {
		return nil, nil, syscall.EBADF
	}
	f.close()
	return &fspb.Result{}, nil, nil
}

// do tries call until it does not have to wait, waiting in Go's poller in between. Waiting ends with ctx.
func (f *fifo) do(ctx context.Context, flags uint32, call func(fd int) (int, error), read bool) (int, error) {
	rc, err := f.f.SyscallConn()
	if err != nil {
		return 0, syscall.EBADF
	}
	var n int
	try := func(fd uintptr) bool {
		if ctx.Err() != nil {
			n, err = 0, syscall.EINTR
			return true
		}
		for n, err = call(int(fd)); errors.Is(err, syscall.EINTR); n, err = call(int(fd)) {
		}
		return !errors.Is(err, syscall.EAGAIN) || flags&unix.O_NONBLOCK != 0
	}
	// A deadline would disturb others that wait on the same description; they look at their own ctx and wait on.
	stop := context.AfterFunc(ctx, func() {
		if read {
			_ = f.f.SetReadDeadline(time.Unix(1, 0))
		} else {
			_ = f.f.SetWriteDeadline(time.Unix(1, 0))
		}
	})
	defer stop()
	for {
		var werr error
		if read {
			werr = rc.Read(try)
		} else {
			werr = rc.Write(try)
		}
		switch {
		case werr == nil:
			return n, err
		case !errors.Is(werr, os.ErrDeadlineExceeded):
			return 0, syscall.EBADF
		case ctx.Err() != nil:
			if read {
				_ = f.f.SetReadDeadline(time.Time{})
			} else {
				_ = f.f.SetWriteDeadline(time.Time{})
			}
			return 0, syscall.EINTR
		}
		if read {
			_ = f.f.SetReadDeadline(time.Time{})
		} else {
			_ = f.f.SetWriteDeadline(time.Time{})
		}
	}
}

// ended reports whether a read of 0 bytes is the end: a fifo that no writer has opened yet gives 0 as well, but does not
// hang up.
func (f *fifo) ended() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.met {
		return true
	}
	rc, err := f.f.SyscallConn()
	if err != nil {
		return true
	}
	_ = rc.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		f.met = err == nil && n == 1 && p[0].Revents&unix.POLLHUP != 0
	})
	return f.met
}
