package split

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// diskKinds are the file systems whose further mounts below / a host sees through an overlay. All others are hidden.
var diskKinds = []string{"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs", "erofs", "squashfs", "overlay"}

// ownPlaces are what each host has of its own, whatever the machine has there.
var ownPlaces = []string{"/proc", "/sys", "/dev", "/run", "/tmp"}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// mountAll builds the host's tree at Dir/root and makes it the root of this mount name space.
func (c *bootConfig) mountAll() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	machine, err := mountsOf("self")
	if err != nil {
		return err
	}
	root := c.Dir + "/root"
	if err := overlay("/", root, c.Dir+"/disk", string(c.Host.Name)); err != nil {
		return missing(err, "overlay over /", "load it with 'modprobe overlay', or use a kernel built with CONFIG_OVERLAY_FS")
	}
	if err := c.overlayDisks(machine, root); err != nil {
		return err
	}
	for _, m := range []struct{ kind, at, opts string }{
		{"proc", "/proc", ""}, {"sysfs", "/sys", ""}, {"tmpfs", "/dev", "mode=755,size=1m"}, {"tmpfs", "/tmp", "mode=1777"},
	} {
		if err := mountNew(m.kind, root+m.at, 0, m.opts); err != nil {
			return fmt.Errorf("%s: %w", m.at, err)
		}
	}
	if err := c.mountRun(root); err != nil {
		return err
	}
	if err := makeDev(root + "/dev"); err != nil {
		return err
	}
	if err := c.mountCgroups(machine, root); err != nil {
		return err
	}
	if _, err := os.Stat(root + "/sys/fs/fuse/connections"); err == nil {
		_ = mountNew("fusectl", root+"/sys/fs/fuse/connections", 0, "") // for a watchdog that aborts; a host without one works
	}
	for _, dir := range c.Binds {
		if err := bind(dir, root+dir, true); err != nil {
			return fmt.Errorf("--bind %s: %w", dir, err)
		}
	}
	for at, from := range c.Bins {
		if err := bind(from, root+at, false); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("new root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil { // the old root now lies over the new one
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("old root: %w", err)
	}
	return unix.Chdir("/")
}

func mountNew(kind, at string, flags uintptr, opts string) error {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	return unix.Mount(kind, at, kind, flags, opts)
}

// overlayOptions go from the best to the least: file handles (index, nfs_export) are what fanotify and the file server need, redirect_dir
// lets a directory of the machine be renamed. Not every lower file system can do each.
var overlayOptions = []string{",index=on,nfs_export=on,redirect_dir=on", ",index=on,nfs_export=on", ",index=on", ""}

// overlay mounts one over lower. An earlier life may still hold the disk for a moment after its last process (EBUSY): it is waited for.
func overlay(lower, at, disk, name string) error {
	upper, work := disk+"/upper", disk+"/work"
	for _, dir := range []string{upper, work, at} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := copyMode(lower, upper); err != nil {
		return err
	}
	var err error
	deadline := time.Now().Add(5 * time.Second)
	for _, opts := range overlayOptions {
		for {
			err = unix.Mount("onehost-"+name, at, "overlay", 0, "lowerdir="+escape(lower)+",upperdir="+upper+",workdir="+work+opts)
			if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
		if err == nil || errors.Is(err, syscall.ENODEV) {
			return err
		}
	}
	return err
}

// escape protects what separates directories in overlay's options.
func escape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(dir)
}

// copyMode gives the top of an upper the owner and mode of what it covers.
func copyMode(from, to string) error {
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		return err
	}
	if err := os.Chown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return unix.Chmod(to, st.Mode&0o7777)
}

// overlayDisks covers the further disks of the machine, each by an overlay of its own. One that cannot be covered is hidden.
func (c *bootConfig) overlayDisks(machine []mountEntry, root string) error {
	var done []string
	for n, m := range machine {
		hidden := m.point == "/" || slices.Contains(done, m.point) || !slices.Contains(diskKinds, m.kind) || within(m.point, filepath.Dir(c.Dir)) ||
			slices.ContainsFunc(ownPlaces, func(p string) bool { return within(m.point, p) }) ||
			slices.ContainsFunc(c.Binds, func(b string) bool { return within(m.point, b) })
		if hidden {
			continue // not even looked at: a file system served by a hung process would hang the host
		}
		if st, err := os.Stat(m.point); err != nil || !st.IsDir() {
			continue
		}
		done = append(done, m.point)
		disk := c.Dir + "/disk" + strconv.Itoa(n)
		if err := overlay(m.point, root+m.point, disk, string(c.Host.Name)); errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("%s: %w", m.point, err)
		}
	}
	return nil
}

// mountRun makes /run afresh, as a directory of the split's tmpfs, so that the sockets in it can be reached from outside.
func (c *bootConfig) mountRun(root string) error {
	run := c.Dir + "/run"
	if err := os.RemoveAll(run); err != nil {
		return err
	}
	for dir, mode := range map[string]uint32{run: 0o755, run + "/lock": 0o1777, run + "/onehost": 0o755} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Chmod(dir, mode); err != nil {
			return err
		}
	}
	return bind(run, root+"/run", false)
}

// bind shows a directory or file of the machine in the host.
func bind(from, at string, deep bool) error {
	st, err := os.Stat(from)
	if err != nil {
		return err
	}
	if st.IsDir() {
		err = os.MkdirAll(at, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(at), 0o755); err == nil {
		err = touch(at)
	}
	if err != nil {
		return err
	}
	flags := uintptr(unix.MS_BIND)
	if deep {
		flags |= unix.MS_REC
	}
	return unix.Mount(from, at, "", flags, "")
}

func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o755)
	if err != nil {
		return err
	}
	return f.Close()
}

// mountCgroups shows the host's own cgroups where the machine shows its cgroups.
func (c *bootConfig) mountCgroups(machine []mountEntry, root string) error {
	const top = "/sys/fs/cgroup"
	if slices.ContainsFunc(c.Trees, func(t hierarchy) bool { return t.Mount != top }) {
		if err := mountNew("tmpfs", root+top, 0, "mode=755,size=1m"); err != nil {
			return fmt.Errorf("%s: %w", top, err)
		}
	}
	for _, t := range c.Trees {
		at := t.Mount
		if !within(at, top) {
			at = filepath.Join(top, filepath.Base(at))
		}
		kind, opts := "cgroup2", ""
		if !t.V2 {
			kind, opts = "cgroup", v1Options(machine, t.Mount)
		}
		if err := mountNew(kind, root+at, 0, opts); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		for _, ctl := range t.Controllers { // cpu -> cpu,cpuacct, as the machine's init makes them
			if !t.V2 && filepath.Base(at) != ctl {
				_ = os.Symlink(filepath.Base(at), filepath.Join(root, filepath.Dir(at), ctl))
			}
		}
	}
	return nil
}

// v1Options gives the controllers of a v1 tree, all of which must be named to mount it again.
func v1Options(machine []mountEntry, point string) string {
	for _, m := range machine {
		if m.point == point && m.kind == "cgroup" {
			opts := slices.DeleteFunc(strings.Split(m.super, ","), func(o string) bool { return o == "rw" || o == "ro" || o == "seclabel" })
			return strings.Join(opts, ",")
		}
	}
	return ""
}
