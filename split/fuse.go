package split

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// fuseMounts lists the FUSE connections that only these processes see, by the minor number of their device, which is the name the kernel
// gives the connection.
func fuseMounts(pids []int) map[int]bool {
	own := map[int]bool{}
	for _, pid := range pids {
		mounts, _ := mountsOf(strconv.Itoa(pid)) // gone: sees nothing
		for _, m := range mounts {
			if m.kind == "fuse" || len(m.kind) > 5 && m.kind[:5] == "fuse." {
				own[m.minor] = true
			}
		}
	}
	if len(own) == 0 {
		return nil
	}
	machine, err := mountsOf("self")
	if err != nil {
		return nil
	}
	for _, m := range machine {
		delete(own, m.minor) // bound into the host: not ours to end
	}
	return own
}

// abortFUSE ends FUSE connections: a daemon killed while it told the kernel something may stay, holding its clients in D state,
// and nothing else frees them. The control file system is opened without being mounted anywhere.
func abortFUSE(minors map[int]bool) {
	if len(minors) == 0 {
		return
	}
	fs, err := unix.Fsopen("fusectl", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return
	}
	defer unix.Close(fs)
	if unix.FsconfigCreate(fs) != nil {
		return
	}
	root, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(root)
	for minor := range minors {
		if fd, err := unix.Openat(root, strconv.Itoa(minor)+"/abort", unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
			_, _ = unix.Write(fd, []byte("1"))
			unix.Close(fd)
		}
	}
}
