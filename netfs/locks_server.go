package netfs

import (
	"context"
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/netfs/fspb"
)

// lockKey is who holds locks on what. Each has an open file description of its own at home: its locks (OFD locks, which
// exclude the home's fcntl locks, or flock) go with it, whatever end the client comes to.
type lockKey struct {
	id    string
	owner uint64
	flock bool
}

// How a lock call behaves, in Op.flags.
const (
	lockGet = iota
	lockSet
	lockWait
	lockDrop // all locks of the owner on the file
)

// Waiting for a lock is asking again, for a thread that waits in the kernel could not be called back.
const (
	lockFirst = time.Millisecond
	lockLast  = 25 * time.Millisecond
)

// lock: id, lock, flags.
func (s *Server) lock(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	l := op.GetLock()
	if l == nil {
		return nil, nil, syscall.EINVAL
	}
	key := lockKey{string(op.Id), l.GetOwner(), l.GetFlock()}
	if op.Flags == lockDrop {
		for _, key.flock = range []bool{false, true} {
			c.mu.Lock()
			fd, ok := c.locks[key]
			delete(c.locks, key)
			c.mu.Unlock()
			if ok {
				_ = unix.Close(fd)
			}
		}
		return &fspb.Result{}, nil, nil
	}
	fd, err := s.lockFD(c.client, key)
	if err != nil {
		return nil, nil, err
	}
	ft := unix.Flock_t{Type: int16(l.Type), Start: int64(l.Start), Len: 0}
	if l.End < 1<<63-1 {
		ft.Len = int64(l.End - l.Start + 1)
	}
	if op.Flags == lockGet {
		if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &ft); err != nil {
			return nil, nil, err
		}
		out := &fspb.Lock{Type: uint32(ft.Type), Start: uint64(ft.Start), End: 1<<63 - 1, Pid: uint32(max(ft.Pid, 0))}
		if ft.Len > 0 {
			out.End = uint64(ft.Start + ft.Len - 1)
		}
		return &fspb.Result{Lock: out}, nil, nil
	}
	for wait := lockFirst; ; wait = min(2*wait, lockLast) {
		if l.Flock {
			err = unix.Flock(fd, map[uint32]int{unix.F_RDLCK: unix.LOCK_SH, unix.F_WRLCK: unix.LOCK_EX, unix.F_UNLCK: unix.LOCK_UN}[l.Type]|unix.LOCK_NB)
		} else {
			err = unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &ft)
		}
		busy := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES)
		if !busy || op.Flags != lockWait {
			return &fspb.Result{}, nil, err
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, nil, syscall.EINTR
		case <-t.C:
		}
	}
}

// lockFD gives the description that the owner's locks live in.
func (s *Server) lockFD(c *client, key lockKey) (int, error) {
	c.mu.Lock()
	fd, ok := c.locks[key]
	c.mu.Unlock()
	if ok {
		return fd, nil
	}
	x, fd, err := s.open([]byte(key.id), unix.O_RDWR)
	if errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ETXTBSY) || errors.Is(err, syscall.EISDIR) {
		x, err = s.files.get(key.id)
		if err == nil {
			if fd, err = unix.Open(procFD(x.fd), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
				s.files.put(x)
			}
		}
	}
	if err != nil {
		return -1, err
	}
	s.files.put(x)
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.locks[key]; ok || c.gone {
		_ = unix.Close(fd)
		if !ok {
			return -1, syscall.EHOSTDOWN
		}
		return old, nil
	}
	c.locks[key] = fd
	return fd, nil
}
