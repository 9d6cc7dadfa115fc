package sys

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The probes ask the kernel whether it has a feature, without using it: each leaves no descriptor, filter or other
// change behind. They return 0 when the feature is there and may be used by this process, ENOSYS or EINVAL when the
// kernel lacks it, EPERM when this process may not use it. None blocks.

// ProbeSeccompNotify looks for seccomp user notification with every filter flag that sessions use. A filter that points
// nowhere is refused with EFAULT only after the kernel has accepted the flags.
func ProbeSeccompNotify() syscall.Errno {
	action := uint32(unix.SECCOMP_RET_USER_NOTIF)
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	runtime.KeepAlive(&action)
	if e != 0 {
		return e
	}
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	_, _, e = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, 0)
	if e == unix.EFAULT {
		return 0
	}
	return e
}

// ProbeUserfaultfd looks for userfaultfd, which serves pages of a process that moved.
func ProbeUserfaultfd() syscall.Errno {
	fd, _, e := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK, 0, 0)
	if e == 0 {
		unix.Close(int(fd))
	}
	return e
}

// ProbeFanotify looks for fanotify with directory handles and names (Linux 5.9), which tells of changes at home.
func ProbeFanotify() syscall.Errno {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_CLOEXEC|unix.FAN_REPORT_DFID_NAME, unix.O_RDONLY)
	if err == nil {
		unix.Close(fd)
	}
	return probeErrno(err)
}

// ProbeFileHandle takes a handle of path and opens the file by it again.
func ProbeFileHandle(path string) syscall.Errno {
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
	if err != nil {
		return probeErrno(err)
	}
	mount, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return probeErrno(err)
	}
	defer unix.Close(mount)
	fd, err := unix.OpenByHandleAt(mount, h, unix.O_PATH|unix.O_CLOEXEC)
	if err == nil {
		unix.Close(fd)
	}
	return probeErrno(err)
}

// ProbePidfdGetfd looks for pidfd_getfd (Linux 5.6), which fetches the descriptors of a stopped process. A bad pidfd is
// refused with EBADF only by a kernel that knows the call.
func ProbePidfdGetfd() syscall.Errno {
	_, err := unix.PidfdGetfd(-1, 0, 0)
	if e := probeErrno(err); e != unix.EBADF {
		return e
	}
	return 0
}

// ClockSynchronized reports whether something disciplines the kernel's clock (NTP, PTP). It changes nothing.
func ClockSynchronized() (bool, syscall.Errno) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return false, probeErrno(err)
	}
	return t.Status&unix.STA_UNSYNC == 0, 0
}

func probeErrno(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if e, ok := err.(syscall.Errno); ok { //nolint:errorlint // x/sys returns bare errnos, never wrapped ones
		return e
	}
	return syscall.EIO
}
