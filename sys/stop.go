//go:build linux

package sys

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Stop stops this process by a signal of job control as if it had no handler for it, and returns when it is continued: at
// once if the process group is orphaned, which such a signal does not stop.
func Stop(sig syscall.Signal) {
	runtime.LockOSThread() // the signal is sent to this thread, so it has come when tgkill returns
	defer runtime.UnlockOSThread()
	var old, act [4]uint64 // struct sigaction of the kernel; act is SIG_DFL
	mask, was := uint64(1)<<(sig-1), uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_UNBLOCK, uintptr(unsafe.Pointer(&mask)), uintptr(unsafe.Pointer(&was)), 8, 0, 0)
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), sig)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&was)), 0, 8, 0, 0)
	syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
}
