package session

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// stat is what the supervisor needs of /proc/PID/stat.
type stat struct {
	state byte
	ppid  int
	pgid  int
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
	start, err3 := strconv.ParseUint(string(f[19]), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return stat{}, fmt.Errorf("/proc/PID/stat: %w", syscall.EINVAL)
	}
	return stat{state: f[0][0], ppid: ppid, pgid: pgid, start: start}, nil
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

// children reports whether the process has children: what it execs next could not wait for them from elsewhere.
func children(pid int) bool {
	p := strconv.Itoa(pid)
	tasks, err := os.ReadDir("/proc/" + p + "/task")
	if err != nil {
		return false
	}
	for _, t := range tasks {
		b, err := os.ReadFile("/proc/" + p + "/task/" + t.Name() + "/children") // empty without CONFIG_PROC_CHILDREN
		if err == nil && len(bytes.TrimSpace(b)) > 0 {
			return true
		}
	}
	return false
}

// jobserver reports whether the process holds the jobserver that its MAKEFLAGS speak of: a make runs in it.
func jobserver(pid int, open map[int]bool) bool {
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
			if err1 == nil && err2 == nil && rn > 2 && open[rn] && open[wn] {
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
