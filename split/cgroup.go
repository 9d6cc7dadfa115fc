package split

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/sys"
)

// wanted are the controllers that a host uses. Memory is left alone in version 1: the hosts stay under whatever bounds the caller.
var wanted = []string{"cpu", "cpuacct", "cpuset", "freezer", "pids"}

// hierarchy is one mounted tree of cgroups: the v2 tree, or one of v1.
type hierarchy struct {
	Mount       string   `json:"mount"`
	Controllers []string `json:"controllers"` // v1: those of it; v2: those it can give to children
	V2          bool     `json:"v2"`
}

func (h hierarchy) has(controller string) bool { return slices.Contains(h.Controllers, controller) }

// hierarchies finds the trees a split uses: those of v1 with a wanted controller, and the v2 tree.
func hierarchies() ([]hierarchy, error) {
	mounts, err := mountsOf("self")
	if err != nil {
		return nil, err
	}
	var all []hierarchy
	for _, m := range mounts {
		known := slices.ContainsFunc(all, func(h hierarchy) bool { return h.Mount == m.point })
		if known || m.subtree != "/" && m.kind != "cgroup2" {
			continue
		}
		switch m.kind {
		case "cgroup2":
			data, err := os.ReadFile(filepath.Join(m.point, "cgroup.controllers"))
			if err != nil || slices.ContainsFunc(all, func(h hierarchy) bool { return h.V2 }) {
				continue // hidden under another mount, or the same tree once more
			}
			all = append(all, hierarchy{Mount: m.point, V2: true, Controllers: strings.Fields(string(data))})
		case "cgroup":
			h := hierarchy{Mount: m.point}
			for opt := range strings.SplitSeq(m.super, ",") {
				if slices.Contains(wanted, opt) {
					h.Controllers = append(h.Controllers, opt)
				}
			}
			if len(h.Controllers) > 0 {
				all = append(all, h)
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted: mount one with 'mount -t cgroup2 cgroup2 /sys/fs/cgroup'")
	}
	return all, nil
}

// cgroups are a split's cgroups in all hierarchies.
type cgroups struct {
	name  string // of the split's own
	trees []hierarchy
}

func (i instance) cgroups() (*cgroups, error) {
	trees, err := hierarchies()
	if err != nil {
		return nil, err
	}
	return &cgroups{name: i.cgroup(), trees: trees}, nil
}

func (g *cgroups) path(t hierarchy, host names.HostName) string {
	return filepath.Join(t.Mount, g.name, string(host))
}

// tree finds the hierarchy that has a controller.
func (g *cgroups) tree(controller string) (hierarchy, bool) {
	for _, t := range g.trees {
		if t.has(controller) {
			return t, true
		}
	}
	return hierarchy{}, false
}

func (g *cgroups) v2() (hierarchy, bool) {
	for _, t := range g.trees {
		if t.V2 {
			return t, true
		}
	}
	return hierarchy{}, false
}

func write(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}

// makeHost makes a host's cgroups with its limits; those left by an earlier life stay.
func (g *cgroups) makeHost(h *hostState, quota Quota) error {
	for _, t := range g.trees {
		top, own := g.path(t, ""), g.path(t, h.Name)
		if t.V2 {
			for _, dir := range []string{t.Mount, top} {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return fmt.Errorf("cgroup: %w", err)
				}
				enable(dir, t.Controllers)
			}
		}
		if err := os.MkdirAll(own, 0o755); err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
		if t.has("cpuset") && !t.V2 { // a v1 cpuset starts empty and takes nobody until it is filled
			for _, dir := range []string{top, own} {
				for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
					if err := inherit(dir, file); err != nil {
						return err
					}
				}
			}
		}
	}
	if t, ok := g.tree("cpu"); ok {
		if err := weigh(g.path(t, ""), t.V2); err != nil && !errors.Is(err, fs.ErrNotExist) { // not given to children: no weights
			return err
		}
	}
	if t, ok := g.tree("cpuset"); ok && len(h.CPUs) > 0 {
		if err := write(filepath.Join(g.path(t, h.Name), "cpuset.cpus"), cpuList(h.CPUs)); err != nil {
			return err
		}
	}
	if quota == 0 {
		return nil
	}
	t, ok := g.tree("cpu")
	if !ok {
		return errors.New("--cpu-quota: this machine has no cpu cgroup controller: use a kernel built with CONFIG_CFS_BANDWIDTH, and see that the controller is not disabled")
	}
	slice, period := quota.bandwidth()
	own := g.path(t, h.Name)
	if t.V2 {
		return write(filepath.Join(own, "cpu.max"), fmt.Sprintf("%d %d", slice.Microseconds(), period.Microseconds()))
	}
	if err := write(filepath.Join(own, "cpu.cfs_quota_us"), "-1"); err != nil { // the period of a standing limit may not pass 1 s/quota
		return err
	}
	if err := write(filepath.Join(own, "cpu.cfs_period_us"), strconv.FormatInt(period.Microseconds(), 10)); err != nil {
		return err
	}
	return write(filepath.Join(own, "cpu.cfs_quota_us"), strconv.FormatInt(slice.Microseconds(), 10))
}

