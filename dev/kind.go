package dev

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
)

// Kind says how a descriptor goes to another host.
type Kind int

// The kinds; the package comment says what each is.
const (
	Stay Kind = iota
	Output
	Terminal
	Shipped
	Path
	Ended
	Input
)

var kindNames = [...]string{"stay", "output", "terminal", "shipped", "path", "ended", "input"}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", int(k))
	}
	return kindNames[k]
}

const pipeMagic = 0x50495045 // f_type of an unnamed pipe

// Classify says how f, descriptor n of a process, can go to another host; for Stay also why it cannot.
func Classify(n int, f *os.File) (Kind, string) {
	kind, reason := Stay, ""
	if err := control(f, func(fd int) { kind, reason = classify(n, fd, &seen{}) }); err != nil {
		return Stay, fmt.Sprintf("descriptor %d: %v", n, err)
	}
	return kind, reason
}

// control gives the number of f without changing its mode.
func control(f *os.File, fn func(fd int)) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return rc.Control(func(fd uintptr) { fn(int(fd)) })
}

// seen is what classify sees of a descriptor.
type seen struct {
	st    unix.Stat_t
	flags int
	link  string // what /proc says that it is of
}

func classify(n, fd int, as *seen) (Kind, string) {
	stay := func(what string) (Kind, string) { return Stay, fmt.Sprintf("descriptor %d is %s", n, what) }
	st := &as.st
	if err := unix.Fstat(fd, st); err != nil {
		return stay(fmt.Sprintf("unreadable: %v", err))
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return stay(fmt.Sprintf("unreadable: %v", err))
	}
	if flags&unix.O_PATH != 0 {
		return stay("a bare path")
	}
	link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return stay(fmt.Sprintf("unreadable: %v", err))
	}
	as.flags, as.link = flags, link
	mode := flags & unix.O_ACCMODE
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		switch {
		case mode == unix.O_WRONLY:
			return Output, ""
		case mode == unix.O_RDONLY && ended(fd):
			return Ended, ""
		}
		return Shipped, ""
	case unix.S_IFSOCK:
		if t, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || t != unix.SOCK_STREAM || n > 2 {
			return stay("a socket")
		}
		if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listens != 0 {
			return stay("a listening socket")
		}
		if n == 0 {
			return Shipped, ""
		}
		return Output, ""
	case unix.S_IFCHR:
		return device(fd, st.Rdev, link, stay)
	case unix.S_IFDIR:
		switch {
		case strings.HasSuffix(link, " (deleted)"):
			return stay("a removed directory")
		case names.EveryHostsOwn(link):
			return stay("a directory of the kernel: " + link)
		}
		var has unix.Stat_t
		if err := unix.Lstat(link, &has); err != nil || has.Dev != st.Dev || has.Ino != st.Ino {
			return stay("a hidden directory")
		}
		return Path, ""
	case unix.S_IFREG:
		switch {
		case strings.HasPrefix(link, "/memfd:"):
			return stay("shared memory (memfd)")
		case !strings.HasPrefix(link, "/"):
			return stay("a kernel object: " + link)
		}
		return Shipped, ""
	}
	return stay("a kernel object: " + link)
}

func device(fd int, rdev uint64, link string, stay func(string) (Kind, string)) (Kind, string) {
	if unix.Major(rdev) == 1 {
		switch unix.Minor(rdev) {
		case 3, 5, 7, 8, 9:
			return Path, ""
		}
	}
	if unix.Major(rdev) == 5 && unix.Minor(rdev) == 2 {
		return stay("the master of a terminal")
	}
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		return stay("the device " + link)
	}
	return Terminal, ""
}

// ended reports whether an unnamed pipe has no writer and nothing in it: no writer can ever come again.
func ended(fd int) bool {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type != pipeMagic {
		return false
	}
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1 && p[0].Revents == unix.POLLHUP
}

// devicePath names the nest's own device for a Path descriptor that is a device.
func devicePath(rdev uint64) string {
	return map[uint32]string{3: "/dev/null", 5: "/dev/zero", 7: "/dev/full", 8: "/dev/random", 9: "/dev/urandom"}[unix.Minor(rdev)]
}
