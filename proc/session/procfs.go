package session

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/proc/ghost"
	"github.com/onehost/onehost/sys"
)

// leader gives the process a thread belongs to.
func leader(tid int) (int, error) {
	if unix.Tgkill(tid, tid, 0) == nil {
		return tid, nil
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "Tgid:"); ok {
			return strconv.Atoi(strings.TrimSpace(v))
		}
	}
	return 0, syscall.ESRCH
}

// children reports whether the process has children: what it execs next could not wait for them from elsewhere. single: it is known to have
// one thread.
func children(pid int, single bool) bool {
	p := strconv.Itoa(pid)
	if single {
		return parent(p, p)
	}
	tasks, err := os.ReadDir("/proc/" + p + "/task")
	if err != nil {
		return false
	}
	for _, t := range tasks {
		if parent(p, t.Name()) {
			return true
		}
	}
	return false
}

// parent reports whether a thread has children.
func parent(pid, tid string) bool {
	fd, err := unix.Open("/proc/"+pid+"/task/"+tid+"/children", unix.O_RDONLY|unix.O_CLOEXEC, 0) // not there without CONFIG_PROC_CHILDREN
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var buf [16]byte // the first number is enough
	n, err := unix.Read(fd, buf[:])
	return err == nil && n > 0
}

// jobserver reports whether the process holds the jobserver that its MAKEFLAGS speak of: a make runs in it.
func jobserver(pid int, fds []ghost.FD) bool {
	if !slices.ContainsFunc(fds, func(fd ghost.FD) bool { return fd.N > 2 }) { // nearly always, and an environment is long
		return false
	}
	open := func(n int) bool { return slices.ContainsFunc(fds, func(fd ghost.FD) bool { return fd.N == n }) }
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	for v := range strings.SplitSeq(string(b), "\x00") {
		flags, ok := strings.CutPrefix(v, "MAKEFLAGS=")
		if !ok {
			continue
		}
		for word := range strings.FieldsSeq(flags) {
			auth, ok := strings.CutPrefix(word, "--jobserver-auth=")
			if !ok {
				auth, ok = strings.CutPrefix(word, "--jobserver-fds=")
			}
			r, w, two := strings.Cut(auth, ",")
			if !ok || !two {
				continue
			}
			rn, err1 := strconv.Atoi(r)
			wn, err2 := strconv.Atoi(w)
			if err1 == nil && err2 == nil && rn > 2 && open(rn) && open(wn) {
				return true
			}
		}
	}
	return false
}

// descendants lists every process below pid, from a look at all of /proc.
func descendants(pid int) []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	below := map[int][]int{}
	for _, name := range names {
		p, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if st, err := sys.ReadProcStat(p); err == nil && st.State != 'Z' {
			below[st.Ppid] = append(below[st.Ppid], p)
		}
	}
	var out []int
	for next := []int{pid}; len(next) > 0; {
		p := next[0]
		next = append(next[1:], below[p]...)
		out = append(out, below[p]...)
	}
	return out
}
