package dev

import "golang.org/x/sys/unix"

// older looks at the calls that newer architectures do without.
func (k *keyboard) older(pid, nr int, a [6]uint64) bool {
	switch nr {
	case unix.SYS_POLL:
		return k.polled(pid, a[0], a[1])
	case unix.SYS_SELECT:
		return k.selected(pid, a[0], a[1])
	case unix.SYS_EPOLL_WAIT:
		return k.watched(pid, int32(a[0]))
	}
	return false
}
