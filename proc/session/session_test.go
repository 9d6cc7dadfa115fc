package session

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

func TestStatus(t *testing.T) {
	f := newFake(t)
	for _, c := range []struct {
		argv []string
		code int
		sig  syscall.Signal
	}{
		{[]string{"/bin/echo", "job", "exit", "0"}, 0, 0},
		{[]string{"/bin/echo", "job", "exit", "3"}, 3, 0},
		{[]string{"/bin/echo", "job", "die", "15"}, 0, syscall.SIGTERM},
		{[]string{"/bin/echo", "job", "die", "9"}, 0, syscall.SIGKILL},
		{[]string{"sh", "-c", "echo job exit 5"}, 5, 0},
	} {
		t.Run(strings.Join(c.argv, " "), func(t *testing.T) {
			o := f.run(t, nil, c.argv...)
			if o.status.Signaled() != (c.sig != 0) || (c.sig != 0 && o.status.Signal() != c.sig) || (c.sig == 0 && o.status.ExitStatus() != c.code) {
				t.Errorf("got %#x, want code %d signal %d; output %q report %q", o.status, c.code, c.sig, o.out, o.report)
			}
		})
	}
}

// TestSpreaders: the children of make go elsewhere however make is built, and make sees how they ended.
func TestMake(t *testing.T) {
	need(t, "make")
	f := newFake(t)
	dir := t.TempDir()
	mk := ".PHONY: all\nall: " + targets(64) + "\n%.o:\n\t@/bin/echo job out $@ exit 0\nbad:\n\t@/bin/echo job exit 7\nkilled:\n\t@/bin/echo job die 15\nsub:\n\t@$(MAKE) one.o\n"
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte(mk), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("j64", func(t *testing.T) {
		o := f.run(t, nil, "make", "-rj64", "-C", dir)
		if o.status != 0 {
			t.Fatalf("status %#x: %s", o.status, o.out)
		}
		if n := strings.Count(o.out, ".o\n"); n != 64 {
			t.Errorf("%d of 64 outputs: %s", n, o.out)
		}
		if n := strings.Count(o.report, "remote\t"); n != 64 {
			t.Errorf("%d of 64 went: %s", n, o.report)
		}
	})
	for target, want := range map[string]string{"bad": "Error 7", "killed": "Terminated"} {
		t.Run(target, func(t *testing.T) {
			if o := f.run(t, nil, "make", "-rC", dir, target); !strings.Contains(o.out, want) || o.status.ExitStatus() != 2 {
				t.Errorf("status %#x, output %q, want %q", o.status, o.out, want)
			}
		})
	}
	t.Run("recursive", func(t *testing.T) {
		o := f.run(t, nil, "make", "-rC", dir, "sub")
		if o.status != 0 || !strings.Contains(o.report, "remote\techo") || !strings.Contains(o.report, "spreader") {
			t.Errorf("status %#x, output %q, report %q", o.status, o.out, o.report)
		}
	})
}

func targets(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " t%d.o", i)
	}
	return b.String()
}

