//go:build linux

package sys

import (
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stopping is held while a signal has its default: there is one process to stop.
var stopping sync.Mutex

// Stop stops this process by a signal of job control as if it had no handler for it, and returns when it is continued: at
// once if the process group is orphaned, which such a signal does not stop. It does not stop if still, asked at the last moment, says no, and never twice:
// the signal is pending before that moment, so that a SIGCONT after it takes it back, also one that ends a stop by somebody else's signal. While the process
// is stopped another gives the signal its handler back: this thread may be on a CPU long after the SIGCONT, and the next such signal is not to stop it.
func Stop(sig syscall.Signal, still func() bool) {
	stopping.Lock()
	defer stopping.Unlock()
	runtime.LockOSThread() // the signal is sent to this thread
	defer runtime.UnlockOSThread()
	var old, act [4]uint64 // struct sigaction of the kernel; act is SIG_DFL
	mask, was := uint64(1)<<(sig-1), uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, uintptr(unsafe.Pointer(&mask)), uintptr(unsafe.Pointer(&was)), 8, 0, 0)
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), sig)
	if still() {
		syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
		guard := theGuard.start(sig, old)
		syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_UNBLOCK, uintptr(unsafe.Pointer(&mask)), 0, 8, 0, 0)
		syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
		theGuard.end(guard)
	} else {
		var now unix.Timespec
		syscall.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&mask)), 0, uintptr(unsafe.Pointer(&now)), 8, 0, 0) // taken back already: EAGAIN
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&was)), 0, 8, 0, 0)
}
