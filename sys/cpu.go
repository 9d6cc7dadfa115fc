package sys

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// CPUGroup is where the kernel keeps the CPU limits and the CPU time of this host: the control groups of its processes, version 1
// or 2. The host's own group is that of its pid 1, so that a host made of name spaces, or a container, is measured
// by itself, and a real machine as a whole although its daemon has a group of its own.
type CPUGroup struct {
	root   fs.FS
	quota  []string // directories with a limit, from the daemon's own up
	cpuset string   // directory with the set of CPUs, "" if there is none
	usage  string   // file with the CPU time used
}

// CPUCapacity gives the CPUs this host may use: the least of its quotas on the way up, its set of CPUs, and the caller's
// affinity.
func CPUCapacity() (float64, error) {
	g, err := FindCPUGroup()
	if err != nil {
		return 0, err
	}
	return g.Capacity()
}

// FindCPUGroup finds the groups, for Usage and Capacity to be asked often. They stay the same for the life of a host.
func FindCPUGroup() (*CPUGroup, error) { return findCPUGroup(os.DirFS("/")) }

// Capacity is as CPUCapacity.
func (g *CPUGroup) Capacity() (float64, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0, err
	}
	return g.capacity(set.Count()), nil
}

func (g *CPUGroup) capacity(affinity int) float64 {
	cpus := float64(affinity)
	for _, name := range []string{"cpuset.effective_cpus", "cpuset.cpus.effective", "cpuset.cpus"} {
		if n := countCPUs(g.first(g.cpuset, name)); n > 0 {
			cpus = math.Min(cpus, float64(n))
			break
		}
	}
	for _, dir := range g.quota {
		quota, period := g.limit(dir)
		if quota > 0 && period > 0 {
			cpus = math.Min(cpus, quota/period)
		}
	}
	return cpus
}

// limit reads a quota and its period, in microseconds; 0 is no limit.
func (g *CPUGroup) limit(dir string) (quota, period float64) {
	if f := strings.Fields(g.first(dir, "cpu.max")); len(f) == 2 { // "max 100000" does not parse: no limit
		quota, _ = strconv.ParseFloat(f[0], 64)
		period, _ = strconv.ParseFloat(f[1], 64)
		return quota, period
	}
	quota, _ = strconv.ParseFloat(g.first(dir, "cpu.cfs_quota_us"), 64) // -1 is no limit
	period, _ = strconv.ParseFloat(g.first(dir, "cpu.cfs_period_us"), 64)
	return quota, period
}

// first reads a file of a directory, without the line's end; "" if it cannot be read.
func (g *CPUGroup) first(dir, name string) string {
	if dir == "" {
		return ""
	}
	b, err := fs.ReadFile(g.root, dir+"/"+name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Usage gives the CPU time the host has used, all its processes together, since some moment in the past.
func (g *CPUGroup) Usage() (time.Duration, error) {
	b, err := fs.ReadFile(g.root, g.usage)
	if err != nil {
		return 0, errnoOf(err)
	}
	switch {
	case strings.HasSuffix(g.usage, "/cpuacct.usage"):
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		if err != nil {
			return 0, syscall.EINVAL
		}
		return time.Duration(n), nil
	case strings.HasSuffix(g.usage, "/cpu.stat"):
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "usage_usec "); ok {
				n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
				if err != nil {
					return 0, syscall.EINVAL
				}
				return time.Duration(n) * time.Microsecond, nil
			}
		}
		return 0, syscall.EINVAL
	}
	return machineUsage(b)
}

