package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bareStack is the stack of a thread without the Go runtime, as that of a child in our memory.
const bareStack = stackSize

// bareThread is what makes a thread of this process, bareProcess a child that tells nobody of its end, both of which share all but the registers.
const (
	bareProcess = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM
	bareThread  = bareProcess | unix.CLONE_THREAD
)

// startBare runs loop, which must not return, on a thread or process of its own of which the runtime does not know, and gives its id. It
// begins with every signal blocked, so that no handler of the runtime's can run there.
//
// loop must be nosplit, noinline and norace. It must not be preempted, grow its stack, allocate or write a pointer; nor use sync/atomic, which
// the race detector replaces by calls of its own that need a goroutine. Plain loads and stores of aligned words are whole on this machine. What s
// points to, the stack in it and alive, which is nil or what the kernel clears at the end, must lie outside of Go's heap and stacks.
func startBare[S any](flags uint64, s *S, loop func(*S), stack *[bareStack]byte, alive *uint32) (int, syscall.Errno) {
	ca := &cloneArgs{
		flags: flags, stack: uint64(uintptr(unsafe.Pointer(stack))), stackSize: bareStack - 64, // room for what a callee may spill
	}
	if alive != nil {
		*alive = 1
		ca.flags |= unix.CLONE_CHILD_CLEARTID
		ca.childTid = uint64(uintptr(unsafe.Pointer(alive)))
	}
	entry := **(**uintptr)(unsafe.Pointer(&loop))
	all, old := ^uint64(0), uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	id, errno := cloneShared(ca, unsafe.Sizeof(*ca), unsafe.Pointer(s), entry, 0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	if errno != 0 && alive != nil {
		*alive = 0
	}
	return int(id), syscall.Errno(errno)
}
