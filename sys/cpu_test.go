package sys

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
)

func tree(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text + "\n")}
	}
	return m
}

const (
	mountV1 = "32 31 0:29 / /cg/cpu rw - cgroup cgroup rw,cpu\n" +
		"33 31 0:30 / /cg/cpuacct rw - cgroup cgroup rw,cpuacct\n" +
		"34 31 0:31 / /cg/cpuset rw - cgroup cgroup rw,cpuset\n" +
		"41 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw"
	mountV2 = "30 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw"
	stat    = "cpu  100 20 30 9000 5 6 7 8 9 10\ncpu0 1 2 3"
)

func TestCPUGroupTrees(t *testing.T) {
	tests := []struct {
		name     string
		files    map[string]string
		affinity int
		cpus     float64
		usage    time.Duration
	}{
		{"v1, a host of name spaces in a bigger machine", map[string]string{
			"proc/self/mountinfo":                   mountV1,
			"proc/self/cgroup":                      "3:cpuset:/oh/h2\n2:cpuacct:/oh/h2\n1:cpu:/oh/h2/daemon\n0::/",
			"proc/1/cgroup":                         "3:cpuset:/oh/h2\n2:cpuacct:/oh/h2\n1:cpu:/oh/h2\n0::/",
			"proc/stat":                             stat,
			"cg/cpu/cpu.cfs_quota_us":               "-1",
			"cg/cpu/cpu.cfs_period_us":              "100000",
			"cg/cpu/oh/h2/cpu.cfs_quota_us":         "45000",
			"cg/cpu/oh/h2/cpu.cfs_period_us":        "100000",
			"cg/cpu/oh/h2/daemon/cpu.cfs_quota_us":  "-1",
			"cg/cpu/oh/h2/daemon/cpu.cfs_period_us": "100000",
			"cg/cpuacct/oh/h2/cpuacct.usage":        "1500000000",
			"cg/cpuset/oh/h2/cpuset.effective_cpus": "0-1",
			"cg/unified/cpu.stat":                   "usage_usec 99",
		}, 2, 0.45, 1500 * time.Millisecond},
		{"v1, the tightest is above", map[string]string{
			"proc/self/mountinfo":               mountV1,
			"proc/self/cgroup":                  "2:cpu,cpuacct:/a/b",
			"proc/1/cgroup":                     "2:cpu,cpuacct:/a/b",
			"cg/cpu/a/cpu.cfs_quota_us":         "150000",
			"cg/cpu/a/cpu.cfs_period_us":        "100000",
			"cg/cpu/a/b/cpu.cfs_quota_us":       "400000",
			"cg/cpu/a/b/cpu.cfs_period_us":      "100000",
			"cg/cpuacct/a/b/cpuacct.usage":      "7",
			"cg/cpuset/cpuset.cpus":             "0,2-4",
			"cg/cpuset/a/b/nothing":             "",
			"cg/cpu/a/b/c/cpu.cfs_quota_us":     "1",
			"cg/cpu/a/b/c/cpu.cfs_period_us":    "100000",
			"cg/cpuacct/cpuacct.usage":          "1000",
			"cg/cpuset/a/cpuset.effective_cpus": "0",
		}, 8, 1.5, 7},
		{"v1, only this group is mounted", map[string]string{
			"proc/self/mountinfo":                         "1 1 0:1 /oh/h3 /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
			"proc/self/cgroup":                            "1:cpu,cpuacct:/oh/h3/x",
			"proc/1/cgroup":                               "1:cpu,cpuacct:/oh/h3",
			"sys/fs/cgroup/cpu,cpuacct/x/y":               "",
			"sys/fs/cgroup/cpu,cpuacct/cpu.stat":          "nr_periods 0",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":  "50000",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
			"sys/fs/cgroup/cpu,cpuacct/cpuacct.usage":     "42",
		}, 2, 0.5, 42},
		{"v2, a service of a machine with systemd", map[string]string{
			"proc/self/mountinfo":                              mountV2,
			"proc/self/cgroup":                                 "0::/system.slice/onehostd.service",
			"proc/1/cgroup":                                    "0::/init.scope",
			"proc/stat":                                        stat,
			"sys/fs/cgroup/cpu.stat":                           "usage_usec 5000000\nuser_usec 1",
			"sys/fs/cgroup/cpuset.cpus.effective":              "0-7",
			"sys/fs/cgroup/system.slice/cpu.max":               "max 100000",
			"sys/fs/cgroup/system.slice/cpu.stat":              "usage_usec 3",
			"sys/fs/cgroup/init.scope/cpu.stat":                "usage_usec 4",
			"sys/fs/cgroup/system.slice/cpuset.cpus.effective": "0-7",
		}, 8, 8, 5 * time.Second},
		{"v2, a container with a quota and its own view", map[string]string{
			"proc/self/mountinfo":                 mountV2,
			"proc/self/cgroup":                    "0::/",
			"proc/1/cgroup":                       "0::/",
			"sys/fs/cgroup/cpu.max":               "250000 100000",
			"sys/fs/cgroup/cpu.stat":              "usage_usec 12\n",
			"sys/fs/cgroup/cpuset.cpus.effective": "0-3",
		}, 16, 2.5, 12 * time.Microsecond},
		{"v2, pid 1 in another branch", map[string]string{
			"proc/self/mountinfo":      mountV2,
			"proc/self/cgroup":         "0::/b",
			"proc/1/cgroup":            "0::/a",
			"sys/fs/cgroup/a/cpu.stat": "usage_usec 1",
			"sys/fs/cgroup/b/cpu.stat": "usage_usec 2",
		}, 2, 2, 2 * time.Microsecond},
		{"a group outside of what is seen", map[string]string{
			"proc/self/mountinfo":    mountV2,
			"proc/self/cgroup":       "0::/../other",
			"proc/1/cgroup":          "0::/../other",
			"sys/fs/cgroup/cpu.max":  "50000 100000",
			"sys/fs/cgroup/cpu.stat": "usage_usec 3",
		}, 2, 0.5, 3 * time.Microsecond},
		{"no control groups", map[string]string{
			"proc/self/mountinfo": "1 1 0:1 / / rw - ext4 /dev/sda rw",
			"proc/self/cgroup":    "",
			"proc/stat":           stat,
		}, 2, 2, 1630 * time.Millisecond},
	}
	for _, tt := range tests {
		g, err := findCPUGroup(tree(tt.files))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := g.capacity(tt.affinity); math.Abs(got-tt.cpus) > 1e-9 {
			t.Errorf("%s: %v CPUs, want %v (%+v)", tt.name, got, tt.cpus, g.quota)
		}
		if got, err := g.Usage(); err != nil || got != tt.usage {
			t.Errorf("%s: usage %v, %v; want %v (%s)", tt.name, got, err, tt.usage, g.usage)
		}
	}
	if _, err := findCPUGroup(tree(nil)); err == nil {
		t.Error("no /proc: no error")
	}
	g := &CPUGroup{root: tree(map[string]string{"a/cpuacct.usage": "x", "b/cpu.stat": "user_usec 1", "c": "cpu 1 2"})}
	for _, name := range []string{"a/cpuacct.usage", "b/cpu.stat", "c", "none"} {
		g.usage = name
		if _, err := g.Usage(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCountCPUs(t *testing.T) {
	for list, want := range map[string]int{"": 0, "0": 1, "0-3": 4, "0,2-4,9": 5, "x": 0, "3-1": 0, "1,": 0, "0-999999": 0} {
		if got := countCPUs(list); got != want {
			t.Errorf("%q: got %d, want %d", list, got, want)
		}
	}
}

// This machine: time that is burnt is seen in the usage.
func TestCPUUsageHere(t *testing.T) {
	cpus, err := CPUCapacity()
	if err != nil || cpus <= 0 || cpus > float64(runtime.NumCPU()) {
		t.Fatalf("capacity %v of %d CPUs, %v", cpus, runtime.NumCPU(), err)
	}
	g, err := FindCPUGroup()
	if err != nil {
		t.Fatal(err)
	}
	before, err := g.Usage()
	if err != nil {
		t.Fatal(err)
	}
	const want = 100 * time.Millisecond
	burn(want)
	after, err := g.Usage()
	if err != nil || after-before < want-20*time.Millisecond {
		t.Errorf("%v of CPU time show as %v, %v", want, after-before, err)
	}
}

func burn(d time.Duration) {
	for begin := processTime(); processTime()-begin < d; {
		_ = strings.Repeat("x", 10000)
	}
}

// A group with a quota, made here: what is measured from inside is its own.
func TestCPUGroupHere(t *testing.T) {
	if os.Getenv("SYS_CPU_TEST") != "" {
		g, err := FindCPUGroup()
		if err != nil {
			t.Fatal(err)
		}
		cpus, err := g.Capacity()
		if err != nil || math.Abs(cpus-0.45) > 1e-6 {
			t.Fatalf("capacity %v, %v", cpus, err)
		}
		return
	}
	dir := "/sys/fs/cgroup/cpu/onehost-cpu-test"
	if _, err := os.Stat("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"); err != nil {
		t.Skipf("no version 1 cpu hierarchy at /sys/fs/cgroup/cpu: %v", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("cannot make a control group: %v", err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "cpu.cfs_quota_us"), []byte("45000"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$1" -test.run '^TestCPUGroupHere$'`, dir, os.Args[0])
	cmd.Env = append(os.Environ(), "SYS_CPU_TEST=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("in the group: %v\n%s", err, out)
	}
}

func BenchmarkCPUUsage(b *testing.B) {
	g, err := FindCPUGroup()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := g.Usage(); err != nil {
			b.Fatal(err)
		}
	}
}

func processTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
