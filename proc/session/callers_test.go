package session

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCallers: an exec goes elsewhere and back whoever makes it, and however.
func TestCallers(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	build := func(t *testing.T, name string, argv ...string) string {
		t.Helper()
		out := filepath.Join(dir, name)
		cmd := exec.Command(argv[0], append(argv[1:], "-o", out)...)
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, b)
		}
		return out
	}
	// Each program here is a spreader by rule: "spawner", whatever it is made of.
	const vfork = `
import subprocess, sys, os
for i in range(20):
    assert subprocess.run(["/bin/echo", "job", "exit", str(i)]).returncode == i
p = subprocess.run(["/bin/echo", "job", "die", "15"]); assert p.returncode == -15
pid = os.posix_spawn("/bin/echo", ["echo", "job", "exit", "9"], {}); assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
try:
    subprocess.run(["/no/such/file"]); assert False
except FileNotFoundError: pass
try:
    subprocess.run(["/etc/passwd"]); assert False
except PermissionError: pass
print("fine")
`
	const thread = `
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void *other(void *a) { char *v[] = {"echo", "job", "exit", "6", 0}; execv("/bin/echo", v); _exit(99); }
int main() {
	for (int i = 0; i < 20; i++) {
		pid_t p = fork();
		if (!p) { pthread_t t; pthread_create(&t, 0, other, 0); pthread_join(t, 0); _exit(98); }
		int st; waitpid(p, &st, 0);
		if (!WIFEXITED(st) || WEXITSTATUS(st) != 6) { printf("status %x\n", st); return 1; }
	}
	puts("fine");
}`
	const static = `
#include <unistd.h>
#include <stdio.h>
#include <sys/wait.h>
int main(int n, char **v) {
	if (n > 1) { puts("not elsewhere"); return 1; }
	pid_t p = fork();
	if (!p) { execl("/proc/self/exe", "static", "job", "exit", "4", (char *)0); _exit(99); }
	int st; waitpid(p, &st, 0);
	puts(WIFEXITED(st) && WEXITSTATUS(st) == 4 ? "fine" : "wrong");
}`
	const gofile = `package main
import ("fmt"; "os/exec"; "sync"; "errors")
func main() {
	var wg sync.WaitGroup; var mu sync.Mutex; good := 0
	for i := range 64 { wg.Add(1); go func() { defer wg.Done()
		err := exec.Command("/bin/echo", "job", "exit", fmt.Sprint(1+i)).Run()
		var e *exec.ExitError
		mu.Lock(); defer mu.Unlock()
		if errors.As(err, &e) && e.ExitCode() == 1+i { good++ } else { fmt.Println(err) }
	}() }
	wg.Wait()
	if good == 64 { fmt.Println("fine") }
}`
	cases := []struct {
		name string
		need string
		argv func(t *testing.T) []string
	}{
		{"python", "python3", func(*testing.T) []string { return []string{"python3", write("spawn.py", vfork)} }},
		{"thread", "gcc", func(t *testing.T) []string {
			return []string{build(t, "spawner", "gcc", "-pthread", "-x", "c", write("thread.c", thread))}
		}},
		{"static", "gcc", func(t *testing.T) []string {
			return []string{build(t, "spawner", "gcc", "-static", "-x", "c", write("static.c", static))}
		}},
		{"go", "go", func(t *testing.T) []string {
			write("go.mod", "module x\ngo 1.25\n")
			src := write("main.go", gofile)
			out := filepath.Join(dir, "spawner")
			cmd := exec.Command("go", "build", "-o", out, src)
			cmd.Dir = dir
			if b, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, b)
			}
			return []string{out}
		}},
		{"bash -m", "bash", func(*testing.T) []string {
			return []string{"bash", "-mc", ": spawner\nfor i in 1 2 3; do /bin/echo job exit $i; [ $? = $i ] || exit 1; done; /bin/echo job hold & kill %1; wait %1; [ $? = 143 ] && echo fine"}
		}},
		{"sh", "sh", func(*testing.T) []string {
			return []string{"sh", "-c", "/bin/echo job exit 2; [ $? = 2 ] && no-such-command 2>/dev/null; [ $? = 127 ] && echo fine"}
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			need(t, c.need)
			f := newFake(t)
			f.set(false, "job")
			o := f.run(t, []string{envSpread + "=" + c.need}, c.argv(t)...)
			if o.status != 0 || !strings.HasSuffix(o.out, "fine\n") {
				t.Errorf("status %#x, output %q, report %.500s", o.status, o.out, o.report)
			}
			if !strings.Contains(o.report, "remote\t") {
				t.Errorf("nothing went: %.500s", o.report)
			}
		})
	}
}

// TestStays: what cannot go stays, and says why.
func TestStays(t *testing.T) {
	need(t, "python3")
	f := newFake(t)
	for script, want := range map[string]string{
		"import socket,os; s=socket.socket(); os.set_inheritable(s.fileno(),True); os.execv('/bin/echo',['echo','job'])":                  "inherited socket",
		"import os; f=os.memfd_create('x',0); os.execv('/bin/echo',['echo','job'])":                                                       "inherited memfd",
		"import os,select; e=select.epoll(); os.set_inheritable(e.fileno(),True); os.execv('/bin/echo',['echo','job'])":                   "inherited eventpoll",
		"import os; os.environ['MAKEFLAGS']=' -j --jobserver-auth=7,8'; os.dup2(1,7); os.dup2(1,8); os.execv('/bin/echo',['echo','job'])": "spreader",
	} {
		o := f.run(t, []string{envSpread + "=run-execs"}, "python3", "-c", "import os\np=os.fork()\nif not p:\n  "+script+"\nos.waitpid(p,0)")
		if o.status != 0 || !strings.Contains(o.out, "job") || !strings.Contains(o.report, want) {
			t.Errorf("%s: status %#x, output %q, report %q", want, o.status, o.out, o.report)
		}
	}
}