// machineUsage adds up the first line of /proc/stat: user, nice, system, irq and softirq, in ticks of 10 ms; what is
// idle, waiting or stolen is left out, and guests are in user already.
func machineUsage(stat []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	f := strings.Fields(string(line))
	if len(f) < 8 || f[0] != "cpu" {
		return 0, syscall.EINVAL
	}
	var ticks int64
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, syscall.EINVAL
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// countCPUs counts a list as 0-3,7; 0 if it is not one.
func countCPUs(list string) int {
	if list == "" {
		return 0
	}
	n := 0
	for part := range strings.SplitSeq(list, ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		if !isRange {
			hi = lo
		}
		a, err := strconv.Atoi(lo)
		b, err2 := strconv.Atoi(hi)
		if err != nil || err2 != nil || a < 0 || b < a || b > 1<<16 {
			return 0
		}
		n += b - a + 1
	}
	return n
}

func errnoOf(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return syscall.EIO
}

// hierarchy is a mounted tree of control groups.
type hierarchy struct {
	dir  string // where it is mounted, without the leading /
	root string // the part of the hierarchy that is mounted there
}

func findCPUGroup(root fs.FS) (*CPUGroup, error) {
	mounts, err := fs.ReadFile(root, "proc/self/mountinfo")
	if err != nil {
		return nil, errnoOf(err)
	}
	own, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return nil, errnoOf(err)
	}
	trees, mine := hierarchies(mounts), memberships(own)
	first, _ := fs.ReadFile(root, "proc/1/cgroup") // may be unreadable, then the caller's own groups stand for the host's
	hosts := memberships(first)
	g := &CPUGroup{root: root, usage: "proc/stat"}

	for _, controller := range []string{"cpu", ""} {
		if tree, ok := trees[controller]; ok {
			dir := tree.at(mine[controller])
			for len(dir) > len(tree.dir) {
				g.quota = append(g.quota, dir)
				dir = dir[:strings.LastIndexByte(dir, '/')]
			}
			g.quota = append(g.quota, tree.dir)
		}
	}
	for _, controller := range []string{"cpuset", ""} {
		if tree, ok := trees[controller]; ok && g.cpuset == "" {
			g.cpuset = tree.at(mine[controller])
		}
	}
	for _, c := range []struct{ controller, file string }{{"cpuacct", "cpuacct.usage"}, {"", "cpu.stat"}} {
		tree, ok := trees[c.controller]
		if !ok {
			continue
		}
		name := tree.at(hostGroup(hosts[c.controller], mine[c.controller])) + "/" + c.file
		if b, err := fs.ReadFile(root, name); err == nil && (c.controller != "" || bytes.Contains(b, []byte("usage_usec"))) {
			g.usage = name
			break
		}
	}
	return g, nil
}

// hostGroup is the group of the host, given those of its pid 1 and of the caller. Where systemd is pid 1 it keeps
// itself apart from the rest of its host in init.scope.
func hostGroup(first, own string) string {
	if first == "" {
		return own
	}
	first = strings.TrimSuffix(strings.TrimSuffix(first, "init.scope"), "/")
	if first == "" {
		first = "/"
	}
	if own != first && !strings.HasPrefix(own, strings.TrimSuffix(first, "/")+"/") {
		return own // pid 1 lives beside the caller, not above: it says nothing of the caller's host
	}
	return first
}

// at gives the directory of a group. A group outside of what is mounted, as seen from some containers, is at its top.
func (h hierarchy) at(group string) string {
	rest, ok := strings.CutPrefix(group, strings.TrimSuffix(h.root, "/"))
	if !ok || rest != "" && rest[0] != '/' || strings.Contains(rest, "/..") {
		return h.dir
	}
	return strings.TrimSuffix(h.dir+rest, "/")
}

// hierarchies reads mountinfo: by controller, "" being version 2. The last mount at a place is the one that is seen.
func hierarchies(mountinfo []byte) map[string]hierarchy {
	trees := map[string]hierarchy{}
	sc := bufio.NewScanner(bytes.NewReader(mountinfo))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		before, after, ok := strings.Cut(sc.Text(), " - ")
		f, rest := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(rest) < 3 {
			continue
		}
		h := hierarchy{dir: strings.TrimPrefix(Unescape(f[4]), "/"), root: Unescape(f[3])}
		switch rest[0] {
		case "cgroup2":
			trees[""] = h
		case "cgroup":
			for option := range strings.SplitSeq(rest[2], ",") {
				switch option {
				case "cpu", "cpuacct", "cpuset":
					trees[option] = h
				}
			}
		}
	}
	return trees
}

// memberships reads /proc/PID/cgroup: the group in each controller's hierarchy, "" being version 2.
func memberships(cgroup []byte) map[string]string {
	groups := map[string]string{}
	for line := range strings.Lines(string(cgroup)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(f[1], ",") {
			groups[controller] = f[2]
		}
	}
	return groups
}

// Unescape undoes the octal escapes of the kernel's mount tables, \040 for a blank.
func Unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
