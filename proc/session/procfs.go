package session

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/proc/ghost"
)

// stat is what the supervisor needs of /proc/PID/stat.
type stat struct {
	state byte
	ppid  int
	pgid  int
	tasks int    // threads
	start uint64 // clock ticks since boot
}

// readStat reads /proc/PID/stat by bare system calls: it is done at nearly every exec.
func readStat(pid int) (stat, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return stat{}, err
	}
	defer unix.Close(fd)
	var buf [1024]byte // a name of 15 bytes and numbers
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return stat{}, err
	}
	return parseStat(buf[:n])
}

func parseStat(b []byte) (stat, error) {
	end := bytes.LastIndexByte(b, ')') // the name may hold anything
	if end < 0 || end+2 > len(b) {
		return stat{}, fmt.Errorf("/proc/PID/stat: %w", syscall.EINVAL)
	}
	f := bytes.Fields(b[end+1:])
	if len(f) < 20 || len(f[0]) != 1 {
		return stat{}, fmt.Errorf("/proc/PID/stat: %w", syscall.EINVAL)
	}
	ppid, err1 := strconv.Atoi(string(f[1]))
	pgid, err2 := strconv.Atoi(string(f[2]))
	tasks, err4 := strconv.Atoi(string(f[17]))
	start, err3 := strconv.ParseUint(string(f[19]), 10, 64)
	if err := cmp.Or(err1, err2, err3, err4); err != nil {
		return stat{}, fmt.Errorf("/proc/PID/stat: %w", syscall.EINVAL)
	}
	return stat{state: f[0][0], ppid: ppid, pgid: pgid, tasks: tasks, start: start}, nil
}

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
		if st, err := readStat(p); err == nil && st.state != 'Z' {
			below[st.ppid] = append(below[st.ppid], p)
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
