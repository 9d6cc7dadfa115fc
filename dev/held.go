package dev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// held is one descriptor kept at home.
type held struct {
	file   *sys.OpenFile
	fd     int    // of file
	kind   uint32 // file type bits of st_mode
	rdev   uint64 // of a device
	job    int    // of a terminal: the ghost whose it is, 0 if unknown
	mu     sync.Mutex
	refs   int // operations under way, and one for being known; guarded by mu
	closed bool
	lanes  [2]*lane // reads, writes
	path   string   // of the journal; empty: none
	notes  *os.File // the journal, once it is needed; guarded by mu
	own    [2]int   // open files of our own on a pipe or terminal, for reading and for writing; -1: none yet; guarded by mu
}

// hold keeps a descriptor among those of open.
func hold(open *sys.OpenFiles, f *os.File) (*held, error) {
	h := &held{refs: 1, own: [2]int{-1, -1}}
	h.lanes = [2]*lane{newLane(h, 0), newLane(h, 1)}
	var err error
	if cerr := control(f, func(fd int) { h.file, err = open.Keep(fd) }); cerr != nil {
		return nil, cerr
	}
	if err != nil {
		return nil, err
	}
	h.fd, h.kind, h.rdev = h.file.Fd, h.file.Stat.Mode&unix.S_IFMT, h.file.Stat.Rdev
	return h, nil
}

func (h *held) use() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.refs++
	return true
}

func (h *held) put() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refs--; h.refs > 0 {
		return
	}
	h.file.Drop()
	if h.notes != nil {
		h.notes.Close()
		if h.path != "" {
			_ = os.Remove(h.path) // what stays is swept away by the next daemon
		}
	}
	for _, fd := range h.own {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// close forgets the descriptor as soon as no operation uses it.
func (h *held) close() {
	h.mu.Lock()
	again := h.closed
	h.closed = true
	h.mu.Unlock()
	if !again {
		h.put()
	}
}

// stream reports whether those at both ends of a file of this type wait for each other.
func stream(kind uint32) bool { return kind != unix.S_IFREG && kind != unix.S_IFBLK }

// nonblocking gives a descriptor on which an operation does not wait, and whether it is one of our own. Sockets and regular files
// use the original.
func (h *held) nonblocking(write bool) (fd int, own bool, err error) {
	if h.kind != unix.S_IFIFO && h.kind != unix.S_IFCHR {
		return h.fd, false, nil
	}
	at, mode := 0, unix.O_RDONLY
	if write {
		at, mode = 1, unix.O_WRONLY
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.own[at] >= 0 {
		return h.own[at], true, nil
	}
	fd, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", h.fd), mode|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
		h.own[at] = fd
		return fd, true, nil
	case errors.Is(err, syscall.ENXIO) && h.kind == unix.S_IFIFO:
		return -1, false, syscall.EPIPE // a pipe without readers
	}
	return h.fd, false, nil // such as /dev/tty of another session: wait for readiness, then operate
}

// operate performs op until it does not say EAGAIN, waiting meanwhile; EINTR when ctx ends first. Unless patient, an open file that
// is non-blocking at home gives EAGAIN, as it would there.
func (h *held) operate(ctx context.Context, write, patient bool, op func(fd int, flags int) (int, error)) (int, error) {
	access, err := unix.FcntlInt(uintptr(h.fd), unix.F_GETFL, 0)
	if err != nil {
		return 0, err
	}
	if mode := access & unix.O_ACCMODE; write && mode == unix.O_RDONLY || !write && mode == unix.O_WRONLY {
		return 0, syscall.EBADF
	}
	fd, own, err := h.nonblocking(write)
	if err != nil {
		return 0, err
	}
	events := int16(unix.POLLIN)
	if write {
		events = unix.POLLOUT
	}
	waits := stream(h.kind) && (patient || access&unix.O_NONBLOCK == 0)
	if waits && !own && h.kind != unix.S_IFSOCK {
		if err := wait(ctx, fd, events); err != nil {
			return 0, err
		}
	}
	for {
		if h.job != 0 && !write && h.kind == unix.S_IFCHR {
			if err := h.awaitTurn(ctx, fd); err != nil {
				return 0, err
			}
		}
		n, err := op(fd, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EAGAIN) || !waits:
			return n, err
		}
		if err := wait(ctx, fd, events); err != nil {
			return 0, err
		}
	}
}

// read reads up to len(p) bytes at the shared offset; 0 is the end of the file.
func (h *held) read(ctx context.Context, p []byte) (int, error) {
	return h.operate(ctx, false, false, func(fd, flags int) (int, error) {
		return h.lanes[0].attempt(func() (int, error) {
			if h.kind == unix.S_IFSOCK {
				n, _, err := unix.Recvfrom(fd, p, flags)
				return n, err
			}
			return unix.Read(fd, p)
		})
	})
}

// write writes all of p, or what it could and the error. Its lane knows how much of it has been written before.
func (h *held) write(ctx context.Context, p []byte, patient bool) error {
	l := h.lanes[1]
	for l.last.count < uint64(len(p)) || len(p) == 0 {
		n, err := h.operate(ctx, true, patient, func(fd, flags int) (int, error) {
			return l.attempt(func() (int, error) {
				rest := p[l.last.count:]
				if h.kind == unix.S_IFSOCK {
					return unix.SendmsgN(fd, rest, nil, nil, flags)
				}
				return unix.Write(fd, rest)
			})
		})
		if err != nil {
			return err
		}
		if err := l.wrote(n); err != nil {
			return err
		}
		if len(p) == 0 {
			break
		}
	}
	return nil
}

// wait returns when fd is ready for events or broken; EINTR when ctx ended first.
func wait(ctx context.Context, fd int, events int16) error {
	if ctx.Err() != nil {
		return syscall.EINTR
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return err
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		close(woken)
	})
	defer func() {
		if !stop() {
			<-woken
		}
		unix.Close(wake)
	}()
	p := []unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(wake), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, -1)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return err
		case n > 0 && p[0].Revents != 0:
			return nil
		case p[1].Revents != 0:
			return syscall.EINTR
		}
	}
}
