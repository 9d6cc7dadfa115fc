package nest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
)

const groupPrefix = "onehost-nest-"

// group is the cgroup of a nest: the init is in it, and each job in a child of it. Its owner holds a lock on the directory, so that
// what a daemon that died left behind can be told from what is in use.
type group struct {
	path string
	fd   int
}

// newGroup makes the cgroup of a nest below parent, a path from the root of the v2 hierarchy ("" is the caller's own), and
// removes those that dead daemons left there.
func newGroup(parent string, home names.Host) (*group, error) {
	dir, err := GroupDir(parent)
	if err != nil {
		return nil, err
	}
	sweep(dir)
	for i := 0; ; i++ {
		g := &group{path: filepath.Join(dir, fmt.Sprintf("%s%d-%d-%d", groupPrefix, home, os.Getpid(), i))}
		switch err := os.Mkdir(g.path, 0o755); {
		case errors.Is(err, syscall.EEXIST) && i < 1000:
			continue
		case err != nil:
			return nil, fmt.Errorf("cannot make a cgroup (needs root, and a v2 hierarchy that may be written): %w", err)
		}
		g.fd, err = unix.Open(g.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Flock(g.fd, unix.LOCK_EX|unix.LOCK_NB)
			var a, b unix.Stat_t
			if err == nil && unix.Fstat(g.fd, &a) == nil && unix.Stat(g.path, &b) == nil && a.Ino == b.Ino {
				return g, nil
			}
			unix.Close(g.fd)
		}
		if i >= 1000 { // someone swept it between mkdir and the lock, a thousand times
			return nil, fmt.Errorf("cgroup %s: %w", g.path, err)
		}
	}
}

// GroupDir gives the directory of a v2 cgroup by its path from the root of the hierarchy; "" is the caller's own.
func GroupDir(path string) (string, error) {
	root, err := hierarchy()
	if err != nil {
		return "", err
	}
	if path == "" {
		if path, err = GroupOf(os.Getpid()); err != nil {
			return "", err
		}
	}
	return filepath.Join(root, path), nil
}

// hierarchy finds where the v2 hierarchy is mounted.
func hierarchy() (string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		mount, fs, ok := strings.Cut(line, " - ")
		f := strings.Fields(mount)
		if ok && len(f) > 4 && strings.HasPrefix(fs, "cgroup2 ") && f[3] == "/" {
			return f[4], nil
		}
	}
	return "", fmt.Errorf("no cgroup v2 hierarchy is mounted: mount one with 'mount -t cgroup2 none /sys/fs/cgroup/unified': %w", syscall.ENOENT)
}

// GroupOf is the place of a process in the v2 hierarchy, a path from its root.
func GroupOf(pid int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, nil
		}
	}
	return "", fmt.Errorf("/proc/%d/cgroup names no v2 cgroup: the kernel is built without: %w", pid, syscall.ENOENT)
}

// Sweep ends and removes the nests in this process's group that nobody holds: those of processes that have died.
func Sweep() error {
	dir, err := GroupDir("")
	if err == nil {
		sweep(dir)
	}
	return err
}

// sweep removes the groups under dir that nobody holds.
func sweep(dir string) {
	left, err := filepath.Glob(filepath.Join(dir, groupPrefix+"*"))
	if err != nil {
		return
	}
	for _, path := range left {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
			g := &group{path: path, fd: fd}
			g.kill()
			_ = g.remove(time.Now()) // one that is still emptying is left for the next time
		}
		unix.Close(fd)
	}
}

// End ends what is left of the nests that were made in a group (GroupOf) by the process pid, which has ended itself, and removes theirs. It
// waits for their processes, some seconds at most; those that wait for a file server need its connection aborted first.
func End(in string, pid int) error {
	dir, err := GroupDir(in)
	if err != nil {
		return err
	}
	left, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf("%s*-%d-*", groupPrefix, pid)))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range left {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if errors.Is(err, syscall.ENOENT) {
			continue // its init, or whoever makes a nest now, was quicker
		}
		if err == nil {
			g := &group{path: path, fd: fd}
			g.kill()
			err = g.close()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// kill ends every process in the group and below it.
func (g *group) kill() { _ = writeAt(g.fd, "cgroup.kill", "1") }

// close removes the group, whose processes have ended or are ending.
func (g *group) close() error {
	err := g.remove(time.Now().Add(2 * time.Second))
	unix.Close(g.fd)
	if err != nil {
		return fmt.Errorf("cgroup %s is left: %w", g.path, err)
	}
	return nil
}

// remove retries until the deadline: a process that has been waited for may still be on its way out of its group.
func (g *group) remove(deadline time.Time) error {
	for {
		err := g.removeOnce()
		if err == nil || !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

func (g *group) removeOnce() error {
	entries, err := os.ReadDir(g.path)
	if errors.Is(err, syscall.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := unix.Rmdir(filepath.Join(g.path, e.Name())); err != nil {
				return err
			}
		}
	}
	return unix.Rmdir(g.path)
}

// writeAt writes a value to a file of a directory.
func writeAt(dir int, name, value string) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(value))
	return err
}
