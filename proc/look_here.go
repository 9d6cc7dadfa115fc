package proc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// Look implements Process.
func (l *Local) Look(ctx context.Context, who *Caller, looks []Look) ([]View, error) {
	return lookIn(ctx, who, nil, l.number(), l.number(), looks)
}

// Look implements Process. What it shows is of the nest's own /proc, whose numbers are those of the home.
func (n *Nested) Look(ctx context.Context, who *Caller, looks []Look) ([]View, error) {
	if n.proc == nil {
		return nil, syscall.EOPNOTSUPP
	}
	views, err := lookIn(ctx, who, n.proc, n.inner, n.number(), looks)
	if err == nil && numberOf(n.pidfd) <= 0 {
		return nil, syscall.ESRCH // the number may have been another process's by then
	}
	return views, err
}

// At says where Look finds the process: below a /proc of its nest, by its number there. The directory stays the caller's.
func (n *Nested) At(proc *os.File, inner int) { n.proc, n.inner = proc, inner }

// lookIn looks at a process below proc, where it is number; nil is this host's own. other is its number here.
func lookIn(ctx context.Context, who *Caller, proc *os.File, number, other int, looks []Look) ([]View, error) {
	if len(looks) > MaxLooks {
		return nil, syscall.EINVAL
	}
	views := make([]View, len(looks))
	base, at := "/proc/"+strconv.Itoa(number), unix.AT_FDCWD
	if proc != nil {
		base = strconv.Itoa(number)
	}
	path := func(l *Look) string {
		if l.Path == "" {
			return base
		}
		return base + "/" + l.Path
	}
	do := func() error {
		if who.spared() {
			for i := range looks {
				if views[i].Errno = looks[i].check(); views[i].Errno == 0 {
					lookDirectly(at, path(&looks[i]), &looks[i], &views[i])
				}
			}
			return nil
		}
		var acted [2][]acting // by a child that shares our memory, and by one that does not
		for i := range looks {
			if views[i].Errno = looks[i].check(); views[i].Errno == 0 {
				apart := 0
				if looks[i].ofMemory() {
					apart = 1
				}
				acted[apart] = append(acted[apart], newActing(path(&looks[i]), &looks[i], &views[i]))
			}
		}
		probes := make([]acting, len(acted[1])) // whoever may not even open it needs no child with a copy, which costs more
		for i, a := range acted[1] {
			probes[i] = acting{look: &Look{}, view: a.view, calls: []*sys.Call{
				sys.NewCall(unix.SYS_OPENAT, unix.AT_FDCWD, 0, lookFlags).Buffer(1, append([]byte(path(a.look)), 0)), sys.NewCall(unix.SYS_CLOSE, 0),
			}}
		}
		if err := actFor(ctx, who, at, other, false, append(acted[0], probes...)); err != nil {
			return err
		}
		may := acted[1][:0]
		for _, a := range acted[1] {
			if a.view.Errno == 0 || a.look.Kind == LookLink {
				may = append(may, a)
			}
		}
		return actFor(ctx, who, at, other, true, may)
	}
	if proc == nil {
		return views, do()
	}
	rc, err := proc.SyscallConn()
	if err != nil {
		return nil, syscall.ESRCH
	}
	var derr error
	if err := rc.Control(func(fd uintptr) { at = int(fd); derr = do() }); err != nil {
		return nil, syscall.ESRCH
	}
	return views, derr
}

const lookFlags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC

