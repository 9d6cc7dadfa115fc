//go:build !amd64

package sys

import "syscall"

func startTurnstile(*turnstileState) syscall.Errno { return syscall.ENOSYS }

func startCursor(*cursorState) syscall.Errno { return syscall.ENOSYS }
