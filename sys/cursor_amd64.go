package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func startCursor(s *cursorState) syscall.Errno {
	_, errno := startBare(bareThread, s, cursorLoop, &s.stack, nil)
	return errno
}

// cursorLoop is the thread: see startBare.
//
//go:norace
//go:nosplit
//go:noinline
func cursorLoop(s *cursorState) {
	const fifo = 1
	syscall.RawSyscall(unix.SYS_SCHED_SETSCHEDULER, 0, fifo, uintptr(unsafe.Pointer(&s.priority))) // refused in many a cgroup
	for {
		if s.on == 0 {
			const wait = 0
			syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&s.on)), wait, 0, 0, 0, 0)
			continue
		}
		syscall.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&s.pause)), 0, 0)
		n, _, e := syscall.RawSyscall6(unix.SYS_PREAD64, uintptr(s.next), uintptr(unsafe.Pointer(&s.text[0])), uintptr(len(s.text)), 0, 0, 0)
		if e != 0 || n > uintptr(len(s.text)) {
			continue
		}
		at := int32(0)
		for i := range n {
			c := s.text[i%uintptr(len(s.text))]
			if c < '0' || c > '9' {
				break
			}
			at = 10*at + int32(c-'0')
		}
		first, last := s.first, s.last
		if at >= first-1 && at < s.turn {
			s.pause.Nsec = cursorBusy
			if at == s.seen {
				s.pause.Nsec = cursorQuiet
			}
			s.seen = at
			continue
		}
		back := first - 1
		s.seen, s.pause.Nsec = back, cursorBusy
		div, k := int32(1), uintptr(0)
		for back/div >= 10 {
			div *= 10
		}
		for ; div > 0; div /= 10 {
			s.text[k%uintptr(len(s.text))] = byte('0' + back/div%10)
			k++
		}
		syscall.RawSyscall6(unix.SYS_PWRITE64, uintptr(s.next), uintptr(unsafe.Pointer(&s.text[0])), k, 0, 0, 0)
		s.said[0] = CursorBack
		if at < first-1 || at > last {
			s.said[0] = CursorOut
		}
		syscall.RawSyscall(unix.SYS_WRITE, uintptr(s.out), uintptr(unsafe.Pointer(&s.said[0])), 1)
	}
}
