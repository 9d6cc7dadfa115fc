package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SetThreadGroups sets the supplementary groups of the calling thread alone, which must be locked to its goroutine. The
// C library and package syscall change every thread of the process, which is not what a file server wants.
func SetThreadGroups(groups []uint32) error {
	var p unsafe.Pointer
	if len(groups) > 0 {
		p = unsafe.Pointer(&groups[0])
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(p), 0); e != 0 {
		return e
	}
	return nil
}

// NameToHandleFID gives the identity of the open file fd (O_PATH will do) as fanotify reports it. With decodable set it
// asks for a handle that open_by_handle_at takes; EOPNOTSUPP means that the file system has none.
func NameToHandleFID(fd int, decodable bool) (unix.FileHandle, int, error) {
	const atHandleFID = 0x200 // AT_HANDLE_FID, Linux 6.5
	flags := unix.AT_EMPTY_PATH
	if !decodable {
		flags |= atHandleFID
	}
	return unix.NameToHandleAt(fd, "", flags)
}