// weigh makes the split as a whole count for as many busy programs as the machine has CPUs, when others want them too. A new
// cgroup counts for one, and that would be all that the hosts together could have of a busy machine.
func weigh(top string, v2 bool) error {
	n := runtime.NumCPU()
	if v2 {
		return write(filepath.Join(top, "cpu.weight"), strconv.Itoa(min(100*n, 10000)))
	}
	return write(filepath.Join(top, "cpu.shares"), strconv.Itoa(min(1024*n, 262144)))
}

// enable gives controllers to the children of a v2 cgroup, one at a time: one that the kernel refuses to give shows when it is used.
func enable(dir string, controllers []string) {
	for _, c := range controllers {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644)
	}
}

func inherit(dir, file string) error {
	own, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	if len(bytes.TrimSpace(own)) > 0 {
		return nil
	}
	above, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
	if err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return write(filepath.Join(dir, file), string(above))
}

// enter puts a process into a host's cgroups.
func (g *cgroups) enter(host names.HostName, pid int) error {
	for _, t := range g.trees {
		if err := write(filepath.Join(g.path(t, host), "cgroup.procs"), strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}

// stillTime is how long freezing may take before what waits in the kernel counts as frozen: a process that waits for the
// host's own file server, which is frozen already, cannot be, and cannot go on either.
const stillTime = time.Second

// still reports whether some process of the group and those below it waits in the kernel and none runs.
func still(dir string) bool {
	waits := false
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() != "cgroup.procs" {
			return nil // a group that went away meanwhile
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil // likewise
		}
		for pid := range strings.FieldsSeq(string(data)) {
			n, _ := strconv.Atoi(pid)
			st, _ := sys.ReadProcStat(n) // one that has ended is neither
			switch st.State {
			case 'R':
				return errRuns
			case 'D':
				waits = true
			}
		}
		return nil
	})
	return err == nil && waits
}

var errRuns = errors.New("a process runs")

// freeze stops or lets go a whole host, and waits until the kernel says that it is done.
func (g *cgroups) freeze(ctx context.Context, host names.HostName, on bool) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	file, value, check, want, thawed := "", "", "", "", "0"
	if t, ok := g.v2(); ok {
		dir := g.path(t, host)
		file, value, check, want = filepath.Join(dir, "cgroup.freeze"), "0", filepath.Join(dir, "cgroup.events"), "frozen 0"
		if on {
			value, want = "1", "frozen 1"
		}
	} else if t, ok := g.tree("freezer"); ok {
		file = filepath.Join(g.path(t, host), "freezer.state")
		value, check, want, thawed = "THAWED", file, "THAWED", "THAWED"
		if on {
			value, want = "FROZEN", "FROZEN"
		}
	} else {
		return errors.New("this machine can freeze nothing: mount the cgroup v2 tree, or v1 with the freezer controller")
	}
	if err := write(file, value); err != nil {
		return err
	}
	begin := time.Now()
	if !until(ctx, func() bool {
		data, _ := os.ReadFile(check)
		return strings.Contains(string(data), want) || on && time.Since(begin) > stillTime && still(filepath.Dir(file))
	}) {
		if on {
			_ = write(file, thawed) // the error to tell is the first
		}
		return fmt.Errorf("%s: the kernel has not brought all its processes to %q in time: %w", host, want, ctx.Err())
	}
	return nil
}

// procs lists the processes in a host's cgroups and those below; host "" means the whole split.
func (g *cgroups) procs(host names.HostName) []int {
	seen := map[int]bool{}
	for _, t := range g.trees {
		_ = filepath.WalkDir(g.path(t, host), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil //nolint:nilerr // a cgroup that went away has no processes
			}
			data, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
			for f := range strings.FieldsSeq(string(data)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
					seen[pid] = true
				}
			}
			return nil
		})
	}
	pids := make([]int, 0, len(seen))
	for pid := range seen {
		pids = append(pids, pid)
	}
	return pids
}

// kill sends SIGKILL to all of a host, or of the split if host is "", and waits until they are gone.
func (g *cgroups) kill(ctx context.Context, host names.HostName) error {
	fuses := fuseMounts(g.procs(host))
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	early := time.Now().Add(500 * time.Millisecond)
	gone := until(ctx, func() bool {
		pids := g.procs(host)
		if t, ok := g.v2(); ok {
			_ = os.WriteFile(filepath.Join(g.path(t, host), "cgroup.kill"), []byte("1"), 0o644)
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if t, ok := g.tree("freezer"); ok && !t.V2 { // a process frozen by v1 does not die
			_ = os.WriteFile(filepath.Join(g.path(t, host), "freezer.state"), []byte("THAWED"), 0o644)
		}
		if len(pids) > 0 && time.Now().After(early) {
			abortFUSE(fuses)
		}
		return len(pids) == 0
	})
	if !gone {
		return fmt.Errorf("processes %v do not die: %w", g.procs(host), ctx.Err())
	}
	return nil
}

// remove takes a host's cgroups away, or the split's if host is "". They must be empty of processes; a moment passes until the kernel
// agrees that they are.
func (g *cgroups) remove(ctx context.Context, host names.HostName) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, t := range g.trees {
		var last error
		if !until(ctx, func() bool { last = rmdirs(g.path(t, host)); return last == nil }) {
			return fmt.Errorf("cgroup: %w", last)
		}
	}
	return nil
}

func rmdirs(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := rmdirs(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}
