//go:build linux

package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// AwaitChild blocks until a child has ended, stopped or been continued, and gives its pid. The news stays: the next wait4 for that child takes it.
// ECHILD: there is no child; EINTR.
func AwaitChild() (pid int, errno syscall.Errno) {
	var si siginfo
	_, _, errno = unix.Syscall6(unix.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&si)),
		unix.WEXITED|unix.WSTOPPED|unix.WCONTINUED|unix.WNOWAIT|unix.WALL, 0, 0)
	return int(si.pid), errno
}
