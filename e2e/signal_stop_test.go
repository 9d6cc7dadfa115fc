package e2e_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/split"
)

// busy is a Makefile whose four recipes compute, each in a child of its shell, until they are killed.
const busy = `printf 'all: 1 2 3 4\n%%: ; @awk "BEGIN { while (1) ; }"; true\n' > busy.mk`

// awks reports whether all n loops of busy run elsewhere, or all are stopped.
func awks(t *testing.T, n int, stopped bool) func() bool {
	return func() bool {
		return len(only(processes(t), func(p process) bool { return remote(p) && p.argv[0] == "awk" && (p.state == "T") == stopped })) == n
	}
}

// stopLimit bounds the wait for a stop or its end to have come everywhere: some milliseconds, but for hosts whose CPUs the loops have used up.
const stopLimit = 10 * time.Second

// TestStopOfAJob: a shell's "kill -STOP %1" stops onehost run too, which then can pass nothing on: what runs elsewhere stops all the
// same, and "kill -CONT %1" lets all of it go on, again and again.
func TestStopOfAJob(t *testing.T) {
	c := cluster(t, 3)
	h1 := c.Hosts()[0]
	job{host: h1, dir: "/root"}.must(t, busy)
	x := openTerminal(t, h1)
	x.typed("clear; onehost run -q --no-local make -j4 -f busy.mk &")
	eventually(t, 20*time.Second, "four loops elsewhere", awks(t, 4, false))
	for i := range 4 {
		x.typed("kill -STOP %1")
		eventually(t, stopLimit, "all to be stopped", awks(t, 4, true))
		x.typed("kill -CONT %1")
		eventually(t, stopLimit, "all to go on", awks(t, 4, false))
		time.Sleep(time.Duration(i) * 150 * time.Millisecond) // what was on its way may stop them once more
		if !awks(t, 4, false)() {
			t.Fatalf("stopped again, %d: %v", i, processes(t))
		}
	}
	x.typed("kill -STOP %1; kill -CONT %1; kill -STOP %1; kill -CONT %1")
	time.Sleep(time.Second)
	eventually(t, stopLimit, "all to go on", awks(t, 4, false))
	x.typed("kill -STOP %1")
	eventually(t, stopLimit, "all to be stopped", awks(t, 4, true))
	x.typed("clear; fg")
	eventually(t, stopLimit, "all to go on", awks(t, 4, false))
	x.key("C-z")
	eventually(t, stopLimit, "all to be stopped", awks(t, 4, true))
	x.typed("clear; kill -TERM %1; kill -CONT %1; wait %1; echo status $?")
	x.see("the status", func(s string) bool { return strings.Contains(s, "status 143") })
	gone(t, endLimit, func(p process) bool { return p.argv[0] != "bash" && p.argv[0] != "env" })
}

// TestStopOfAGhost: SIGSTOP sent to one process from outside its session stops that one, wherever it runs.
func TestStopOfAGhost(t *testing.T) {
	c := cluster(t, 3)
	j := job{host: c.Hosts()[0], dir: "/root"}
	j.must(t, busy+`; echo 'SHELL = /bin/bash' >> busy.mk`)
	cmd := j.begin(t, "onehost", "run", "-q", "--no-local", "make", "-j4", "-f", "busy.mk")
	eventually(t, 20*time.Second, "four loops elsewhere", awks(t, 4, false))
	for range 3 {
		j.must(t, `kill -STOP $(pgrep -P $(pgrep -x make) | head -n 1)`)
		eventually(t, stopLimit, "one to be stopped", func() bool {
			return awks(t, 1, true)() && awks(t, 3, false)()
		})
		j.must(t, `kill -CONT $(pgrep -P $(pgrep -x make) | head -n 1)`)
		eventually(t, stopLimit, "all to go on", awks(t, 4, false))
	}
	j.must(t, "pkill -TERM -x make")
	var exit *split.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Signal != unix.SIGTERM {
		t.Errorf("%v, want death by SIGTERM", err)
	}
	gone(t, endLimit, func(process) bool { return true })
}
