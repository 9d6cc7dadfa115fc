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

	ID   uint64
	TID  int // the calling thread
	Nr   int
	Args [6]uint64
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

// AddFD puts a copy of f into the caller's table at number at, in place of what was there. It does not answer.
func (n *Notification) AddFD(f *os.File, at int) error {
	_, err := sys.SeccompAdd(n.l.fd, &sys.SeccompFD{ID: n.ID, Flags: unix.SECCOMP_ADDFD_FLAG_SETFD, SrcFD: uint32(f.Fd()), NewFD: uint32(at)})
	return err
}

// ReturnFD puts a copy of f, close-on-exec, into the caller's table at the lowest free number, which becomes the call's value.
func (n *Notification) ReturnFD(f *os.File) error {
	a := sys.SeccompFD{ID: n.ID, Flags: unix.SECCOMP_ADDFD_FLAG_SEND, SrcFD: uint32(f.Fd()), NewFDFlags: unix.O_CLOEXEC}
	_, err := sys.SeccompAdd(n.l.fd, &a)
	if errors.Is(err, syscall.EINPROGRESS) {
		return nil // a signal of the runtime's interrupted us after it was done
	}
	return err
}

// Valid reports whether the caller still waits: what was read of it before is its own.
func (n *Notification) Valid() bool { return sys.SeccompIDValid(n.l.fd, n.ID) == nil }

const pageSize = 4096 // reads stop at multiples of this; pages are never smaller

// ReadString reads the zero-terminated string at addr in the caller's memory, at most limit bytes (ENAMETOOLONG). A zero
// addr is EFAULT.
func (n *Notification) ReadString(addr uint64, limit int) (string, error) {
	var first [256]byte // nearly every string fits, and then nothing is allocated but the string
	buf := first[:]
	var out []byte
	for {
		want := min(int(pageSize-addr%pageSize), len(buf))
		got, err := readMemory(n.TID, addr, buf[:want])
		if err != nil {
			return "", err
		}
		if end := bytes.IndexByte(buf[:got], 0); end >= 0 {
			if len(out)+end > limit {
				return "", syscall.ENAMETOOLONG
			}
			if out == nil {
				return string(buf[:end]), nil
			}
			return string(append(out, buf[:end]...)), nil
		}
		out = append(out, buf[:got]...)
		if len(out) > limit {
			return "", syscall.ENAMETOOLONG
		}
		addr += uint64(got)
		if len(buf) < pageSize {
			buf = make([]byte, pageSize)
		}
	}
}

// ReadStrings reads the zero-terminated array of strings at addr, as argv: at most count strings and limit bytes in all
// (E2BIG). What was read so far comes with the error.
func (n *Notification) ReadStrings(addr uint64, count, limit int) ([]string, error) {
	if addr == 0 {
		return nil, nil // Linux takes a null argv for an empty one
	}
	var out []string
	var buf [512]byte
	for {
		want := min(int(pageSize-addr%pageSize), len(buf)) &^ 7
		if want == 0 {
			return out, syscall.EFAULT // an array that is not aligned and crosses a page: no compiler makes one
		}
		got, err := readMemory(n.TID, addr, buf[:want])
		if err != nil {
			return out, err
		}
		for i := 0; i+8 <= got; i += 8 {
			p := binary.NativeEndian.Uint64(buf[i:])
			if p == 0 {
				return out, nil
			}
			if len(out) == count {
				return out, syscall.E2BIG
			}
			s, err := n.ReadString(p, limit)
			if err != nil {
				return out, err
			}
			limit -= len(s) + 1
			out = append(out, s)
		}
		addr += uint64(got)
	}
}

func readMemory(pid int, addr uint64, buf []byte) (int, error) {
	local := []unix.Iovec{{Base: &buf[0]}}
	local[0].SetLen(len(buf))
	got, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(buf)}}, 0)
	if err != nil {
		return 0, fmt.Errorf("memory of %d: %w", pid, err)
	}
	if got == 0 {
		return 0, syscall.EFAULT
	}
	return got, nil
}
