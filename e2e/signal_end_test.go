package e2e_test

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/split"
)

// endLimit is how long anything of a build may live after its end was asked for.
const endLimit = 2 * time.Second

// runner finds the process of the host's `onehost run`: the front, or its keeper.
func runner(t *testing.T, keeper bool) int {
	t.Helper()
	for _, p := range processes(t) {
		if p.host != "h1" || p.argv[0] != "onehost" || len(p.argv) < 2 || p.argv[1] != "run" {
			continue
		}
		pid, err := strconv.Atoi(p.pid)
		if err != nil {
			t.Fatal(err)
		}
		stat, err := os.ReadFile("/proc/" + p.pid + "/stat")
		if err != nil {
			t.Fatal(err)
		}
		above := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))[1]
		line, err := os.ReadFile("/proc/" + above + "/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(line), "onehost\x00run\x00") == keeper {
			return pid
		}
	}
	t.Fatalf("no onehost run among %v", processes(t))
	return 0
}

// TestEndOfBuild: however a build is ended in the middle, nothing of it lives on any host two seconds later, and whoever waits
// for it sees what a shell expects.
func TestEndOfBuild(t *testing.T) {
	c := cluster(t, 3)
	j := job{host: c.Hosts()[0], dir: "/root"}
	j.must(t, lasting)
	for _, k := range []struct {
		name   string
		keeper bool
		signal unix.Signal
		death  unix.Signal // of onehost run
		code   int
	}{
		{"SIGTERM", false, unix.SIGTERM, unix.SIGTERM, 0},
		{"SIGKILL", false, unix.SIGKILL, unix.SIGKILL, 0},
		{"SIGKILL of the keeper", true, unix.SIGKILL, 0, 125},
	} {
		t.Log(k.name)
		cmd := j.begin(t, "onehost", "run", "-q", "--no-local", "make", "-j8", "-f", "lasting.mk")
		inMidBuild(t)
		if err := unix.Kill(runner(t, k.keeper), k.signal); err != nil {
			t.Fatal(err)
		}
		gone(t, endLimit, func(process) bool { return true })
		var exit *split.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.Signal != k.death || exit.Code != k.code {
			t.Errorf("%s: %v, want death by %v or status %d", k.name, err, k.death, k.code)
		}
	}
}

// TestHomeDaemonKilled: when the daemon of a home dies, what runs elsewhere for that home ends; the session goes on at home.
func TestHomeDaemonKilled(t *testing.T) {
	c := cluster(t, 3)
	j := job{host: c.Hosts()[0], dir: "/root"}
	j.must(t, `printf 'all: 1 2 3 4 5 6 7 8\n%%: ; @awk "BEGIN { system(\\"sleep 1000\\") }"\n' > dear.mk`) // not too cheap to go
	cmd := j.begin(t, "onehost", "run", "-q", "make", "-j8", "-f", "dear.mk")
	eventually(t, 20*time.Second, "jobs elsewhere", func() bool {
		return len(only(processes(t), func(p process) bool { return remote(p) && p.argv[0] == "sleep" })) >= 4
	})
	j.must(t, "pkill -9 -x onehostd")
	gone(t, 2*time.Second, remote)
	eventually(t, 20*time.Second, "the recipes to run again at home", func() bool {
		return len(only(processes(t), func(p process) bool { return p.argv[0] == "sleep" && !remote(p) })) == 8
	})
	if err := unix.Kill(runner(t, false), unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	gone(t, endLimit, func(process) bool { return true })
	var exit *split.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Signal != unix.SIGTERM {
		t.Errorf("%v, want death by SIGTERM", err)
	}
}
