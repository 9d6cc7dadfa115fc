package intercept

import "golang.org/x/sys/unix"

const (
	auditArch  = unix.AUDIT_ARCH_AARCH64
	compatArch = unix.AUDIT_ARCH_ARM

	otherNumbers = 0 // there are none
)

// This architecture has no more ways to fork than all have, and no getpgrp.
var moreForks, getpgrp []uint32
