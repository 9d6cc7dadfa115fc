package netfs

import (
	"bytes"
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// dirReader reads a directory through an open descriptor.
type dirReader struct {
	fd  int
	buf []byte
	bp  []byte
}

// next gives the next name (nil at the end), its type as S_IFMT bits, its inode and the offset behind it.
func (d *dirReader) next() (name []byte, typ uint32, ino uint64, next int64, err error) {
	if len(d.bp) == 0 {
		if d.buf == nil {
			d.buf = make([]byte, 64<<10)
		}
		n, err := unix.ReadDirent(d.fd, d.buf)
		if err != nil || n == 0 {
			return nil, 0, 0, 0, err
		}
		d.bp = d.buf[:n]
	}
	e := binary.NativeEndian
	const head = 19 // struct linux_dirent64 up to d_name
	if len(d.bp) < head {
		return nil, 0, 0, 0, syscall.EIO
	}
	size := int(e.Uint16(d.bp[16:]))
	if size < head || size > len(d.bp) {
		return nil, 0, 0, 0, syscall.EIO
	}
	ino, next, typ = e.Uint64(d.bp), int64(e.Uint64(d.bp[8:])), uint32(d.bp[18])<<12
	raw := d.bp[head:size]
	if i := bytes.IndexByte(raw, 0); i >= 0 {
		raw = raw[:i]
	}
	d.bp = d.bp[size:]
	return bytes.Clone(raw), typ, ino, next, nil
}
