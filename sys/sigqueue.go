//go:build linux

package sys

import (
	"math"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfo is the head of the kernel's siginfo_t on 64-bit machines, as rt_sigqueueinfo reads it.
type siginfo struct {
	signo, errno, code, _ int32
	pid                   int32
	uid                   uint32
	value                 int64
	_                     [128 - 32]byte
}

// Sigqueue sends a signal with a code, a sender and a value to one process. The kernel takes only codes below 0 other than SI_TKILL for a
// process other than the caller (EPERM); with those it lets the caller say anything.
func Sigqueue(pid, sig int, code, from int32, uid uint32, value int64) syscall.Errno {
	si := &siginfo{signo: int32(sig), code: code, value: value, pid: from, uid: uid}
	_, _, errno := syscall.RawSyscall(unix.SYS_RT_SIGQUEUEINFO, uintptr(pid), uintptr(sig), uintptr(unsafe.Pointer(si)))
	return errno
}

// AwaitGroupKills returns when every kill of a process group that had begun has reached all of it: kill holds for reading what the
// failing setpgid has to hold for writing.
func AwaitGroupKills() {
	_ = unix.Setpgid(math.MaxInt32, 0) // ESRCH: there is no such process
}
