package netfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// fid is an object's identity as fanotify reports it: the file system and a file handle within it.
type fid struct {
	fsid   [8]byte
	typ    int32
	handle string
}

// event is one change at home, made outside of the protocol.
type event struct {
	mask     uint64
	tid      int32
	dir      fid // valid if hasDir, with name ("." means dir itself)
	name     string
	obj      fid // the file itself, valid if hasObj
	hasDir   bool
	hasObj   bool
	overflow bool
}

// What is watched. Reading, opening and closing are not: they change nothing that a client keeps.
const (
	watchNames = unix.FAN_CREATE | unix.FAN_DELETE | unix.FAN_MOVED_FROM | unix.FAN_MOVED_TO
	watchData  = unix.FAN_MODIFY | unix.FAN_ATTRIB
	watchDir   = watchNames | watchData | unix.FAN_ONDIR | unix.FAN_EVENT_ON_CHILD
)

// fanotify is a notification group of the kernel. Its queue is not bounded: a bound would lose changes, and the reader is
// never far behind.
type fanotify struct {
	fd   int
	file *os.File // fd's owner
	conn syscall.RawConn
	buf  []byte
}

func newFanotify() (*fanotify, error) {
	const fidFlags = unix.FAN_REPORT_FID | unix.FAN_REPORT_DIR_FID | unix.FAN_REPORT_NAME | unix.FAN_REPORT_TARGET_FID
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|unix.FAN_UNLIMITED_QUEUE|
		unix.FAN_UNLIMITED_MARKS|unix.FAN_REPORT_TID|fidFlags, unix.O_RDONLY|unix.O_LARGEFILE)
	if err != nil {
		return nil, fmt.Errorf("fanotify: %w: serving a tree needs root and Linux 5.17 or later", err)
	}
	f := &fanotify{fd: fd, file: os.NewFile(uintptr(fd), "fanotify"), buf: make([]byte, 256<<10)}
	if f.conn, err = f.file.SyscallConn(); err == nil {
		err = f.file.SetReadDeadline(time.Time{}) // fails where it cannot be polled
	}
	if err != nil {
		f.close()
		return nil, fmt.Errorf("fanotify: %w", err)
	}
	return f, nil
}

// mark watches the file or directory that fd (O_PATH will do) is open on.
func (f *fanotify) mark(fd int, mask uint64) error {
	return unix.FanotifyMark(f.fd, unix.FAN_MARK_ADD, mask, unix.AT_FDCWD, procFD(fd))
}

// wait blocks until there are events or stop is called. It does so in Go's poller: a thread that waits in the kernel keeps
// Go's scheduler looking at it.
func (f *fanotify) wait() error {
	err := f.conn.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && n > 0
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errClosed
	}
	return err
}

// stop ends wait, for good.
func (f *fanotify) stop() { _ = f.file.SetReadDeadline(time.Unix(1, 0)) }

var errClosed = errors.New("closed") // the server is closing

// drain reads until the queue is empty and hands every event to f.
func (f *fanotify) drain(take func(*event)) error {
	for {
		n, err := unix.Read(f.fd, f.buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil:
			return err
		}
		for b := f.buf[:n]; len(b) > 0; {
			e, rest, err := parseEvent(b)
			if err != nil {
				return err
			}
			take(&e)
			b = rest
		}
	}
}

const eventHeader = 24 // struct fanotify_event_metadata

// parseEvent reads the first event of b and gives what follows it.
func parseEvent(b []byte) (e event, rest []byte, err error) {
	le := binary.NativeEndian
	if len(b) < eventHeader {
		return e, nil, fmt.Errorf("fanotify: an event of %d bytes is shorter than its header", len(b))
	}
	size, head := int(le.Uint32(b)), int(le.Uint16(b[6:]))
	if size < eventHeader || size > len(b) || head < eventHeader || head > size {
		return e, nil, fmt.Errorf("fanotify: an event says it has %d bytes, %d of them header, in a buffer of %d", size, head, len(b))
	}
	e.mask = le.Uint64(b[8:])
	e.tid = int32(le.Uint32(b[20:]))
	e.overflow = e.mask&unix.FAN_Q_OVERFLOW != 0
	for info := b[head:size]; len(info) >= 4; {
		n := int(le.Uint16(info[2:]))
		if n < 4 || n > len(info) {
			return e, nil, fmt.Errorf("fanotify: a record says it has %d bytes where %d are left", n, len(info))
		}
		rec := info[4:n]
		kind := info[0]
		info = info[n:]
		if len(rec) < 16 {
			continue
		}
		var id fid
		copy(id.fsid[:], rec)
		hn := uint64(le.Uint32(rec[8:]))
		id.typ = int32(le.Uint32(rec[12:]))
		if hn > uint64(len(rec)-16) {
			return e, nil, fmt.Errorf("fanotify: a handle of %d bytes in a record of %d", hn, len(rec))
		}
		id.handle = string(rec[16 : 16+hn])
		switch kind {
		case unix.FAN_EVENT_INFO_TYPE_FID:
			e.obj, e.hasObj = id, true
		case unix.FAN_EVENT_INFO_TYPE_DFID:
			e.dir, e.hasDir, e.name = id, true, "."
		case unix.FAN_EVENT_INFO_TYPE_DFID_NAME:
			e.dir, e.hasDir = id, true
			name := rec[16+hn:]
			for i, c := range name {
				if c == 0 {
					name = name[:i]
					break
				}
			}
			e.name = string(name)
		}
	}
	return e, b[size:], nil
}

func (f *fanotify) close() { _ = f.file.Close() }

// procFD names an open descriptor so that it can be opened again, or marked, whatever became of its name.
func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
