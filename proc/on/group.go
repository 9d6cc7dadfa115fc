package on

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/proc/nest"
)

const groupPrefix = "onehost-on-"

// leftMark is the extended attribute of a group whose command has ended and left something in the background.
const leftMark = "trusted.onehost.left"

// group is the cgroup of one command and all that it starts. The daemon holds a lock on the directory, so that what one that died left
// behind can be told from what is in use.
type group struct {
	path string
	fd   int
}

var groupsMade atomic.Uint64

// newGroup makes a group beside the daemon's nests.
func newGroup(dir string) (*group, error) {
	g := &group{path: filepath.Join(dir, fmt.Sprintf("%s%d-%d", groupPrefix, os.Getpid(), groupsMade.Add(1)))}
	// A dead daemon of the same number may have left one with something alive in it; the name is ours no more then.
	err := os.Mkdir(g.path, 0o755)
	for errors.Is(err, syscall.EEXIST) {
		g.path = filepath.Join(dir, fmt.Sprintf("%s%d-%d", groupPrefix, os.Getpid(), groupsMade.Add(1)))
		err = os.Mkdir(g.path, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make a cgroup (needs root, and a v2 hierarchy that may be written): %w", err)
	}
	ok, err := g.open()
	if err == nil && !ok {
		err = syscall.EBUSY
	}
	if err != nil {
		_ = unix.Rmdir(g.path) // the first error is what counts
		return nil, fmt.Errorf("cgroup %s: %w", g.path, err)
	}
	return g, nil
}

// open opens and locks the directory; false means that somebody else holds it.
func (g *group) open() (bool, error) {
	fd, err := unix.Open(g.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		return false, nil //nolint:nilerr // that is what the error says
	}
	g.fd = fd
	return true, nil
}

// pids lists the processes of the group and of the groups below it.
func (g *group) pids() []int {
	var pids []int
	_ = filepath.WalkDir(g.path, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // a group that went away has no processes
		}
		data, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for f := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// signal sends a signal to everything in the group. A number that another process has got meanwhile is not hit: the descriptor is of the process that
// had it when its group was looked at again.
func (g *group) signal(sig syscall.Signal) {
	for _, pid := range g.pids() {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if g.has(pid) {
			_ = unix.PidfdSendSignal(fd, sig, nil, 0) // one that ended meanwhile needs none
		}
		unix.Close(fd)
	}
}

func (g *group) has(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false
	}
	name := "/" + filepath.Base(g.path)
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return strings.HasSuffix(path, name) || strings.Contains(path, name+"/")
		}
	}
	return false
}

// mortal takes the daemon's adjustment from all in the group, so that they are not spared when memory runs out. It cannot be done before the
// exec, when memory is still the daemon's; so all who have inherited it meanwhile are looked for, until there are none.
func (g *group) mortal(daemons string) {
	if strings.TrimSpace(daemons) == "0" {
		return
	}
	for found := true; found; {
		found = false
		for _, pid := range g.pids() {
			path := fmt.Sprintf("/proc/%d/oom_score_adj", pid)
			if has, err := os.ReadFile(path); err == nil && string(has) == daemons {
				found = os.WriteFile(path, []byte("0"), 0) == nil || found
			}
		}
	}
}

// kill kills everything in the group and below it.
func (g *group) kill() error {
	return os.WriteFile(filepath.Join(g.path, "cgroup.kill"), []byte("1"), 0)
}

// populated reports whether anything lives in the group.
func (g *group) populated() bool {
	data, err := os.ReadFile(filepath.Join(g.path, "cgroup.events"))
	return err == nil && strings.Contains(string(data), "populated 1")
}

// emptyWithin waits until nothing lives in the group.
func (g *group) emptyWithin(limit time.Duration) bool {
	for deadline := time.Now().Add(limit); g.populated(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// remove takes an empty group away, and those that somebody made below it.
func (g *group) remove() error {
	defer unix.Close(g.fd) // what is left the next daemon finds
	var dirs []string
	_ = filepath.WalkDir(g.path, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, dir := range slices.Backward(dirs) {
		// A process that has been waited for may still be on its way out.
		err := unix.Rmdir(dir)
		for deadline := time.Now().Add(time.Second); errors.Is(err, unix.EBUSY) && !g.populated() && time.Now().Before(deadline); err = unix.Rmdir(dir) {
			time.Sleep(time.Millisecond)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cgroup %s is left: %w", dir, err)
		}
	}
	return nil
}

// markLeft says that what lives in the group is to live on, whatever becomes of the daemon.
func (g *group) markLeft() error { return unix.Fsetxattr(g.fd, leftMark, []byte("1"), 0) }

func (g *group) left() bool {
	n, err := unix.Fgetxattr(g.fd, leftMark, nil)
	return err == nil && n > 0
}

// groupDir is where the groups are: the daemon's own cgroup.
func groupDir() (string, error) { return nest.GroupDir("") }

// sweep takes over the groups that dead daemons left in dir: what belongs to a command that had not ended is killed, the others are given
// to keep.
func sweep(dir string, keep func(*group), log *slog.Logger) {
	paths, err := filepath.Glob(filepath.Join(dir, groupPrefix+"*"))
	if err != nil {
		return
	}
	for _, path := range paths {
		g := &group{path: path}
		ok, err := g.open()
		if err != nil || !ok {
			continue
		}
		if !g.left() {
			if err := g.kill(); err != nil {
				log.Warn("killing what an earlier daemon left", "cgroup", g.path, "err", err)
			}
		}
		keep(g)
	}
}
