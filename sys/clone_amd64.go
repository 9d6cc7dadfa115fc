package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sharesMemory says that a child sees, and leaves, what is in its parent's memory.
const sharesMemory = true

// stackSize is the child's: run and the calls below it are nosplit, which the linker holds to 800 bytes.
const stackSize = 16 << 10

// cloneAndRun makes the child in this process's memory, on a stack of its own. A copy of the memory, as fork makes one, would cost more than
// all the rest of starting a process: copying and freeing the page tables of a Go program, and a fault for each page that
// either side writes to meanwhile.
func cloneAndRun(ca *cloneArgs, p *Program, pass uintptr) (uintptr, syscall.Errno) {
	p.stack = make([]byte, stackSize)
	ca.flags |= unix.CLONE_VM
	ca.stack = uint64(uintptr(unsafe.Pointer(&p.stack[0])))
	ca.stackSize = stackSize - 64 // room for what a callee may spill
	f := run
	pid, errno := cloneShared(ca, unsafe.Sizeof(*ca), unsafe.Pointer(p), **(**uintptr)(unsafe.Pointer(&f)), pass)
	return pid, syscall.Errno(errno)
}

// cloneShared is clone3, with pass as an argument too many; the child calls the function whose code is at entry, with arg. It does so by Go's own calling convention:
// the wrapper that assembly would call instead tells the race detector of the call, on behalf of a goroutine that goes on elsewhere.
//
//go:noescape
func cloneShared(ca *cloneArgs, size uintptr, arg unsafe.Pointer, entry, pass uintptr) (pid, errno uintptr)
