package calls

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// read reads the caller's memory: all n bytes at addr, or EFAULT.
func (c *Call) read(addr uint64, n int) ([]byte, error) {
	b := make([]byte, n)
	if n == 0 {
		return b, nil
	}
	iov := []unix.Iovec{{Base: &b[0]}}
	iov[0].SetLen(n)
	got, err := unix.ProcessVMReadv(c.TID, iov, []unix.RemoteIovec{{Base: uintptr(addr), Len: n}}, 0)
	if err != nil || got != n {
		return nil, syscall.EFAULT
	}
	return b, nil
}

// write writes into the caller's memory, if it still waits: all of b, or EFAULT.
func (c *Call) write(addr uint64, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if now, err := c.show(); err != nil || now != c.shown {
		return syscall.ESRCH // nobody waits for the answer
	}
	iov := []unix.Iovec{{Base: &b[0]}}
	iov[0].SetLen(len(b))
	got, err := unix.ProcessVMWritev(c.TID, iov, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
	if err != nil || got != len(b) {
		return syscall.EFAULT
	}
	return nil
}

// spans reads an array of struct iovec.
func (c *Call) spans(addr, count uint64) ([]sys.Span, error) {
	const most, size = 1024, 16 // UIO_MAXIOV
	if count > most {
		return nil, syscall.EINVAL
	}
	b, err := c.read(addr, int(count)*size)
	if err != nil {
		return nil, err
	}
	spans := make([]sys.Span, count)
	for i := range spans {
		spans[i] = sys.Span{Base: binary.NativeEndian.Uint64(b[i*size:]), Len: binary.NativeEndian.Uint64(b[i*size+8:])}
		if int64(spans[i].Len) < 0 {
			return nil, syscall.EINVAL
		}
	}
	return spans, nil
}
