package session

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/onehost/onehost/sys"
)

const costs = `
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e6 + t.tv_nsec / 1e3; }
extern char **environ;
int main(int n, char **v) {
	double a = now(); int calls = 1000000;
	for (int i = 0; i < calls; i++) syscall(SYS_getpid);
	double b = now(); pid_t self = getpid();
	for (int i = 0; i < calls; i++) kill(self, 0);
	double c = now(); int spawns = atoi(v[1]);
	for (int i = 0; i < spawns; i++) { pid_t p; int st; posix_spawn(&p, v[2], 0, 0, v + 2, environ); waitpid(p, &st, 0); if (st) return 1; }
	double d = now();
	printf("getpid %.0f ns, kill %.0f ns, spawn+wait %.0f us\n", (b - a) * 1e3 / calls, (c - b) * 1e3 / calls, (d - c) / spawns);
}`

// TestCost prints what being in a session costs; it asserts nothing about time, which belongs to the machine.
func TestCost(t *testing.T) {
	if testing.Short() {
		t.Skip("a measurement")
	}
	need(t, "gcc")
	dir := t.TempDir()
	src := filepath.Join(dir, "costs.c")
	if err := os.WriteFile(src, []byte(costs), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"costs", "spawner"} { // the second is a spreader by rule
		if out, err := exec.Command("gcc", "-O2", src, "-o", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	const spawns = "50" // of each kind; more of them and more rounds give better figures, and are no better test
	f := newFake(t)
	f.set(false, "job")
	out, err := exec.Command(filepath.Join(dir, "costs"), spawns, "/bin/true").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("native:           %s", out)
	for _, c := range []struct{ what, program, job string }{
		{"in a session:     ", "costs", "x"},
		{"candidate, here:  ", "spawner", "x"},
		{"candidate, ghost: ", "spawner", "job"},
	} {
		o := f.run(t, nil, filepath.Join(dir, c.program), spawns, "/bin/true", c.job, "exit", "0")
		if o.status != 0 || (c.job == "job") != strings.Contains(o.report, "remote\t") {
			t.Fatalf("%s: status %#x, %q", c.what, o.status, o.out)
		}
		t.Logf("%s%s", c.what, o.out)
	}
}

// TestGhostSize: a ghost is small.
func TestGhostSize(t *testing.T) {
	f := newFake(t)
	_, wait := f.start(t, 1, "/bin/echo", "job", "hold")
	pid := f.ghostPid(0)
	p := "/proc/" + strconv.Itoa(pid)
	eventually(t, "the ghost is one, with its socket and its signals", func() bool {
		st, err := sys.ReadProcStat(pid)
		fds, e := os.ReadDir(p + "/fd")
		return err == nil && e == nil && st.State == 'S' && len(fds) == 2
	})
	b, err := os.ReadFile(p + "/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "Rss:") || strings.HasPrefix(line, "Pss:") || strings.HasPrefix(line, "Private_Dirty:") {
			t.Log(strings.Join(strings.Fields(line), " "))
		}
	}
	comm, err := os.ReadFile(p + "/comm")
	if err != nil || strings.TrimSpace(string(comm)) != "echo" {
		t.Errorf("comm %q, %v", comm, err)
	}
	if err := exec.Command("kill", strconv.Itoa(pid)).Run(); err != nil {
		t.Fatal(err)
	}
	wait()
}
