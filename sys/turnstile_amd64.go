package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// take takes one away from a number that others change too, and gives what it was.
//
//go:noescape
func take(p *int32) int32

func startTurnstile(s *turnstileState) syscall.Errno {
	_, errno := startBare(bareThread, s, turnstileLoop, &s.stack, nil)
	return errno
}

// turnstileLoop is the thread: see startBare. A fork is remembered before it is counted, so that who
// has taken away all that is left knows of all that were let through.
//
//go:norace
//go:nosplit
//go:noinline
func turnstileLoop(s *turnstileState) {
	for {
		s.notif = SeccompNotif{}
		_, _, e := syscall.RawSyscall(unix.SYS_IOCTL, uintptr(s.listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&s.notif)))
		if e == unix.ENOENT || e == unix.EINTR { // the caller died first
			continue
		}
		if e != 0 {
			break
		}
		switch s.notif.Data.Nr {
		case unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_CLONE, unix.SYS_CLONE3:
			if s.notif.Data.Arch != unix.AUDIT_ARCH_X86_64 {
				break
			}
			at := s.forks % turnstileForks
			s.tids[at] = s.notif.Pid
			s.forks++
			if take(&s.left) > 0 {
				s.resp = SeccompResp{ID: s.notif.ID, Flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
				syscall.RawSyscall(unix.SYS_IOCTL, uintptr(s.listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&s.resp)))
				continue
			}
			s.tids[at] = 0
		}
		n, _, e := syscall.RawSyscall(unix.SYS_WRITE, uintptr(s.out), uintptr(unsafe.Pointer(&s.notif)), unsafe.Sizeof(s.notif))
		if e != 0 || n != unsafe.Sizeof(s.notif) {
			break
		}
	}
	syscall.RawSyscall(unix.SYS_CLOSE, uintptr(s.out), 0, 0)
	for {
		syscall.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	}
}