// TestLost: a job whose host is lost runs elsewhere, and here when none is left, with all its descriptors.
func TestLost(t *testing.T) {
	need(t, "make")
	f := newFake(t)
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	if err := os.WriteFile(in, []byte("from the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mk := "retry:\n\t@/bin/echo job lose1 out second\n" +
		"home:\n\t@/bin/echo job lose\n" +
		"drop:\n\t@/bin/echo job drop\n" +
		"fds:\n\t@exec 5<" + in + "; exec cat /dev/fd/5 job lose\n" +
		"fds2:\n\t@sh -c 'cat <&5; cat; echo $$1 >&2' x job lose 5<" + in + " <" + in + "\n"
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte(mk), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		target, want string
		status       int
	}{
		{"retry", "second\n", 0},
		{"home", "job lose\n", 0},
		{"drop", "job drop\n", 0},
		{"fds2", "from the file\nfrom the file\njob\n", 0},
	} {
		t.Run(c.target, func(t *testing.T) {
			o := f.run(t, nil, "make", "--no-print-directory", "-C", dir, c.target)
			if o.out != c.want || o.status.ExitStatus() != c.status {
				t.Errorf("status %#x, output %q, want %q; report %q", o.status, o.out, c.want, o.report)
			}
		})
	}
	t.Run("never", func(t *testing.T) {
		o := f.run(t, []string{envRetry + "=never"}, "make", "-rC", dir, "home")
		if o.status.ExitStatus() != 2 || !strings.Contains(o.report, "was lost") {
			t.Errorf("status %#x, output %q, report %q", o.status, o.out, o.report)
		}
	})
	t.Run("not of make", func(t *testing.T) {
		o := f.run(t, nil, "/bin/echo", "job", "lose")
		if o.status.ExitStatus() != 1 || !strings.Contains(o.report, "was lost") {
			t.Errorf("status %#x, output %q, report %q", o.status, o.out, o.report)
		}
	})
	t.Run("never begun", func(t *testing.T) {
		o := f.run(t, []string{envRetry + "=never"}, "/bin/echo", "job", "drained", "out", "second")
		if o.status.ExitStatus() != 0 || o.out != "second\n" {
			t.Errorf("status %#x, output %q, report %q", o.status, o.out, o.report)
		}
	})
	t.Run("never begun anywhere", func(t *testing.T) {
		f.count(1) // host 2, which is drained
		defer f.count(2)
		o := f.run(t, []string{envRetry + "=never"}, "/bin/echo", "job", "drained")
		if o.status.ExitStatus() != 0 || o.out != "job drained\n" {
			t.Errorf("status %#x, output %q, report %q", o.status, o.out, o.report)
		}
	})
	t.Run("by the only host, again and again", func(t *testing.T) {
		set := func(hosts int, never bool) int {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.hosts, f.never = hosts, never
			return len(f.execs)
		}
		before := set(1, true)
		o := f.run(t, []string{envRetry + "=retry"}, "/bin/echo", "job", "lose")
		if o.status.ExitStatus() != 0 || o.out != "job lose\n" {
			t.Errorf("status %#x, output %q, report %q", o.status, o.out, o.report)
		}
		if n := set(2, false) - before; n != 1+lostRounds {
			t.Errorf("it was sent %d times, want %d", n, 1+lostRounds)
		}
	})
	t.Run("not of make, retry", func(t *testing.T) {
		o := f.run(t, []string{envRetry + "=retry"}, "/bin/echo", "job", "lose")
		if o.status.ExitStatus() != 0 || o.out != "job lose\n" {
			t.Errorf("status %#x, output %q, report %q", o.status, o.out, o.report)
		}
	})
}

func TestRefused(t *testing.T) {
	f := newFake(t)
	o := f.run(t, nil, "/bin/echo", "job", "refuse")
	if o.status != 0 || o.out != "job refuse\n" || !strings.Contains(o.report, "imagined") {
		t.Errorf("status %#x, output %q, report %q", o.status, o.out, o.report)
	}
	f.set(true, "")
	o = f.run(t, nil, "/bin/echo", "here")
	if o.status != 0 || o.out != "here\n" || !strings.Contains(o.report, "no slot") {
		t.Errorf("status %#x, output %q, report %q", o.status, o.out, o.report)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.freed[1] != 2 { // the first job of each run
		t.Errorf("%d slots were given back, want 2", f.freed[1])
	}
}

func TestNotFound(t *testing.T) {
	f := newFake(t)
	for _, c := range []struct {
		command string
		status  int
		out     string
	}{
		{"no-such-command", 127, "no-such-command: "},
		{"", 127, `"": `},
		{"/etc/passwd", 126, "/etc/passwd: permission denied"},
		{"/etc", 126, "/etc: is a directory"},
	} {
		if o := f.run(t, nil, c.command); o.status.ExitStatus() != c.status || !strings.Contains(o.out, c.out) {
			t.Errorf("%q: status %#x, output %q", c.command, o.status, o.out)
		}
	}
}

func TestNoDaemon(t *testing.T) {
	f := newFake(t)
	f.srv.Close()
	o := f.run(t, nil, "/bin/echo", "x")
	if o.status.ExitStatus() != 125 || !strings.Contains(o.out, "onehostd is not running") {
		t.Errorf("status %#x, output %q", o.status, o.out)
	}
	f.path = "local"
	o = f.run(t, nil, "/bin/echo", "x")
	if o.status != 0 || o.out != "x\n" {
		t.Errorf("--local: status %#x, output %q", o.status, o.out)
	}
}

// TestNested: run inside a session joins it.
func TestNested(t *testing.T) {
	f := newFake(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f.set(true, "")
	for _, clean := range []string{"", "-u " + EnvSession} {
		o := f.run(t, nil, "sh", "-c", "env "+clean+" "+envRun+"="+f.path+" "+self+" sh -c 'echo in; make --version >/dev/null; exit 4'")
		if o.status.ExitStatus() != 4 || o.out != "in\n" {
			t.Errorf("%q: status %#x, output %q, report %q", clean, o.status, o.out, o.report)
		}
	}
}

// TestLimits: CMD has the limit of open files that run was started with, not the one the runtime raised.
func TestLimits(t *testing.T) {
	f := newFake(t)
	f.set(true, "")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-c", "ulimit -S -n 517; "+envRun+"="+f.path+" exec "+self+" sh -c 'ulimit -n; ulimit -n'").CombinedOutput()
	if err != nil || string(out) != "517\n517\n" {
		t.Errorf("%v, %q", err, out)
	}
}

// TestExecOfAThread: it is all the same which thread of a process execs.
func TestExecOfAThread(t *testing.T) {
	need(t, "python3")
	const program = `import os, sys, threading
def become(): os.execv("/bin/echo", ["echo", "job", "exit", "3"])
if sys.argv[1] == "child" and os.fork(): sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
if os.environ["BY"] == "thread":
    threading.Thread(target=become).start()
    threading.Event().wait()
become()
`
	for who, remote := range map[string]int{"self": 0, "child": 1} { // what a spreader becomes is no job, and what it starts is one
		f := newFake(t)
		of := func(thread string) outcome {
			return f.run(t, []string{"BY=" + thread}, "python3", "-c", program, who)
		}
		first, other := of("first"), of("thread")
		if first.status != other.status || first.report != other.report {
			t.Errorf("%s: the first thread: status %#x, %q; another: %#x, %q", who, first.status, first.report, other.status, other.report)
		}
		if n := strings.Count(first.report, "remote\techo job"); n != remote {
			t.Errorf("%s: %d jobs went, want %d: %q", who, n, remote, first.report)
		}
	}
}
