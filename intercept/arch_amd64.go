package intercept

import "golang.org/x/sys/unix"

const (
	auditArch  = unix.AUDIT_ARCH_X86_64
	compatArch = unix.AUDIT_ARCH_I386

	// Calls from here on are those of x32, which know the same kernel by other numbers.
	otherNumbers = 0x40000000
)

// Calls that this architecture has beside those that all have: more ways to fork, and getpgrp.
var (
	moreForks = []uint32{unix.SYS_FORK, unix.SYS_VFORK}
	getpgrp   = []uint32{unix.SYS_GETPGRP}
)
