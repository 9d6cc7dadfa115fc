package nest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// storm forks and makes threads from many processes at once, as fast as it can, and looks at every number that it gets.
const storm = `
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static int first, last, bad, full;
static void look(long n) {
	if (n >= first && n <= last) return;
	if (n == -1 && errno == EAGAIN) { __sync_fetch_and_add(&full, 1); return; }
	fprintf(stderr, "number %ld\n", n);
	bad = 1;
}
static void *thread(void *a) { look(syscall(SYS_gettid)); return 0; }
int main(int argc, char **argv) {
	first = atoi(argv[1]), last = atoi(argv[2]);
	int workers = atoi(argv[3]), rounds = atoi(argv[4]), hold = atoi(argv[5]);
	for (int w = 0; w < workers; w++) {
		pid_t p = fork();
		if (p != 0) {
			look(p);
			continue;
		}
		for (int i = 0; i < rounds; i++) {
			pid_t held[64];
			int n = 0;
			for (int k = 0; k < hold; k++) {
				pid_t c;
				switch ((i + k + w) % 3) {
				case 0: c = fork(); break;
				case 1: c = vfork(); break;
				default: c = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
				}
				if (c == 0) {
					if (syscall(SYS_getpid) < first || syscall(SYS_getpid) > last) _exit(1);
					if (k % 4 == 0 && (i + k + w) % 3 == 0) setsid(); // its number stays in use a little longer
					_exit(0);
				}
				look(c);
				if (c > 0) held[n++] = c;
			}
			pthread_t t[8];
			int made = 0, threads = hold ? 1 : 8;
			for (int k = 0; k < threads; k++) {
				int e = pthread_create(&t[made], 0, thread, 0);
				if (e == 0) made++;
				else if (e == EAGAIN) full = 1;
				else bad = 1;
			}
			while (made > 0) pthread_join(t[--made], 0);
			while (n > 0) {
				int st;
				if (waitpid(held[--n], &st, 0) < 0 || st != 0) bad = 1;
			}
		}
		_exit(bad || (full && !getenv("FULL")));
	}
	int st;
	while (wait(&st) > 0) if (st != 0) bad = 1;
	printf("%s\n", bad ? "bad" : "good");
	return bad;
}`

// compile makes a program of C.
func compile(t *testing.T, text string) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("needs gcc")
	}
	dir := t.TempDir()
	src, bin := filepath.Join(dir, "program.c"), filepath.Join(dir, "program")
	if err := os.WriteFile(src, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-O2", "-pthread", "-o", bin, src).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	return bin
}

// TestStorm: however fast processes fork, in parallel, none gets a number outside of a block as homes lease it, and of threads not even if the
// block is small: when it is full they are told so.
func TestStorm(t *testing.T) {
	bin := compile(t, storm)
	for _, c := range []struct {
		name                  string
		last                  int
		workers, rounds, hold string
		full                  bool // it may be, at times
	}{
		{"a block of 1024", 34023, "8", "150", "4", false},
		{"threads", 34023, "8", "150", "0", false},
		{"threads in a small block", 33099, "4", "150", "0", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := testConfig()
			cfg.PidFirst, cfg.PidLast = 33000, c.last
			n := openNest(t, cfg)
			var wg sync.WaitGroup
			for i := range 2 {
				s := base("")
				s.Exe, s.Argv, s.Pid = bin, []string{"storm", "33000", strconv.Itoa(c.last), c.workers, c.rounds, c.hold}, 4000+i
				if c.full {
					s.Env = append(s.Env, "FULL=1")
				}
				r := start(t, n, s)
				wg.Go(func() {
					if ws, out := r.end(t); ws != 0 || !strings.Contains(out, "good") {
						t.Errorf("status %#x: %s", int(ws), out)
					}
				})
			}
			wg.Wait()
		})
	}
}

// openBefore opens a nest whose init goes before what else runs, as it does when the daemon has opened it.
func openBefore(t *testing.T, cfg Config) *Nest {
	t.Helper()
	runtime.LockOSThread() // a priority is a thread's, and the child has that of the one that makes it
	defer runtime.UnlockOSThread()
	was, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, -10); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, 20-was) }() // the kernel tells 20 less it
	return openNest(t, cfg)
}

// TestGrow: a nest that uses more than half of its numbers asks for another block; forks wait for it when they have to.
func TestGrow(t *testing.T) {
	const many = `
import time
pids, dead = [], []
try:
	for i in range(1000):
		p = os.fork()
		if not p: signal.pause()
		pids.append(p)
	time.sleep(0.3)
	dead = [q for q in pids if os.waitpid(q, os.WNOHANG)[0]]
finally:
	if p:
		for q in pids:
			if q not in dead: os.kill(q, 9)
for q in pids:
	if q not in dead: os.waitpid(q, 0)
print(*pids)
print(*dead)`
	for _, c := range []struct {
		name  string
		block int // size of what is given
	}{{"another block", 1024}, {"small ones", 512}, {"none", 0}} {
		t.Run(c.name, func(t *testing.T) {
			cfg := testConfig()
			cfg.PidFirst, cfg.PidLast = 33000, 33511
			var asked []int
			cfg.More = func(_ context.Context, has int) (first, last int, err error) {
				time.Sleep(200 * time.Millisecond) // over a link of a busy machine
				if c.block == 0 {
					return 0, 0, syscall.EAGAIN
				}
				asked = append(asked, has)
				first = 42000 - 2000*has // below as well as above the last
				return first, first + c.block - 1, nil
			}
			n := openBefore(t, cfg)
			ws, out := start(t, n, python(t, atHome(), many)).end(t)
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			ours := func(pid int) bool {
				in := pid >= 33000 && pid <= 33511
				for _, has := range asked {
					in = in || pid >= 42000-2000*has && pid < 42000-2000*has+c.block
				}
				return in
			}
			all, killed, _ := strings.Cut(out, "\n")
			dead := strings.Fields(killed)
			seen := map[int]bool{}
			for f := range strings.FieldsSeq(all) {
				pid, err := strconv.Atoi(f)
				if err != nil || seen[pid] || ours(pid) == slices.Contains(dead, f) {
					t.Errorf("number %s, killed %v", f, slices.Contains(dead, f))
				}
				seen[pid] = true
			}
			if ws != 0 || len(seen) != 1000 || c.block > 0 && (len(asked) == 0 || asked[0] != 1 || len(dead) > 0) {
				t.Errorf("status %#x, %d numbers, %d killed, asked %v: %.500s", int(ws), len(seen), len(dead), asked, out)
			}
		})
	}
}
