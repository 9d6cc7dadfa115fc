package nest

import (
	"os/exec"
	"testing"
)

// cost tells what some calls take, in ns: two that are nobody's concern, one that is answered by the init, a fork with its wait, a thread.
const cost = `
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static double now() { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e9 + t.tv_nsec; }
static void *nothing(void *a) { return a; }
#define TIME(name, n, call) do { double best = 1e18; for (int r = 0; r < 5; r++) { double b = now(); \
	for (int i = 0; i < n; i++) { call; } double t = (now() - b) / n; if (t < best) best = t; } printf(name " %.0f ns  ", best); } while (0)
int main() {
	struct stat st;
	pthread_t t;
	TIME("getpid", 200000, syscall(SYS_getpid));
	TIME("stat", 100000, stat("/", &st));
	TIME("getppid", 5000, syscall(SYS_getppid));
	TIME("fork+wait", 1000, if (!fork()) _exit(0); wait(0));
	TIME("vfork+wait", 1000, if (!vfork()) _exit(0); wait(0));
	TIME("thread", 1000, pthread_create(&t, 0, nothing, 0); pthread_join(t, 0));
	puts("");
}`

// TestCost prints what calls cost here and in a nest.
func TestCost(t *testing.T) {
	bin := compile(t, cost)
	out, err := exec.Command(bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("here: %s", out)
	n := openNest(t, testConfig())
	s := atHome()
	s.Exe, s.Argv = bin, []string{"cost"}
	ws, in := start(t, n, s).end(t)
	if ws != 0 {
		t.Fatalf("status %#x: %s", int(ws), in)
	}
	t.Logf("nest: %s", in)
}
