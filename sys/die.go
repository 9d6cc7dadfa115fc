//go:build linux

package sys

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Die ends this process by a signal as if it had no handler for it: the runtime ignores some and turns others into a trace of its
// goroutines. It returns only if the signal does not end a process, or the kernel would not have it.
func Die(sig syscall.Signal) {
	runtime.LockOSThread() // the signal is sent to this thread, so it has come when tgkill returns
	defer runtime.UnlockOSThread()
	var act [4]uint64 // struct sigaction of the kernel: SIG_DFL
	mask := uint64(1) << (sig - 1)
	syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_UNBLOCK, uintptr(unsafe.Pointer(&mask)), 0, 8, 0, 0)
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), sig)
}
