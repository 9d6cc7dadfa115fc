package ghost

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// FD is one descriptor of a held process: its number there, and a copy of it here.
type FD struct {
	N    int
	File *os.File
}

// ErrStays says that a process has something that cannot go elsewhere; the text names it.
var ErrStays = errors.New("stays")

// maxFDs bounds the descriptors a process may take along: what one message carries.
const maxFDs = 250

// Descriptors copies the descriptors of the process, which lost those that close on exec already. One that cannot go
// gives an error that wraps ErrStays. The files are the caller's to close.
func (h *Held) Descriptors() (fds []FD, err error) {
	var few [16]int
	list, err := h.numbers(few[:0])
	if err != nil {
		return nil, err
	}
	if len(list) > maxFDs {
		return nil, fmt.Errorf("%w: %d descriptors", ErrStays, len(list))
	}
	pidfd, err := unix.PidfdOpen(h.Pid, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd of %d: %w", h.Pid, err)
	}
	defer unix.Close(pidfd)
	defer func() {
		if err != nil {
			CloseAll(fds)
			fds = nil
		}
	}()
	fds = make([]FD, 0, len(list))
	for _, n := range list {
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			return fds, fmt.Errorf("descriptor %d of %d: %w", n, h.Pid, err)
		}
		fds = append(fds, FD{N: n, File: os.NewFile(uintptr(fd), "inherited "+strconv.Itoa(n))})
		if err := movable(fd); err != nil {
			return fds, err
		}
	}
	return fds, nil
}

// direntName is where the name lies in a struct linux_dirent64, and direntLen its length.
const (
	direntLen  = 16
	direntName = 19
)

// numbers appends the numbers of the process's descriptors, in order, as the kernel lists them. It does so by bare system calls: it is done for each
// job.
func (h *Held) numbers(to []int) ([]int, error) {
	dir, err := unix.Open("/proc/"+strconv.Itoa(h.Pid)+"/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("descriptors of %d: %w", h.Pid, err)
	}
	defer unix.Close(dir)
	var buf [1024]byte
	for {
		n, err := unix.Getdents(dir, buf[:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, fmt.Errorf("descriptors of %d: %w", h.Pid, err)
		case n == 0:
			slices.Sort(to) // which they are already
			return to, nil
		}
		for b := buf[:n]; len(b) > direntName; {
			size := int(binary.NativeEndian.Uint16(b[direntLen:]))
			if size <= direntName || size > len(b) {
				return nil, fmt.Errorf("descriptors of %d: %w", h.Pid, unix.EBADMSG)
			}
			if n, ok := number(b[direntName:size]); ok {
				to = append(to, n)
			}
			b = b[size:]
		}
	}
}

// number reads a decimal number that a zero byte ends; "." and ".." are none.
func number(name []byte) (n int, ok bool) {
	for i, c := range name {
		switch {
		case c == 0:
			return n, i > 0
		case c < '0' || c > '9' || n > math.MaxInt32:
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return 0, false
}

// CloseAll closes the copies.
func CloseAll(fds []FD) {
	for _, fd := range fds {
		fd.File.Close()
	}
}

// Kept is one descriptor of a ghost that may have to come back: its number, and its open file, which jobs of one make have in common.
type Kept struct {
	N    int
	File *sys.OpenFile
}

// Keep keeps descriptors, which stay the caller's; DropAll gives them back.
func Keep(open *sys.OpenFiles, fds []FD) (kept []Kept, err error) {
	for _, fd := range fds {
		k := Kept{N: fd.N}
		rc, err := fd.File.SyscallConn()
		if err == nil {
			cerr := rc.Control(func(n uintptr) { k.File, err = open.Keep(int(n)) })
			err = errors.Join(err, cerr)
		}
		if err != nil {
			DropAll(kept)
			return nil, fmt.Errorf("keeping descriptor %d: %w", fd.N, err)
		}
		kept = append(kept, k)
	}
	return kept, nil
}

// Files copies kept descriptors, for a message. CloseAll closes the copies.
func Files(kept []Kept) (fds []FD, err error) {
	for _, k := range kept {
		n, err := unix.FcntlInt(uintptr(k.File.Fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			CloseAll(fds)
			return nil, fmt.Errorf("copying descriptor %d: %w", k.N, err)
		}
		fds = append(fds, FD{N: k.N, File: os.NewFile(uintptr(n), "inherited "+strconv.Itoa(k.N))})
	}
	return fds, nil
}

// DropAll gives kept descriptors back.
func DropAll(kept []Kept) {
	for _, k := range kept {
		k.File.Drop()
	}
}

// movable tells what can be shipped: files, directories, pipes, fifos, terminals and devices.
func movable(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("descriptor %d: %w", fd, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return fmt.Errorf("%w: inherited socket", ErrStays)
	case unix.S_IFREG:
		if st.Nlink == 0 && strings.HasPrefix(kind(fd), "/memfd:") {
			return fmt.Errorf("%w: inherited memfd", ErrStays)
		}
	case unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO, unix.S_IFDIR:
	default: // epoll, eventfd, timerfd, signalfd, pidfd, io_uring, perf …
		return fmt.Errorf("%w: inherited %s", ErrStays, kind(fd))
	}
	return nil
}

func kind(fd int) string {
	link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "descriptor of an unknown kind"
	}
	name := strings.TrimPrefix(link, "anon_inode:")
	return strings.Trim(name, "[]")
}
