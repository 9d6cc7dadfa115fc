package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// fusectlMagic is the f_type of fusectl, FUSE_CTL_SUPER_MAGIC in the kernel.
const fusectlMagic = 0x65735543

// fusectlDir is where the kernel's control of FUSE connections belongs. Systemd mounts it there; a machine without systemd
// may not have it.
const fusectlDir = "/sys/fs/fuse/connections"

// mountFusectl mounts the control file system if nobody has, and gives what takes it away again. Without it a mount whose
// daemon died could not be ended. The file mark says that an earlier daemon had mounted it, and left it to what outlived that.
func mountFusectl(mark string) (undo func() error, err error) {
	undo = func() error {
		return errors.Join(unix.Unmount(fusectlDir, unix.MNT_DETACH), os.Remove(mark))
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(fusectlDir, &fs); err == nil && fs.Type == fusectlMagic {
		if _, err := os.Stat(mark); err != nil {
			undo = func() error { return nil }
		}
		return undo, nil
	}
	if _, err := os.Stat(fusectlDir); err != nil {
		return nil, fmt.Errorf("this kernel has no FUSE: load the module with 'modprobe fuse': %w", err)
	}
	err = unix.Mount("fusectl", fusectlDir, "fusectl", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if err != nil && !errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("mounting fusectl on %s: %w", fusectlDir, err)
	}
	if errors.Is(err, unix.EBUSY) { // somebody was quicker
		return func() error { return nil }, nil
	}
	if err = os.MkdirAll(filepath.Dir(mark), 0o755); err == nil {
		err = os.WriteFile(mark, nil, 0o600)
	}
	return undo, err
}
