package nest

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// Pidfd gives a pidfd, not blocking, of the process or thread that has the number in the nest. ESRCH: none has, or the nest has ended.
func (n *Nest) Pidfd(pid int) (*os.File, error) {
	if pid <= 1 { // the init is of the helper, not of the home
		return nil, syscall.ESRCH
	}
	ns, err := n.space()
	if err != nil {
		return nil, err
	}
	defer unix.Close(ns)
	outer, errno := sys.PidFromSpace(ns, pid)
	if errno != 0 {
		return nil, syscall.ESRCH
	}
	fd, err := unix.PidfdOpen(outer, unix.PIDFD_NONBLOCK)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOENT) {
		fd, err = unix.PidfdOpen(outer, unix.PIDFD_NONBLOCK|unix.PIDFD_THREAD) // it is a thread that leads no process
	}
	if err != nil {
		return nil, syscall.ESRCH
	}
	// Between the two calls it may have ended and its number here been given away: if it has the number in the nest still, it has not.
	if again, errno := sys.PidFromSpace(ns, pid); errno != 0 || again != outer {
		unix.Close(fd)
		return nil, syscall.ESRCH
	}
	return os.NewFile(uintptr(fd), "pidfd of "+strconv.Itoa(pid)), nil
}

// space opens the nest's pid name space.
func (n *Nest) space() (int, error) {
	init := n.InitPid()
	if init == 0 {
		return -1, syscall.ESRCH
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(init)+"/ns/pid", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, syscall.ESRCH
	}
	if n.InitPid() == 0 { // it may have been another process's
		unix.Close(fd)
		return -1, syscall.ESRCH
	}
	return fd, nil
}

// Proc opens the /proc that the nest's processes have, as a bare path. ESRCH: the nest has ended.
func (n *Nest) Proc() (*os.File, error) {
	init := n.InitPid()
	if init == 0 {
		return nil, syscall.ESRCH
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(init)+"/root/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "/proc of a nest")
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type != unix.PROC_SUPER_MAGIC || n.InitPid() == 0 { // its number may have been another's
		f.Close()
		return nil, syscall.ESRCH
	}
	return f, nil
}

// Numbers gives the numbers in the nest of all its processes but the init.
func (n *Nest) Numbers() []int {
	ns, err := n.space()
	if err != nil {
		return nil
	}
	defer unix.Close(ns)
	var all []int
	lists, err := filepath.Glob(filepath.Join(n.group.path, "*", "cgroup.procs"))
	if err != nil {
		return nil
	}
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue // a job's group that has just gone
		}
		for f := range strings.FieldsSeq(string(b)) {
			outer, err := strconv.Atoi(f)
			if err != nil {
				continue
			}
			if pid, errno := sys.PidInSpace(ns, outer); errno == 0 && pid > 1 {
				all = append(all, pid)
			}
		}
	}
	return all
}
