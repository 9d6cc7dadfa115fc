package sys

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctl numbers of a seccomp listener that golang.org/x/sys lacks.
const (
	seccompIDValid  = 0x40082102
	seccompAddFD    = 0x40182103
	seccompSetFlags = 0x40082104
)

// SeccompInstall puts the filter on the calling thread, and on all that it will make, and gives the filter's listener, close-on-exec. The
// caller needs CAP_SYS_ADMIN. EBUSY: a filter that is there already has a listener.
func SeccompInstall(prog []unix.SockFilter) (fd int, err error) {
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	p := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	n, _, e := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&p)))
	runtime.KeepAlive(prog)
	if e != 0 {
		return -1, e
	}
	return int(n), nil
}

// SeccompData is struct seccomp_data: the system call that was stopped.
type SeccompData struct {
	Nr   int32
	Arch uint32
	IP   uint64
	Args [6]uint64
}

// SeccompNotif is struct seccomp_notif. Pid is the calling thread's id in the reader's pid name space.
type SeccompNotif struct {
	ID    uint64
	Pid   uint32
	Flags uint32
	Data  SeccompData
}

// SeccompResp is struct seccomp_notif_resp. Error is a negative errno.
type SeccompResp struct {
	ID    uint64
	Val   int64
	Error int32
	Flags uint32
}

// SeccompFD is struct seccomp_notif_addfd.
type SeccompFD struct {
	ID         uint64
	Flags      uint32
	SrcFD      uint32
	NewFD      uint32
	NewFDFlags uint32
}

// SeccompReceive takes the next notification; it blocks until there is one. ENOENT means that the caller died in
// between, or that nobody is left under the filter.
func SeccompReceive(fd int, n *SeccompNotif) error {
	*n = SeccompNotif{} // the kernel insists
	_, _, e := syscall.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(n)))
	return errnoErr(e)
}

// SeccompSend answers a notification. ENOENT means that the caller is gone, EINPROGRESS that it was answered.
func SeccompSend(fd int, r *SeccompResp) error {
	_, _, e := syscall.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(r)))
	return errnoErr(e)
}

// SeccompIDValid returns ENOENT when the caller of the notification no longer waits for its answer.
func SeccompIDValid(fd int, id uint64) error {
	_, _, e := syscall.RawSyscall(unix.SYS_IOCTL, uintptr(fd), seccompIDValid, uintptr(unsafe.Pointer(&id)))
	return errnoErr(e)
}

// SeccompAdd puts a descriptor of ours into the caller's table and returns its number there; with
// SECCOMP_ADDFD_FLAG_SEND that number is the answer too.
func SeccompAdd(fd int, a *SeccompFD) (int, error) {
	n, _, e := syscall.Syscall(unix.SYS_IOCTL, uintptr(fd), seccompAddFD, uintptr(unsafe.Pointer(a)))
	if e != 0 {
		return -1, e
	}
	return int(n), nil
}

// SeccompFlags sets flags of a listener (SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP). Kernels before 6.6 have none: EINVAL.
func SeccompFlags(fd int, flags uint64) error {
	_, _, e := syscall.RawSyscall(unix.SYS_IOCTL, uintptr(fd), seccompSetFlags, uintptr(flags))
	return errnoErr(e)
}

func errnoErr(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}
