package sys

import (
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stopGuard is a process beside this one that shares its memory and its dispositions of signals, and is not stopped with it. It gives the signal its
// handler back as soon as the process is stopped. It lies outside of Go's heap and stacks.
type stopGuard struct {
	sig   uintptr
	act   [4]uint64 // struct sigaction of the kernel: the handler
	pause unix.Timespec
	path  [32]byte // of the process's stat, with a zero at its end
	text  [64]byte
	stack [16 << 10]byte
}

// theGuard is the one that there may be at a time.
var theGuard stopGuard

// Bounds of a guard: how often it looks, in nanoseconds, and how many times.
const (
	guardEvery = 200_000
	guardTimes = 50_000
)

// start makes the process and gives its number, or 0. The caller has set sig to its default, and the guard sets it back to act.
func (g *stopGuard) start(sig syscall.Signal, act [4]uint64) int {
	g.sig, g.act = uintptr(sig), act
	g.pause.Nsec = guardEvery
	copy(g.path[:], "/proc/"+strconv.Itoa(unix.Getpid())+"/stat\x00")
	child, errno := startBare(bareProcess, g, guardLoop, &g.stack, nil)
	if errno != 0 {
		return 0
	}
	return child
}

// end ends the process, whatever it does, and waits for it.
func (g *stopGuard) end(pid int) {
	if pid == 0 {
		return
	}
	_ = unix.Kill(pid, unix.SIGKILL) // it has ended, mostly
	for {
		if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != syscall.EINTR { //nolint:errorlint // a system call's own
			return
		}
	}
}

// guardLoop is the process: see startBare.
//
//go:norace
//go:nosplit
//go:noinline
func guardLoop(g *stopGuard) {
	const cwd = ^uintptr(99) // AT_FDCWD
	syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0)
	for range guardTimes {
		fd, _, e := syscall.RawSyscall6(unix.SYS_OPENAT, cwd, uintptr(unsafe.Pointer(&g.path[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
		if e != 0 {
			break
		}
		n, _, e := syscall.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&g.text[0])), uintptr(len(g.text)))
		syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
		if e != 0 || n > uintptr(len(g.text)) {
			break
		}
		end := n // the name may hold anything
		for i := range n {
			if g.text[i%uintptr(len(g.text))] == ')' {
				end = i
			}
		}
		if g.text[(end+2)%uintptr(len(g.text))] == 'T' {
			syscall.RawSyscall6(unix.SYS_RT_SIGACTION, g.sig, uintptr(unsafe.Pointer(&g.act)), 0, 8, 0, 0)
			break
		}
		syscall.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&g.pause)), 0, 0)
	}
	for {
		syscall.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	}
}
