package intercept

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// Nests describes the filter of a nest. In a nest the number says more than the host part: those of the block that was leased to
// it are its own processes, of which the kernel knows best; 0 is the caller; any other may be at home or anywhere. Notified are the calls
// about any other, the calls by which a process learns of its parent, group and session, and what makes threads, so that the
// numbers that the kernel gives out can be counted.
//
// What makes a process is not: a signal that comes before the notification is taken ends the wait, with EINTR if its handler
// was set without SA_RESTART, and no program expects that of a fork. A shell's next fork often meets the SIGCHLD of its last one. The C
// libraries block all signals where they make threads.
type Nests struct {
	First, Last uint32 // the block
	// Pass in the third argument of clone3 and setpgid, of which the kernel knows nothing, lets these two go without notice. It is how the
	// process that answers the notifications makes those it shall answer to, and nobody else can guess it.
	Pass uint64
	// Forks has the making of processes notified too.
	Forks bool
}

// What makes processes and threads in 32-bit programs: clone3, clone, fork and vfork. Nothing else of theirs is looked at.
const compatClone = 120

var compatForks, compatProcesses = []uint32{435}, []uint32{2, 190}

// argPass is the first argument that neither clone3 nor setpgid has.
const argPass = 2

// Filter builds the program.
func (f Nests) Filter() ([]unix.SockFilter, error) {
	var b builder
	b.load(offArch)
	compat := f.compat()
	b.skipIf(auditArch, 1+1+len(compat))
	b.skipIf(compatArch, 1)
	b.ret(unix.SECCOMP_RET_ALLOW)
	b.prog = append(b.prog, compat...)
	b.load(offNr)
	if otherNumbers != 0 { // or one could fork by them unseen
		b.skipBelow(otherNumbers, 1)
		b.ret(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))
	}
	notify := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF}}
	always := append([]uint32{unix.SYS_GETPPID, unix.SYS_GETPGID, unix.SYS_GETSID, unix.SYS_SETSID}, getpgrp...)
	if f.Forks {
		always = append(always, moreForks...)
	}
	if err := b.rule(unix.SYS_CLONE, f.clone()); err != nil {
		return nil, err
	}
	for _, nr := range always {
		if err := b.rule(nr, notify); err != nil {
			return nil, err
		}
	}
	for _, nr := range []uint32{unix.SYS_CLONE3, unix.SYS_SETPGID} {
		if err := b.rule(nr, f.unlessPassed()); err != nil {
			return nil, err
		}
	}
	for _, r := range table() {
		switch r.nr {
		case unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_WAIT4, unix.SYS_WAITID, unix.SYS_SETPGID, unix.SYS_GETPGID, unix.SYS_GETSID:
			continue
		}
		if err := b.rule(r.nr, f.body(r)); err != nil {
			return nil, err
		}
	}
	b.ret(unix.SECCOMP_RET_ALLOW)
	return b.prog, nil
}

// compat builds what 32-bit programs are looked at for.
func (f Nests) compat() []unix.SockFilter {
	var b builder
	b.load(offNr)
	for _, nr := range compatForks {
		b.skipUnless(nr, 1)
		b.ret(unix.SECCOMP_RET_USER_NOTIF)
	}
	if f.Forks {
		for _, nr := range compatProcesses {
			b.skipUnless(nr, 1)
			b.ret(unix.SECCOMP_RET_USER_NOTIF)
		}
	}
	clone := f.clone()
	b.skipUnless(compatClone, len(clone))
	b.prog = append(b.prog, clone...)
	b.ret(unix.SECCOMP_RET_ALLOW)
	return b.prog
}

// clone notifies the making of a thread, and lets that of a process pass, by vfork too.
func (f Nests) clone() []unix.SockFilter {
	var b builder
	if !f.Forks {
		b.load(low(0))
		b.skipUnlessSet(unix.CLONE_VM, 1)
		b.skipUnlessSet(unix.CLONE_VFORK, 1)
		b.ret(unix.SECCOMP_RET_ALLOW)
	}
	b.ret(unix.SECCOMP_RET_USER_NOTIF)
	return b.prog
}

func (f Nests) unlessPassed() []unix.SockFilter {
	var b builder
	b.load(low(argPass))
	b.skipUnless(uint32(f.Pass), 3)
	b.load(low(argPass) + 4)
	b.skipUnless(uint32(f.Pass>>32), 1)
	b.ret(unix.SECCOMP_RET_ALLOW)
	b.ret(unix.SECCOMP_RET_USER_NOTIF)
	return b.prog
}

func (f Nests) body(r rule) []unix.SockFilter {
	var b builder
	if r.which >= 0 {
		b.load(low(r.which))
		for _, v := range r.not {
			b.skipUnless(uint32(v), 1)
			b.ret(unix.SECCOMP_RET_ALLOW)
		}
	}
	if r.nr == unix.SYS_TGKILL {
		// The runtime of a Go program, as which the nest's pid 1 makes these processes, interrupts its own threads by it, and cannot wait
		// for an answer then.
		b.load(low(0))
		b.skipUnless(1, 1)
		b.ret(unix.SECCOMP_RET_ALLOW)
	}
	for _, arg := range r.pids {
		b.load(low(arg))
		if !r.group { // 0 is the caller
			b.skipIf(0, 3)
		}
		b.skipBelow(f.First, 1)
		b.skipUpTo(f.Last, 1)
		b.ret(unix.SECCOMP_RET_USER_NOTIF)
	}
	b.ret(unix.SECCOMP_RET_ALLOW)
	return b.prog
}

// CountForks lets forks pass before anything of the process wakes up, as many as it is told to: see sys.Turnstile. Each hands on all else. Call
// it before Each; nil means that this machine has none, and that Each hands on all.
func (l *Listener) CountForks() *sys.Turnstile {
	t, err := sys.NewTurnstile(l.fd)
	if err != nil {
		return nil
	}
	l.stile = t
	return t
}

// eachCounted is Each behind a turnstile.
func (l *Listener) eachCounted(f func(*Notification)) error {
	for {
		var raw sys.SeccompNotif
		if err := l.stile.Receive(&raw); err != nil {
			return fmt.Errorf("seccomp listener: %w", err)
		}
		f(l.notification(&raw))
	}
}

// Fork reports whether a notification of a nest is about making a process or a thread.
func (n *Notification) Fork() bool {
	if n.Compat {
		return true
	}
	if n.Nr == unix.SYS_CLONE || n.Nr == unix.SYS_CLONE3 {
		return true
	}
	for _, nr := range moreForks {
		if n.Nr == int(nr) {
			return true
		}
	}
	return false
}

// Getpgrp reports whether a notification of a nest is getpgrp, which not every architecture has.
func (n *Notification) Getpgrp() bool { return len(getpgrp) > 0 && n.Nr == int(getpgrp[0]) }

// PidArguments gives the arguments of a call that hold pids.
func PidArguments(nr int) []int {
	for _, r := range table() {
		if int(r.nr) == nr {
			return r.pids
		}
	}
	return nil
}
