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

// heldLock is such a description. client.mu guards it.
type heldLock struct {
	fd   int
	seq  uint64 // of the last request
	uses int    // requests under way, and one for being known
}

// put ends a use.
func (k *heldLock) put(c *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k.putLocked()
}

func (k *heldLock) putLocked() {
	if k.uses--; k.uses == 0 {
		_ = unix.Close(k.fd)
	}
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
			if k := c.locks[key]; k != nil && (l.Seq == 0 || l.Seq >= k.seq) {
				delete(c.locks, key)
				k.putLocked()
			}
			c.mu.Unlock()
		}
		return &fspb.Result{}, nil, nil
	}
	ft := unix.Flock_t{Type: int16(l.Type), Start: int64(l.Start), Len: 0}
	if l.End < 1<<63-1 {
		ft.Len = int64(l.End - l.Start + 1)
	}
	if op.Flags == lockGet {
		return s.lockHolder(c.client, key, ft)
	}
	k, err := s.lockFor(c.client, key, l.Seq)
	if err != nil {
		return nil, nil, err
	}
	defer k.put(c.client)
	fd := k.fd
	for wait := lockFirst; ; wait = min(2*wait, lockLast) {
		if l.Flock {
			err = unix.Flock(fd, map[uint32]int{unix.F_RDLCK: unix.LOCK_SH, unix.F_WRLCK: unix.LOCK_EX, unix.F_UNLCK: unix.LOCK_UN}[l.Type]|unix.LOCK_NB)
		} else {
			err = unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &ft)
		}
		busy := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES)
		if !busy || op.Flags != lockWait {
			res := &fspb.Result{}
			if err == nil && l.Type != unix.F_UNLCK {
				err = s.heard(ctx, c, res)
			}
			return res, nil, err
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

// lockHolder says who holds a lock that is in the way of ft. An owner that has none itself is told by a description of the moment, for nothing would
// end one that was kept.
func (s *Server) lockHolder(c *client, key lockKey, ft unix.Flock_t) (*fspb.Result, []byte, error) {
	fd := -1
	if k := c.locked(key, 0); k != nil {
		defer k.put(c)
		fd = k.fd
	} else {
		var err error
		if fd, err = s.openForLock(key.id); err != nil {
			return nil, nil, err
		}
		defer func() { _ = unix.Close(fd) }()
	}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &ft); err != nil {
		return nil, nil, err
	}
	out := &fspb.Lock{Type: uint32(ft.Type), Start: uint64(ft.Start), End: 1<<63 - 1, Pid: uint32(max(ft.Pid, 0))}
	if ft.Len > 0 {
		out.End = uint64(ft.Start + ft.Len - 1)
	}
	return &fspb.Result{Lock: out}, nil, nil
}

// locked gives the description that the owner's locks live in, for the request seq, nil: it has none. It must be put back.
func (c *client) locked(key lockKey, seq uint64) *heldLock {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lockedLocked(key, seq)
}

func (c *client) lockedLocked(key lockKey, seq uint64) *heldLock {
	k := c.locks[key]
	if k != nil {
		k.seq = max(k.seq, seq)
		k.uses++
	}
	return k
}

// lockFor gives the description that the owner's locks live in, for the request seq, and makes it if it has none. It must be put back.
func (s *Server) lockFor(c *client, key lockKey, seq uint64) (*heldLock, error) {
	if k := c.locked(key, seq); k != nil {
		return k, nil
	}
	fd, err := s.openForLock(key.id)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.lockedLocked(key, seq); k != nil || c.gone {
		_ = unix.Close(fd)
		if k == nil {
			return nil, syscall.EHOSTDOWN
		}
		return k, nil
	}
	c.locks[key] = &heldLock{fd: fd, seq: seq, uses: 1}
	return c.lockedLocked(key, seq), nil
}

// openForLock opens a file to lock it: for writing if it can be, since write locks need that.
func (s *Server) openForLock(id string) (int, error) {
	x, fd, err := s.open([]byte(id), unix.O_RDWR)
	if errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ETXTBSY) || errors.Is(err, syscall.EISDIR) {
		x, err = s.files.get(id)
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
	return fd, nil
}
