package intercept

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// Notification is one system call whose caller waits for an answer: exactly one of Continue, Return, Fail and
// ReturnFD. An answer that comes too late, because the caller died, is dropped.
type Notification struct {
	l *Listener

	ID     uint64
	TID    int // the calling thread
	Nr     int
	Compat bool // the caller is a 32-bit program, whose calls have other numbers
	Args   [6]uint64
}

// Continue lets the kernel carry out the call.
func (n *Notification) Continue() {
	_ = sys.SeccompSend(n.l.fd, &sys.SeccompResp{ID: n.ID, Flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE})
}

// Return ends the call with the value.
func (n *Notification) Return(value int64) {
	_ = sys.SeccompSend(n.l.fd, &sys.SeccompResp{ID: n.ID, Val: value})
}

// Fail ends the call with the errno.
func (n *Notification) Fail(e syscall.Errno) {
	_ = sys.SeccompSend(n.l.fd, &sys.SeccompResp{ID: n.ID, Error: -int32(e)})
}

// AddFD puts a copy of our descriptor fd into the caller's table at number at, in place of what was there. It does not answer.
func (n *Notification) AddFD(fd, at int) error {
	_, err := n.add(fd, sys.SeccompFD{ID: n.ID, Flags: unix.SECCOMP_ADDFD_FLAG_SETFD, NewFD: uint32(at)})
	return err
}

// ReturnFD puts a copy of f, close-on-exec, into the caller's table at the lowest free number, which becomes the call's value.
//
// It does so in two steps. SECCOMP_ADDFD_FLAG_SEND would be one, but when a signal reaches us in the middle of it (the runtime's
// own, a stop, the freezer) the kernel takes the descriptor back and lets the answer stand: the caller is told 0 and
// has nothing.
func (n *Notification) ReturnFD(f *os.File) error {
	rc, err := f.SyscallConn() // File.Fd would make its open file blocking for all who share it
	if err != nil {
		return err
	}
	var at int
	cerr := rc.Control(func(fd uintptr) { at, err = n.add(int(fd), sys.SeccompFD{ID: n.ID, NewFDFlags: unix.O_CLOEXEC}) })
	if err = errors.Join(cerr, err); err != nil {
		return err
	}
	n.Return(int64(at))
	return nil
}

func (n *Notification) add(fd int, a sys.SeccompFD) (int, error) {
	a.SrcFD = uint32(fd)
	for {
		if at, err := sys.SeccompAdd(n.l.fd, &a); !errors.Is(err, syscall.EINTR) {
			return at, err
		}
	}
}

// Valid reports whether the caller still waits: what was read of it before is its own.
func (n *Notification) Valid() bool { return sys.SeccompIDValid(n.l.fd, n.ID) == nil }

// ReadString reads the zero-terminated string at addr in the caller's memory, at most limit bytes (ENAMETOOLONG). A zero
// addr is EFAULT.
func (n *Notification) ReadString(addr uint64, limit int) (string, error) {
	m := memory{pid: n.TID}
	return m.string(addr, limit)
}

// ReadStrings reads the zero-terminated array of strings at addr, as argv: at most count strings and limit bytes in all
// (E2BIG). What was read so far comes with the error.
func (n *Notification) ReadStrings(addr uint64, count, limit int) ([]string, error) {
	if addr == 0 {
		return nil, nil // Linux takes a null argv for an empty one
	}
	var out []string
	pointers, strings := memory{pid: n.TID}, memory{pid: n.TID}
	for {
		var b [8]byte
		for i := range b { // a pointer may cross a page
			at, err := pointers.at(addr + uint64(i))
			if err != nil {
				return out, err
			}
			b[i] = at[0]
		}
		addr += 8
		p := binary.NativeEndian.Uint64(b[:])
		if p == 0 {
			return out, nil
		}
		if len(out) == count {
			return out, syscall.E2BIG
		}
		s, err := strings.string(p, limit)
		if err != nil {
			return out, err
		}
		limit -= len(s) + 1
		out = append(out, s)
	}
}

const pageSize = 4096 // reads stop at multiples of this; pages are never smaller

// memory reads another process's memory, a page at a time: the strings of an argv lie together.
type memory struct {
	pid  int
	base uint64 // address of page
	page []byte
	buf  [pageSize]byte
}

// at gives what lies at addr, up to the end of its page: at least one byte.
func (m *memory) at(addr uint64) ([]byte, error) {
	if addr < m.base || addr >= m.base+uint64(len(m.page)) {
		base := addr &^ (pageSize - 1)
		local := []unix.Iovec{{Base: &m.buf[0]}}
		local[0].SetLen(pageSize)
		m.page = nil
		got, err := unix.ProcessVMReadv(m.pid, local, []unix.RemoteIovec{{Base: uintptr(base), Len: pageSize}}, 0)
		if err != nil {
			return nil, fmt.Errorf("memory of %d: %w", m.pid, err)
		}
		if got != pageSize {
			return nil, syscall.EFAULT
		}
		m.base, m.page = base, m.buf[:]
	}
	return m.page[addr-m.base:], nil
}

func (m *memory) string(addr uint64, limit int) (string, error) {
	var out []byte
	for {
		b, err := m.at(addr)
		if err != nil {
			return "", err
		}
		end := bytes.IndexByte(b, 0)
		size := end
		if end < 0 {
			size = len(b)
		}
		if len(out)+size > limit {
			return "", syscall.ENAMETOOLONG
		}
		if end >= 0 && out == nil {
			return string(b[:end]), nil
		}
		out = append(out, b[:size]...)
		if end >= 0 {
			return string(out), nil
		}
		addr += uint64(size)
	}
}
