//go:build linux

package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pidfdInfo is struct pidfd_info of the kernel, its first version.
type pidfdInfo struct {
	mask, cgroup uint64
	_            [11]uint32
	exitCode     int32
}

const (
	pidfdGetInfo  = 0xc040ff0b
	pidfdInfoExit = 1 << 3
)

// PidfdExit gives the wait status of a process that has ended and has been waited for by its parent. False: it has not yet, or the kernel is
// older than 6.15 and keeps none.
func PidfdExit(fd int) (status int32, ok bool) {
	info := pidfdInfo{mask: pidfdInfoExit}
	_, _, errno := syscall.RawSyscall(unix.SYS_IOCTL, uintptr(fd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	return info.exitCode, errno == 0 && info.mask&pidfdInfoExit != 0
}

// ioctl numbers of a pid name space, from Linux 6.11 on.
const (
	nsPidFrom = 0x8004b706
	nsPidIn   = 0x8004b708
)

// PidFromSpace gives the number, in this process's own pid name space, of the thread that has the number pid in the name space of the
// descriptor. ESRCH: nobody has it.
func PidFromSpace(ns, pid int) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(unix.SYS_IOCTL, uintptr(ns), nsPidFrom, uintptr(pid))
	return int(n), errno
}

// PidInSpace gives the number, in the name space of the descriptor, of the thread that has the number pid in this process's own.
func PidInSpace(ns, pid int) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(unix.SYS_IOCTL, uintptr(ns), nsPidIn, uintptr(pid))
	return int(n), errno
}
