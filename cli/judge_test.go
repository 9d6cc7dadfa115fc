package cli

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/sys"
)

func TestJudges(t *testing.T) {
	now := time.Now()
	hosts := []control.Host{{Name: "h1", State: "alive"}, {Name: "h2", State: "left"}, {Name: "h3", State: "failed", Since: now, Address: "a:1"}}
	gone, there := func(string) error { return errors.New("no route") }, func(string) error { return nil }
	for _, tc := range []struct {
		name        string
		got         Finding
		state, says string
	}{
		{"pid_max as it should be", judgePidMax(32768), verdictOK, "is 32768"},
		{"pid_max too high", judgePidMax(4194304), verdictMissing, "is 4194304, over 32768"},
		{"same version", judgeVersions("1", "1"), verdictOK, "are 1"},
		{"other version", judgeVersions("1", "2"), verdictWarn, "onehost is 1, onehostd is 2"},
		{"an address", judgeAddress("10.0.0.1:7", 2), verdictOK, "10.0.0.1:7"},
		{"a name", judgeAddress("box.example:7", 2), verdictOK, "box.example:7"},
		{"loopback alone", judgeAddress("127.0.0.1:7", 1), verdictOK, "127.0.0.1:7"},
		{"loopback with others", judgeAddress("127.0.0.1:7", 2), verdictMissing, "loopback"},
		{"no address", judgeAddress("[::]:7", 2), verdictMissing, "no address"},
		{"all alive", judgeHosts(hosts[:2], gone), verdictOK, "1 alive, none failed"},
		{"one gone", judgeHosts(hosts, gone), verdictWarn, "h3 failed 0s ago and cannot be reached (no route)"},
		{"one daemon gone", judgeHosts(hosts, there), verdictWarn, "h3 failed 0s ago, but a:1 answers"},
		{"a feature", checkProbe("x", 0, "mend", "good"), verdictOK, "good"},
		{"no feature", checkProbe("x", unix.ENOSYS, "mend", "good"), verdictMissing, "this kernel lacks it"},
		{"a feature one can do without", optional(checkProbe("x", unix.ENOSYS, "mend", "good")), verdictWarn, "this kernel lacks it"},
		{"something else", checkProbe("x", unix.EMFILE, "mend", "good"), verdictMissing, "too many open files"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.got.State != tc.state || !strings.Contains(tc.got.Detail, tc.says) {
				t.Errorf("got %+v, want %s with %q", tc.got, tc.state, tc.says)
			}
			if tc.state != verdictOK && tc.got.Mend == "" {
				t.Errorf("%+v: nothing says how to mend it", tc.got)
			}
		})
	}
}

func TestParseRelease(t *testing.T) {
	for s, want := range map[string][2]int{
		"6.18.44-fc-v595": {6, 18}, "5.19": {5, 19}, "6.1.0-17-amd64": {6, 1}, "6-rc1": {6, 0}, "": {0, 0}, "x": {0, 0},
		"6.99999999999999999999": {6, 0},
	} {
		major, minor := parseRelease(s)
		if major != want[0] || minor != want[1] {
			t.Errorf("%q: got %d.%d, want %v", s, major, minor, want)
		}
	}
}

func TestCgroupWithCPU(t *testing.T) {
	const v1 = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n"
	const set = "cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n"
	const v2 = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"
	for _, tc := range []struct {
		mounts, controllers string
		want                int
	}{
		{"", "", 0}, {set, "", 0}, {v1, "", 1}, {v2, "cpuset cpu io\n", 2}, {v2, "cpuset memory\n", 0}, {v2 + set + v1, "memory", 1},
	} {
		got := cgroupWithCPU(tc.mounts, func(path string) string {
			if path != "/sys/fs/cgroup/cgroup.controllers" {
				t.Errorf("read %s", path)
			}
			return tc.controllers
		})
		if got != tc.want {
			t.Errorf("%q with %q: got %d, want %d", tc.mounts, tc.controllers, got, tc.want)
		}
	}
}

func TestAgo(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": -time.Hour, "59s": 59*time.Second + 999*time.Millisecond, "1m0s": time.Minute, "23h59m": 24*time.Hour - time.Second, "365d0h": 365 * 24 * time.Hour,
	} {
		if got := ago(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

// A colour goes around the state alone and moves nothing.
func TestTableColor(t *testing.T) {
	hosts := []control.Host{{Name: "h1", Number: 1, State: "alive"}, {Name: "h2", Number: 2, State: "failed"}, {Name: "h3", Number: 3, State: "drained"}}
	var plain, colored strings.Builder
	tab := hostTable(hosts, time.Now())
	if err := tab.write(&plain, false); err != nil {
		t.Fatal(err)
	}
	if err := tab.write(&colored, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\x1b[32malive\x1b[0m", "\x1b[31mfailed\x1b[0m", "\x1b[33mdrained\x1b[0m"} {
		if !strings.Contains(colored.String(), want) {
			t.Errorf("no %q in %q", want, colored.String())
		}
	}
	stripped := strings.NewReplacer("\x1b[32m", "", "\x1b[31m", "", "\x1b[33m", "", "\x1b[0m", "").Replace(colored.String())
	if stripped != plain.String() {
		t.Errorf("with colour:\n%swithout:\n%s", stripped, plain.String())
	}
}

// The probes leave no descriptor behind, and a file that is not there is no missing feature.
func TestKernelProbes(t *testing.T) {
	before := descriptors(t)
	findings := checkKernel()
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	for _, f := range findings {
		t.Logf("%s: %s: %s", f.State, f.Check, f.Detail)
	}
	if e := sys.ProbeFileHandle("/no/such/file"); e != unix.ENOENT && e != unix.EPERM {
		t.Errorf("a handle of a file that is not there: %v, want ENOENT", e)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
