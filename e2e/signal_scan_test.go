package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/onehost/onehost/split"
)

// process is one process of a host, seen from the machine.
type process struct {
	pid   string
	host  string
	state string // as ps has it
	argv  []string
}

func (p process) String() string {
	return fmt.Sprintf("%s %s %s %s", p.host, p.pid, p.state, brief(strings.Join(p.argv, " ")))
}

// number is the machine's of the process.
func (p process) number(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(p.pid)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// processes looks through the machine's /proc for everything that lives in hosts of the test's split, without what makes
// the hosts themselves: init, terminals, daemon, nests.
func processes(t *testing.T) []process {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	mark := "/onehost-split-" + splitName(t) + "/"
	var all []process
	for _, dir := range dirs {
		groups, _ := os.ReadFile(dir + "/cgroup") // gone meanwhile, as for all below
		_, in, ok := strings.Cut(string(groups), mark)
		if !ok {
			continue
		}
		host, _, _ := strings.Cut(in, "\n")
		host, _, _ = strings.Cut(host, "/")
		stat, _ := os.ReadFile(dir + "/stat")
		after := string(stat[strings.LastIndexByte(string(stat), ')')+1:])
		words := strings.Fields(after)
		line, err := os.ReadFile(dir + "/cmdline")
		if err != nil || len(words) == 0 || words[0] == "Z" || words[0] == "X" {
			continue
		}
		argv := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
		switch filepath.Base(argv[0]) {
		case "onehost-split-init", "onehost-split-tty", "onehost-nest", "onehost-carrier", "onehostd":
			continue
		}
		all = append(all, process{pid: filepath.Base(dir), host: host, state: words[0], argv: argv})
	}
	return all
}

// only keeps the processes for which keep says so.
func only(all []process, keep func(process) bool) []process {
	return slices.DeleteFunc(all, func(p process) bool { return !keep(p) })
}

func remote(p process) bool { return p.host != "h1" }

// gone fails the test unless all processes that match end within the limit, and says how long it took.
func gone(t *testing.T, limit time.Duration, match func(process) bool) {
	t.Helper()
	began := time.Now()
	for {
		left := only(processes(t), match)
		took := time.Since(began)
		if len(left) == 0 {
			t.Logf("all gone after %v", took.Round(time.Millisecond))
			return
		}
		if took > limit {
			t.Fatalf("after %v there are left:\n%v", limit, left)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// lasting is a Makefile whose eight recipes never end: each has a child, a daemon and, in every second, a busy loop.
const lasting = `cat > lasting.mk <<'M'
all: 1 2 3 4 5 6 7 8
1 3 5 7: ; @sleep 1000 & (setsid sleep 1001 &) ; while :; do :; done
2 4 6 8: ; @sleep 1002 & (setsid nohup sleep 1003 >/dev/null 2>&1 &) ; sleep 1004; true
M
`

// sleepers counts the remote sleeps of lasting: 20 stands for "in mid-build".
func inMidBuild(t *testing.T) {
	t.Helper()
	eventually(t, 20*time.Second, "the build to be under way elsewhere", func() bool {
		return len(only(processes(t), func(p process) bool { return remote(p) && p.argv[0] == "sleep" })) >= 20
	})
}

// begin starts a program in a host without waiting for it.
func (j job) begin(t *testing.T, args ...string) *split.Cmd {
	t.Helper()
	cmd := j.host.Command(t.Context(), args...)
	cmd.Dir, cmd.User = j.dir, j.user
	cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}, j.env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}
