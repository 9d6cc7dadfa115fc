//go:build !amd64

package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sharesMemory says that a child leaves nothing in its parent's memory.
const sharesMemory = false

// cloneAndRun makes the child as a copy of this process. It must not be preempted, grow its stack or write a pointer between
// clone3 and execve.
//
//go:norace
//go:nosplit
//go:noinline
func cloneAndRun(ca *cloneArgs, p *Program, pass uintptr) (uintptr, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(ca)), unsafe.Sizeof(*ca), pass, 0, 0, 0)
	if errno == 0 && pid == 0 {
		run(p)
	}
	return pid, errno
}