// lookDirectly is for a caller who may do all that this process may.
func lookDirectly(at int, path string, l *Look, v *View) {
	switch l.Kind {
	case LookStat:
		var st unix.Stat_t
		if err := unix.Fstatat(at, path, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			v.fail(err)
			return
		}
		v.Mode, v.UID, v.GID = st.Mode, st.Uid, st.Gid
	case LookLink:
		b := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(at, path, b)
		if err != nil {
			v.fail(err)
			return
		}
		v.Data = b[:n]
	case LookRead:
		fd, err := unix.Openat(at, path, lookFlags, 0)
		if err != nil {
			v.fail(err)
			return
		}
		defer unix.Close(fd)
		readDirectly(fd, l, v)
	case LookList:
		fd, err := unix.Openat(at, path, lookFlags|unix.O_DIRECTORY, 0)
		if err != nil {
			v.fail(err)
			return
		}
		defer unix.Close(fd)
		list := lister{v: v, skip: l.Offset}
		for b := make([]byte, direntBytes); !list.full(); {
			n, err := unix.Getdents(fd, b)
			if err != nil {
				v.fail(err)
				return
			}
			if n == 0 {
				return
			}
			list.add(b[:n])
		}
	}
}

func readDirectly(fd int, l *Look, v *View) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		v.fail(err)
		return
	}
	v.Mode, v.UID, v.GID = st.Mode, st.Uid, st.Gid
	if l.Offset > 0 {
		if _, err := unix.Seek(fd, l.Offset, unix.SEEK_SET); err != nil {
			v.fail(err)
			return
		}
	}
	b := make([]byte, l.Size)
	n := 0
	for n < len(b) {
		m, err := unix.Read(fd, b[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil && n == 0 {
			v.fail(err)
			return
		}
		if m <= 0 {
			v.Data = b[:n]
			return
		}
		n += m
	}
	v.Data, v.More = b[:n], true
}

func (v *View) fail(err error) {
	if !errors.As(err, &v.Errno) {
		v.Errno = syscall.EIO
	}
}

// acting is a Look made ready for a child: its calls, the first of which decides.
type acting struct {
	look  *Look
	view  *View
	calls []*sys.Call
	bufs  [][]byte
}

// Sizes of what a child reads at a time. The kernel gives most files in pieces of a page.
const (
	pieceBytes  = 4096
	direntBytes = 32 << 10
	statxBytes  = 256
	mostDirents = 64
)

func newActing(path string, l *Look, v *View) acting {
	a := acting{look: l, view: v}
	name := append([]byte(path), 0)
	buffer := func(n int) []byte {
		b := make([]byte, n)
		a.bufs = append(a.bufs, b)
		return b
	}
	call := func(c *sys.Call) { a.calls = append(a.calls, c) }
	open := func(flags int) { // it gets the lowest number, as none is open
		call(sys.NewCall(unix.SYS_OPENAT, unix.AT_FDCWD, 0, lookFlags|flags).Buffer(1, name))
	}
	closed := func() { call(sys.NewCall(unix.SYS_CLOSE, 0)) }
	switch l.Kind {
	case LookStat:
		call(sys.NewCall(unix.SYS_STATX, unix.AT_FDCWD, 0, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS).Buffer(1, name).Buffer(4, buffer(statxBytes)))
	case LookLink:
		b := buffer(unix.PathMax)
		call(sys.NewCall(unix.SYS_READLINKAT, unix.AT_FDCWD, 0, 0, len(b)).Buffer(1, name).Buffer(2, b))
	case LookRead:
		open(0)
		call(sys.NewCall(unix.SYS_STATX, 0, 0, unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS).Buffer(1, []byte{0}).Buffer(4, buffer(statxBytes)))
		call(sys.NewCall(unix.SYS_LSEEK, 0, int(l.Offset), unix.SEEK_SET))
		for n := 0; n < l.Size; n += pieceBytes {
			b := buffer(min(pieceBytes, l.Size-n))
			call(sys.NewCall(unix.SYS_READ, 0, 0, len(b)).Buffer(1, b))
		}
		closed()
	case LookList:
		open(unix.O_DIRECTORY)
		for n := int64(0); n < min(2+2*(l.Offset/MaxEntries+1), mostDirents); n++ {
			b := buffer(direntBytes)
			call(sys.NewCall(unix.SYS_GETDENTS64, 0, 0, len(b)).Buffer(1, b))
		}
		closed()
	}
	return a
}

// actFor lets a child look with the caller's rights. It has no descriptor but those that it opens. A /proc that is not this host's own does not know
// whether that hides processes (hidepid), so this host's is asked first.
func actFor(ctx context.Context, who *Caller, at, other int, apart bool, as []acting) error {
	if len(as) == 0 {
		return nil
	}
	var calls []*sys.Call
	if at != unix.AT_FDCWD {
		here := append([]byte("/proc/"+strconv.Itoa(other)), 0)
		calls = append(calls, sys.NewCall(unix.SYS_OPENAT, unix.AT_FDCWD, 0, lookFlags|unix.O_DIRECTORY).Buffer(1, here), sys.NewCall(unix.SYS_FCHDIR, at))
	}
	if !apart {
		other = 0
	}
	calls = append(calls, sys.NewCall(unix.SYS_CLOSE_RANGE, 0, 1<<31-1, 0))
	first := len(calls)
	for _, a := range as {
		calls = append(calls, a.calls...)
	}
	if err := asOn(ctx, who, other, calls...); err != nil {
		return err
	}
	for _, c := range calls[:first] {
		if _, errno := c.Result(); errno != 0 {
			return errno
		}
	}
	for _, a := range as {
		a.finish()
	}
	return nil
}

// finish reads what the child has left.
func (a *acting) finish() {
	v, l := a.view, a.look
	n, errno := a.calls[0].Result()
	if v.Errno = errno; errno != 0 {
		return
	}
	switch l.Kind {
	case LookStat:
		v.stat(a.bufs[0])
	case LookLink:
		v.Data = a.bufs[0][:n]
	case LookRead:
		if _, v.Errno = a.calls[2].Result(); l.Offset > 0 && v.Errno != 0 {
			return
		}
		v.Errno, v.More = 0, true
		v.stat(a.bufs[0])
		for i, b := range a.bufs[1:] {
			n, errno := a.calls[3+i].Result()
			if errno != 0 && len(v.Data) == 0 {
				v.Errno = errno
			}
			if errno != 0 || n == 0 {
				v.More = false
				return
			}
			v.Data = append(v.Data, b[:n]...)
		}
	case LookList:
		list := lister{v: v, skip: l.Offset}
		for i, b := range a.bufs {
			n, errno := a.calls[1+i].Result()
			if errno != 0 {
				v.Errno = errno
				return
			}
			if n == 0 {
				return
			}
			list.add(b[:n])
		}
		v.More = len(v.Entries) > 0 // what is behind the last piece was not read
	}
}

// stat reads a struct statx.
func (v *View) stat(b []byte) {
	e := binary.NativeEndian
	v.UID, v.GID, v.Mode = e.Uint32(b[20:]), e.Uint32(b[24:]), uint32(e.Uint16(b[28:]))
}

// ReadNames gives all names in an open directory.
func ReadNames(fd int) ([]Entry, error) {
	var all []Entry
	for b := make([]byte, direntBytes/2); ; { // no more than MaxEntries names fit into that
		n, err := unix.Getdents(fd, b)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return all, nil
		}
		v := &View{}
		list := lister{v: v}
		list.add(b[:n])
		all = append(all, v.Entries...)
	}
}

// lister gathers names.
type lister struct {
	v    *View
	skip int64
}

// full reports that no more names fit, and says so in the view.
func (l *lister) full() bool {
	if len(l.v.Entries) >= MaxEntries {
		l.v.More = true
	}
	return l.v.More
}

// add takes a piece of struct dirent64.
func (l *lister) add(b []byte) {
	const header = 19 // inode, offset, length, type
	for len(b) >= header {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size < header || size > len(b) {
			return
		}
		name, _, _ := bytes.Cut(b[header:size], []byte{0})
		typ := b[18]
		b = b[size:]
		if string(name) == "." || string(name) == ".." {
			continue
		}
		if l.skip > 0 {
			l.skip--
			continue
		}
		if l.full() {
			return
		}
		l.v.Entries = append(l.v.Entries, Entry{string(name), uint32(typ)})
	}
}
