package nest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	maxPacket = 64 << 10 // a longer message goes as a memfd with the packet
	maxFDs    = 250      // the kernel takes 253 in one packet; the memfd is one more
)

// conn is one end of the socket between daemon and init. Sends may come from several goroutines, receives from one.
type conn struct {
	nc   *net.UnixConn
	lock sync.Mutex // of sending
	rbuf []byte
	obuf []byte
	from int // who sent the last message read, where that is asked for (passSenders)
}

// newConn takes over the socket fd.
func newConn(fd int) (*conn, error) {
	f := os.NewFile(uintptr(fd), "nest")
	defer f.Close()
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		nc.Close()
		return nil, fmt.Errorf("nest: descriptor %d is not a unix socket: %w", fd, syscall.ENOTSOCK)
	}
	return &conn{nc: uc, rbuf: make([]byte, maxPacket+1), obuf: make([]byte, unix.CmsgSpace(4*(maxFDs+1))+unix.CmsgSpace(unix.SizeofUcred))}, nil
}

func (c *conn) close() { c.nc.Close() }

// passSenders makes read tell who sent a message.
func (c *conn) passSenders() error {
	rc, err := c.nc.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := rc.Control(func(fd uintptr) { inner = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) }); err != nil {
		return err
	}
	return inner
}

// write sends one message with descriptors, which stay the caller's.
func (c *conn) write(e *encoder, fds ...int) error { return c.send(nil, e, fds) }

// writeAs sends one message as if from another thread, whose number the kernel translates for the receiver: only it knows both name
// spaces.
func (c *conn) writeAs(tid int, e *encoder) error {
	return c.send(unix.UnixCredentials(&unix.Ucred{Pid: int32(tid), Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())}), e, nil)
}

func (c *conn) send(oob []byte, e *encoder, fds []int) error {
	if len(fds) > maxFDs {
		return fmt.Errorf("%d descriptors are over the limit of %d of one process: %w", len(fds), maxFDs, syscall.EMFILE)
	}
	flag, body := byte(0), e.b
	if len(body) >= maxPacket {
		fd, err := spill(body)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		flag, body, fds = 1, body[:1], append(append([]int(nil), fds...), fd)
	}
	if len(fds) > 0 {
		oob = append(oob, unix.UnixRights(fds...)...)
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	_, _, err := c.nc.WriteMsgUnix(append(slices.Clip(body), flag), oob, nil)
	return err
}

// read gives the next message and the descriptors that came with it, which are the caller's. The message is valid until the next
// read.
func (c *conn) read() (kind byte, d *decoder, fds []int, err error) {
	n, oobn, flags, _, err := c.nc.ReadMsgUnix(c.rbuf, c.obuf)
	if err != nil {
		return 0, nil, nil, err
	}
	if oobn > 0 {
		if fds, c.from, err = control(c.obuf[:oobn]); err != nil {
			return 0, nil, nil, err
		}
	}
	if n < 2 || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		closeAll(fds)
		if n == 0 {
			return 0, nil, nil, syscall.ECONNRESET
		}
		return 0, nil, nil, errWire
	}
	body := c.rbuf[:n-1]
	if c.rbuf[n-1] == 1 {
		if len(fds) == 0 {
			return 0, nil, nil, errWire
		}
		last := fds[len(fds)-1]
		fds = fds[:len(fds)-1]
		body, err = unspill(last)
		unix.Close(last)
		if err != nil || len(body) == 0 {
			closeAll(fds)
			return 0, nil, nil, errors.Join(errWire, err)
		}
	}
	return body[0], &decoder{b: body[1:]}, fds, nil
}

// control gives the descriptors and the sender that came with a message.
func control(oob []byte) (fds []int, from int, err error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, 0, err
	}
	for i := range msgs {
		if who, err := unix.ParseUnixCredentials(&msgs[i]); err == nil {
			from = int(who.Pid)
			continue
		}
		got, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // some other kind of control message
		}
		for _, fd := range got {
			unix.CloseOnExec(fd)
		}
		fds = append(fds, got...)
	}
	return fds, from, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// spill puts a message into a memfd.
func spill(b []byte) (int, error) {
	fd, err := unix.MemfdCreate("nest", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, err
	}
	for off := 0; off < len(b); {
		n, err := unix.Pwrite(fd, b[off:], int64(off))
		if err != nil {
			unix.Close(fd)
			return -1, err
		}
		off += n
	}
	return fd, nil
}

func unspill(fd int) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	b := make([]byte, st.Size)
	for off := 0; off < len(b); {
		n, err := unix.Pread(fd, b[off:], int64(off))
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, errWire
		}
		off += n
	}
	return b, nil
}
