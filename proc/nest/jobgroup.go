package nest

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// groups are the cgroups of a nest's jobs, made when needed and used again: to make one costs as much as to start a process.
type groups struct {
	dir int

	mu   sync.Mutex // guards what follows
	made int
	free []*jobGroup
}

// jobGroup is the cgroup of one job.
type jobGroup struct {
	name   string
	fd     int
	events int  // cgroup.events
	frozen bool // guarded by server.mu
	killed bool // by cgroup.kill, after which the kernel kills whatever is cloned into the group
}

// take gives an empty group.
func (g *groups) take() (*jobGroup, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := len(g.free); n > 0 {
		j := g.free[n-1]
		g.free = g.free[:n-1]
		return j, nil
	}
	name := "job" + strconv.Itoa(g.made)
	if err := unix.Mkdirat(g.dir, name, 0o755); err != nil {
		return nil, fmt.Errorf("cgroup of the job: %w", err)
	}
	g.made++
	fd, err := unix.Openat(g.dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cgroup of the job: %w", err)
	}
	events, err := unix.Openat(fd, "cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cgroup of the job: %w", err)
	}
	return &jobGroup{name: name, fd: fd, events: events}, nil
}

// collect takes a group back if it is empty, and reports whether it was: its job has nothing left to kill then, and
// must forget it.
func (g *groups) collect(j *jobGroup) bool {
	if !j.empty() {
		return false
	}
	if j.frozen {
		j.freeze(false)
	}
	if j.killed {
		unix.Close(j.fd)
		unix.Close(j.events)
		_ = unix.Unlinkat(g.dir, j.name, unix.AT_REMOVEDIR) // if it is not yet free, the daemon removes it in the end
		return true
	}
	g.mu.Lock()
	g.free = append(g.free, j)
	g.mu.Unlock()
	return true
}

// kill ends all processes of a group; the caller holds server.mu, as for collect.
func (g *groups) kill(j *jobGroup) syscall.Errno {
	j.killed = true
	return errnoOf(writeAt(j.fd, "cgroup.kill", "1"))
}

// freeze stops all processes of a group, or has them go on. What fails is tried again when the numbers are looked at next.
func (j *jobGroup) freeze(on bool) {
	how := "0"
	if on {
		how = "1"
	}
	if writeAt(j.fd, "cgroup.freeze", how) == nil {
		j.frozen = on
	}
}

func (j *jobGroup) empty() bool {
	var buf [128]byte
	n, err := unix.Pread(j.events, buf[:], 0)
	return err == nil && bytes.Contains(buf[:n], []byte("populated 0"))
}
