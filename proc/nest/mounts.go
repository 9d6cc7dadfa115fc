package nest

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// tree is what the init keeps of the nest's mounts.
type tree struct {
	proc int // root of the nest's /proc
	pts  int // its /dev/pts, O_PATH
	log  []string
}

// node is one device of the nest's /dev.
type node struct {
	name  string
	minor uint32
}

var devices = [...]node{{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}}

var devLinks = [...][2]string{
	{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"},
}

// makeTree makes the nest's tree the root of this mount name space, in which nothing of the helper's is left.
func makeTree(s setup) (*tree, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	root, err := clonedMount(s.Root)
	if err != nil {
		return nil, fmt.Errorf("root %s: %w", s.Root, err)
	}
	defer unix.Close(root)
	binds := make([]int, len(s.Binds))
	for i, b := range s.Binds {
		if binds[i], err = clonedMount(b.Source); err != nil {
			return nil, fmt.Errorf("bind %s: %w", b.Source, err)
		}
		defer unix.Close(binds[i])
	}
	sysfs, err := clonedMount("/sys")
	if err != nil {
		return nil, fmt.Errorf("/sys: %w", err)
	}
	defer unix.Close(sysfs)
	t := &tree{pts: -1}
	if t.proc, err = newMount("proc"); err != nil {
		return nil, fmt.Errorf("new /proc: %w", err)
	}
	if err := unix.MoveMount(root, "", unix.AT_FDCWD, s.Root, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return nil, fmt.Errorf("root %s: %w", s.Root, err)
	}
	if err := unix.Fchdir(root); err != nil {
		return nil, fmt.Errorf("root %s: %w", s.Root, err)
	}
	for i, b := range s.Binds {
		if err := attach(binds[i], b.Target, b.ReadOnly); err != nil {
			return nil, fmt.Errorf("bind %s to %s: %w", b.Source, b.Target, err)
		}
	}
	if _, err := t.optional("/proc", attach(t.proc, "/proc", false)); err != nil {
		return nil, err
	}
	if _, err := t.optional("/sys", attach(sysfs, "/sys", true)); err != nil {
		return nil, err
	}
	dev, err := t.optional("/dev", unix.Mount("tmpfs", "dev", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=755"))
	if dev {
		err = t.makeDev()
	}
	if err != nil {
		return nil, err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return nil, fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return nil, fmt.Errorf("detach the helper's root: %w", err)
	}
	return t, os.Chdir("/")
}

// optional lets a mount point be absent from the home's tree: then the name is absent in the nest as it is at home.
func (t *tree) optional(name string, err error) (mounted bool, _ error) {
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR):
		t.log = append(t.log, "the home's tree has no directory "+name+", so the nest has none either")
		return false, nil
	}
	return false, fmt.Errorf("%s of the nest: %w", name, err)
}

// clonedMount copies the one mount at path, without what is mounted below it.
func clonedMount(path string) (int, error) {
	return unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
}

// attach puts a detached mount at target, a path from the new root, which is the working directory.
func attach(fd int, target string, readonly bool) error {
	if readonly {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
			return err
		}
	}
	return unix.MoveMount(fd, "", unix.AT_FDCWD, "."+"/"+strings.TrimPrefix(target, "/"), unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// newMount makes a detached file system of its own.
func newMount(fs string) (int, error) {
	ctx, err := unix.Fsopen(fs, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(ctx)
	if err := unix.FsconfigCreate(ctx); err != nil {
		return -1, err
	}
	return unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
}

// makeDev fills the fresh /dev.
func (t *tree) makeDev() error {
	old := unix.Umask(0)
	defer unix.Umask(old)
	for _, n := range devices {
		if err := device("dev/"+n.name, unix.Mkdev(1, n.minor), "/dev/"+n.name); err != nil {
			return fmt.Errorf("/dev/%s of the nest: %w", n.name, err)
		}
	}
	if err := device("dev/tty", unix.Mkdev(5, 0), "/dev/tty"); err != nil {
		return fmt.Errorf("/dev/tty of the nest: %w", err)
	}
	for _, l := range devLinks {
		if err := unix.Symlink(l[0], "dev/"+l[1]); err != nil {
			return fmt.Errorf("/dev/%s of the nest: %w", l[1], err)
		}
	}
	for _, dir := range []string{"dev/pts", "dev/shm"} {
		if err := unix.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("/%s of the nest: %w", dir, err)
		}
	}
	if err := unix.Mount("devpts", "dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"); err != nil {
		return fmt.Errorf("/dev/pts of the nest: %w", err)
	}
	if err := unix.Mount("tmpfs", "dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return fmt.Errorf("/dev/shm of the nest: %w", err)
	}
	var err error
	if t.pts, err = unix.Open("dev/pts", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("/dev/pts of the nest: %w", err)
	}
	return nil
}

// device makes a device node; where the helper is itself a container that may not, it lays the helper's own over a file.
func device(path string, dev uint64, ours string) error {
	err := unix.Mknod(path, unix.S_IFCHR|0o666, int(dev))
	if !errors.Is(err, syscall.EPERM) {
		return err
	}
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return err
	}
	return unix.Mount(ours, path, "", unix.MS_BIND, "")
}
