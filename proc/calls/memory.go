package calls

import (
	"encoding/binary"
	"syscall"

	"github.com/onehost/onehost/sys"
)

// read reads the caller's memory: all n bytes at addr, or EFAULT.
func (c *Call) read(addr uint64, n int) ([]byte, error) {
	b := make([]byte, n)
	if n == 0 {
		return b, nil
	}
	if int64(addr) < 0 {
		return nil, syscall.EFAULT
	}
	if _, err := c.mem.ReadAt(b, int64(addr)); err != nil {
		return nil, syscall.EFAULT
	}
	return b, nil
}

// write writes into the caller's memory: all of b, or EFAULT. It is the memory that the thread had when it made the call; whatever it has
// become since is not written to. Unlike the kernel, which has what may be written in mind, this also writes what may only be read.
func (c *Call) write(addr uint64, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if int64(addr) < 0 {
		return syscall.EFAULT
	}
	if _, err := c.mem.WriteAt(b, int64(addr)); err != nil {
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
