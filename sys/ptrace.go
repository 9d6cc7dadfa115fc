package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// All of these must be called from the one thread that seized the tracee: lock the goroutine to its thread first.

// PtraceSeize begins to trace a thread without stopping it.
func PtraceSeize(tid, options int) error {
	_, _, e := syscall.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(tid), 0, uintptr(options), 0, 0)
	return errnoErr(e)
}

// PtraceOptions sets the options of a stopped tracee.
func PtraceOptions(tid, options int) error {
	_, _, e := syscall.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SETOPTIONS, uintptr(tid), 0, uintptr(options), 0, 0)
	return errnoErr(e)
}

// PtraceSignalMask reads the blocked signals of a stopped tracee, bit n-1 for signal n.
func PtraceSignalMask(tid int) (uint64, error) {
	var mask uint64
	_, _, e := syscall.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GETSIGMASK, uintptr(tid), 8, uintptr(unsafe.Pointer(&mask)), 0, 0)
	return mask, errnoErr(e)
}

// PtraceSetSignalMask sets the blocked signals of a stopped tracee.
func PtraceSetSignalMask(tid int, mask uint64) error {
	_, _, e := syscall.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SETSIGMASK, uintptr(tid), 8, uintptr(unsafe.Pointer(&mask)), 0, 0)
	return errnoErr(e)
}

// PtraceDetach lets a stopped tracee go on untraced, with the signal unless it is 0.
func PtraceDetach(tid, signal int) error {
	_, _, e := syscall.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_DETACH, uintptr(tid), 0, uintptr(signal), 0, 0)
	return errnoErr(e)
}
