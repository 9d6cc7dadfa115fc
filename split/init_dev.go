package split

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// devices of a host. Those of the kernel proper always work; the others do when the machine has them.
var devices = []struct {
	name         string
	mode         uint32
	major, minor uint32
}{
	{"null", 0o666, 1, 3},
	{"zero", 0o666, 1, 5},
	{"full", 0o666, 1, 7},
	{"random", 0o666, 1, 8},
	{"urandom", 0o666, 1, 9},
	{"tty", 0o666, 5, 0},
	{"fuse", 0o666, 10, 229},
	{"net/tun", 0o666, 10, 200},
}

var devLinks = map[string]string{
	"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
}

// makeDev fills a host's /dev.
func makeDev(dev string) error {
	for _, d := range devices {
		path := filepath.Join(dev, d.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := unix.Mknod(path, unix.S_IFCHR|d.mode, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return fmt.Errorf("/dev/%s: %w", d.name, err)
		}
		if err := unix.Chmod(path, d.mode); err != nil {
			return fmt.Errorf("/dev/%s: %w", d.name, err)
		}
	}
	for name, target := range devLinks {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	if err := mountNew("devpts", dev+"/pts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"); err != nil {
		return fmt.Errorf("/dev/pts: %w", err)
	}
	if err := mountNew("tmpfs", dev+"/shm", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return fmt.Errorf("/dev/shm: %w", err)
	}
	_ = mountNew("mqueue", dev+"/mqueue", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "") // a kernel without message queues has no use for it
	return nil
}
