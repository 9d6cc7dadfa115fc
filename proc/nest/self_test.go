package nest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// atHome is a job that has a parent, a group and a session at home.
func atHome(argv ...string) Spec {
	s := base(argv...)
	s.Pid, s.Parent, s.Group, s.Session = 777, 555, 444, 333
	return s
}

func python(t *testing.T, s Spec, script string) Spec {
	t.Helper()
	s.Exe, s.Argv = "/usr/bin/python3", []string{"python3", "-uc", "import os,sys,signal,threading\n" + script}
	if _, err := os.Stat(s.Exe); err != nil {
		t.Skip("needs python3")
	}
	return s
}

// TestSelf: what processes see of themselves.
func TestSelf(t *testing.T) {
	n := openNest(t, testConfig())
	for _, c := range []struct{ name, script, want string }{
		{"itself", "print(os.getpid(), os.getppid(), os.getpgrp(), os.getpgid(0), os.getpgid(777), os.getsid(0), os.getsid(777))", "777 555 444 444 444 333 333"},
		{"a thread", "t=threading.Thread(target=lambda: print(os.getppid(), os.getpgrp(), os.getsid(0))); t.start(); t.join()", "555 444 333"},
		{"a child", "if not os.fork(): print(os.getppid(), os.getpgrp(), os.getsid(0), os.getpgid(777)); os._exit(0)\nos.wait()", "777 444 333 444"},
		{"a child's group", "p=os.fork()\nif not p: os.setpgid(0,0); print(os.getpgrp()==os.getpid(), os.getsid(0)); os._exit(0)\nos.wait()", "True 333"},
		{"a child's session", "p=os.fork()\nif not p: print(os.setsid(), os.getpgrp()==os.getpid()==os.getsid(0)); os._exit(0)\nos.wait()", "None True"},
		{"a child's group by its parent", "p=os.fork()\nif not p: signal.pause()\nos.setpgid(p,p); print(os.getpgid(p)==p, os.getsid(p)); os.kill(p,9); os.wait()", "True 333"},
		{"a child that is in the group already", "p=os.fork()\nif not p: signal.pause()\nos.setpgid(p,444); print(os.getpgid(p)); os.kill(p,9); os.wait()", "444"},
		{"an orphan", "r,w=os.pipe()\nif not os.fork():\n  if os.fork(): os._exit(0)\n  while os.getppid()!=1: pass\n  os.write(w, b'%d %d %d' % (os.getppid(), os.getpgrp(), os.getsid(0))); os._exit(0)\nos.wait(); print(os.read(r,99).decode())", "1 444 333"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if ws, out := start(t, n, python(t, atHome(), c.script)).end(t); ws != 0 || strings.TrimSpace(out) != c.want {
				t.Errorf("%q, status %#x; want %q", out, int(ws), c.want)
			}
		})
	}
	t.Run("shell", func(t *testing.T) {
		if ws, out := start(t, n, atHome("echo $PPID; sh -c 'echo $PPID'; :")).end(t); ws != 0 || out != "555\n777\n" {
			t.Errorf("%q, status %#x", out, int(ws))
		}
	})
	t.Run("another parent", func(t *testing.T) {
		r := start(t, n, python(t, atHome(), "print(os.getppid(), flush=True)\nsys.stdin.readline()\nwhile os.getppid()!=556: pass\nprint(os.getppid())"))
		if err := r.SetParent(556); err != nil {
			t.Fatal(err)
		}
		if ws, out := r.end(t); ws != 0 || !strings.HasSuffix(out, "556\n") {
			t.Errorf("%q, status %#x", out, int(ws))
		}
	})
}

// TestRegrouped: a job's process that makes a group or a session gets what it would at home, and the home hears of it.
func TestRegrouped(t *testing.T) {
	n := openNest(t, testConfig())
	const try = "def t(f,*a):\n  try: print(f(*a), end=' ')\n  except OSError as e: print(e.strerror, end=' ')\n"
	moved := func(group int, session bool) Event { return Event{Kind: Regrouped, Group: group, Session: session} }
	for _, c := range []struct {
		name, script string
		set          func(*Spec)
		want         string
		events       []Event
	}{
		{
			"setsid", "t(os.setsid); print(os.getpgrp(), os.getsid(0), end=' '); t(os.setsid); t(os.setpgid,0,0)", nil,
			"None 777 777 Operation not permitted Operation not permitted",
			[]Event{moved(777, true)},
		},
		{
			"setsid of a leader", "t(os.setsid); print(os.getpgrp(), os.getsid(0))", func(s *Spec) { s.Group = 777 },
			"Operation not permitted 777 333", nil,
		},
		{
			"setsid in a thread", "x=threading.Thread(target=os.setsid); x.start(); x.join(); print(os.getpgrp(), os.getsid(0))", nil,
			"777 777",
			[]Event{moved(777, true)},
		},
		{
			"setpgid", "t(os.setpgid,0,0); print(os.getpgrp(), os.getsid(0), end=' '); t(os.setsid); t(os.setpgid,777,777)", nil,
			"None 777 333 Operation not permitted None",
			[]Event{moved(777, false)},
		},
		{"setpgid and back", "os.setpgid(0,0); os.setpgid(0,444); print(os.getpgrp())", nil, "444", []Event{moved(777, false), moved(444, false)}},
		{"setpgid of a session's leader", "t(os.setpgid,0,0)", func(s *Spec) { s.Group, s.Session = 777, 777 }, "Operation not permitted", nil},
		{"into a child's group", "p=os.fork()\nif not p: signal.pause()\nos.setpgid(p,p); os.setpgid(0,p); print(os.getpgrp()==p); os.kill(p,9); os.wait()", nil, "True", nil},
		{"into no group", "t(os.setpgid,0,31000); t(os.setpgid,0,-1)", nil, "Operation not permitted Invalid argument", nil},
		{"by nobody's knowledge", "t(os.setsid)", func(s *Spec) { s.Parent, s.Group, s.Session = 0, 0, 0 }, "Operation not permitted", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := python(t, atHome(), try+c.script)
			if c.set != nil {
				c.set(&s)
			}
			r := start(t, n, s)
			for _, want := range c.events {
				if ev := r.event(t); ev != want {
					t.Errorf("event %+v, want %+v", ev, want)
				}
			}
			if ws, out := r.end(t); ws != 0 || strings.TrimSpace(out) != c.want {
				t.Errorf("%q, status %#x; want %q", out, int(ws), c.want)
			}
		})
	}
}

// caller stands for the daemon that carries out calls.
type caller struct {
	mu    sync.Mutex
	calls []string
	do    func(Call) Result
}

func (c *caller) call(_ context.Context, call Call) Result {
	c.mu.Lock()
	c.calls = append(c.calls, fmt.Sprint(call.Nr, " ", int32(call.Args[0]), " ", int32(call.Args[1])))
	c.mu.Unlock()
	return c.do(call)
}

// TestElsewhere: a call about a process that is not here goes to the daemon, with the thread's number on this host.
func TestElsewhere(t *testing.T) {
	var name string
	c := &caller{}
	c.do = func(call Call) Result {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(call.TID) + "/comm")
		if err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		name = strings.TrimSpace(string(b))
		c.mu.Unlock()
		switch {
		case call.Nr == unix.SYS_PIDFD_OPEN:
			f, err := os.Open("/dev/null")
			if err != nil {
				return Result{Errno: syscall.EMFILE}
			}
			return Result{File: f}
		case call.Nr == unix.SYS_GETPRIORITY:
			return Result{Value: 17}
		case int32(call.Args[0]) == 31000:
			return Result{}
		}
		return Result{Errno: syscall.EPERM}
	}
	cfg := testConfig()
	cfg.Call = c.call
	const k = unix.SYS_KILL
	for _, x := range []struct {
		name, script, want string
		calls              []string
	}{
		{"there", "os.kill(31000, 0); print('sent')", "sent", []string{fmt.Sprint(k, " 31000 0")}},
		{"refused", "try: os.kill(5<<16|9, 15)\nexcept PermissionError: print('refused')", "refused", []string{fmt.Sprint(k, " ", 5<<16|9, " 15")}},
		{"the first process", "try: os.kill(1, 1)\nexcept PermissionError: print('refused')", "refused", []string{fmt.Sprint(k, " 1 1")}},
		{"in a thread", "t=threading.Thread(target=lambda: (os.kill(31000, 0), print('sent'))); t.start(); t.join()", "sent", []string{fmt.Sprint(k, " 31000 0")}},
		{"its own", "os.kill(777, 0); os.kill(os.getpid(), 0); p=os.fork()\nif not p: os.kill(777,0); signal.pause()\nos.kill(p, 9); print(os.wait()[1])", "9", nil},
		{"its own thread", "signal.signal(10, lambda *a: print('got')); signal.pthread_kill(threading.get_ident(), 10)", "got", nil},
		{"a number of the block that nobody has", "try: os.kill(49000, 0)\nexcept ProcessLookupError: print('none')", "none", nil},
		{"a descriptor", "f=os.pidfd_open(31001); print(os.readlink('/proc/self/fd/%d' % f), os.get_inheritable(f))", "/dev/null False", []string{fmt.Sprint(unix.SYS_PIDFD_OPEN, " 31001 0")}},
		{"a value", "print(os.getpriority(os.PRIO_PROCESS, 31000))", "3", []string{fmt.Sprint(unix.SYS_GETPRIORITY, " 0 31000")}},
		{"a group of the home", "try: os.killpg(444, 10)\nexcept PermissionError: print('asked')", "asked", []string{fmt.Sprint(k, " -444 10")}},
		{"its group", "try: os.kill(0, 10)\nexcept PermissionError: print('asked')", "asked", []string{fmt.Sprint(k, " -444 10")}},
		{"a child's group", "p=os.fork()\nif not p: os.setpgid(0,0); signal.signal(10, lambda *a: os._exit(7)); os.kill(0, 10); signal.pause()\nprint(os.waitstatus_to_exitcode(os.wait()[1]))", "7", nil},
		{"a group it made", "signal.signal(10, lambda *a: print('got')); os.setpgid(0,0); os.kill(0, 10); os.killpg(777, 10)", "got\ngot", nil},
		{"the kernel's number of its group", "try: os.killpg(777, 10)\nexcept PermissionError: print('asked')", "asked", []string{fmt.Sprint(k, " -777 10")}},
		{"in a name space of its own", "print(os.popen('unshare --pid --fork sh -c \"kill -0 31000 2>/dev/null || echo none; kill -0 1 && echo \\\\$\\\\$ \\\\$PPID\"').read(), end='')", "none\n1 0", nil},
		{"all", "try: os.kill(-1, 10)\nexcept PermissionError: print('asked')", "asked", []string{fmt.Sprint(k, " -1 10")}},
	} {
		t.Run(x.name, func(t *testing.T) {
			c.mu.Lock()
			c.calls, name = nil, ""
			c.mu.Unlock()
			r := start(t, openNest(t, cfg), python(t, atHome(), x.script)) // of its own: what one leaves has the number for a while
			var ws syscall.WaitStatus
			out := ""
			for ev := range r.Events() {
				if ev.Kind == Exited {
					ws = ev.Status
				}
			}
			b := make([]byte, 4096)
			got, _ := r.out.Read(b)
			out = strings.TrimSpace(string(b[:got]))
			c.mu.Lock()
			defer c.mu.Unlock()
			if ws != 0 || out != x.want || strings.Join(c.calls, ", ") != strings.Join(x.calls, ", ") {
				t.Errorf("%q, status %#x, calls %q; want %q, calls %q", out, int(ws), c.calls, x.want, x.calls)
			}
			if len(x.calls) > 0 && !strings.HasPrefix(name, "python3") {
				t.Errorf("the calling thread was %q", name)
			}
		})
	}
}

// TestGroupSignal: a signal to its own group comes back from the home before kill returns, by whichever way.
func TestGroupSignal(t *testing.T) {
	for _, byInit := range []bool{true, false} {
		c := &caller{}
		cfg := testConfig()
		cfg.Call = c.call
		n := openNest(t, cfg)
		ready := make(chan *run, 1)
		c.do = func(call Call) Result {
			r := <-ready
			go func() { // the ghost gets it some time later
				var err error
				if time.Sleep(3 * time.Millisecond); byInit {
					err = r.Signal(Signal{Number: int32(call.Args[1]), Group: true})
				} else {
					err = unix.Kill(call.TID, syscall.Signal(call.Args[1]))
				}
				if err != nil {
					t.Error(err)
				}
			}()
			if call.Pid != r.Pid {
				t.Errorf("caller %d, want %d", call.Pid, r.Pid)
			}
			return Result{}
		}
		r := start(t, n, python(t, atHome(), "got=[]\nsignal.signal(10, lambda *a: got.append(1))\nos.kill(0, 10); print(len(got))"))
		ready <- r
		if ws, out := r.end(t); ws != 0 || out != "1\n" {
			t.Errorf("by the init %v: %q, status %#x", byInit, out, int(ws))
		}
	}
}

// TestShellJobs: programs that make groups and sessions do here what they do anywhere.
func TestShellJobs(t *testing.T) {
	n := openNest(t, testConfig())
	for _, c := range []struct{ name, script, want string }{
		{"job control", "set -m; sleep 60 & kill %1; wait %1 2>/dev/null; echo $?", "143"},
		{"stop and go on", "set -m; sleep 0.1 & kill -STOP %1; while jobs | grep -q Running; do :; done; bg >/dev/null; wait %1; echo $?", "0"},
		{"foreground", "set -m; sleep 0.05 & fg >/dev/null; echo $?", "0"},
		{"groups of a pipeline", "set -m; true | ps -o pgid= -p $$ | tr -d ' '; sleep 60 | sleep 60 & kill -- -$(jobs -p); wait; echo over", "777\nover"},
		{"wait for any", "set -m; sleep 60 & sleep 0.01 & wait -n; echo $?; kill %1", "0"},
		{"setsid", "setsid sh -c 'test $(ps -o sid= -p $$) = $$ && echo apart'; :", "apart"},
		{"setsid of the job itself", "exec setsid sh -c 'echo $PPID $$'", "555 777"},
		{"timeout", "timeout 20 sh -c 'exit 5'; echo $?; timeout 0.05 sleep 60; echo $?", "5\n124"},
		{"timeout of the job itself", "exec timeout 0.05 sleep 60", "-124"},
		{"trap and kill of the group", "set -m; (trap 'echo got; exit' USR1; kill -USR1 0; sleep 60); echo on", "got\non"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := atHome("exec 2>/dev/null; " + c.script)
			s.Exe, s.Argv[0] = "/bin/bash", "bash"
			r := start(t, n, s)
			var ws syscall.WaitStatus
			for ev := range r.Events() {
				if ev.Kind == Exited {
					ws = ev.Status
				}
			}
			b := make([]byte, 4096)
			got, _ := r.out.Read(b)
			out := strings.TrimSpace(string(b[:got]))
			if status, only := strings.CutPrefix(c.want, "-"); only {
				if strconv.Itoa(ws.ExitStatus()) != status {
					t.Errorf("status %#x, want %s: %q", int(ws), status, out)
				}
			} else if ws != 0 || out != c.want {
				t.Errorf("%q, status %#x; want %q", out, int(ws), c.want)
			}
		})
	}
}

// TestSetuid: a filter is no reason for a program not to get its owner's rights.
func TestSetuid(t *testing.T) {
	n := openNest(t, testConfig())
	dir := t.TempDir()
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile("/usr/bin/id")
	if err != nil {
		t.Skip(err)
	}
	id := filepath.Join(dir, "id")
	if err := os.WriteFile(id, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(id, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	s := atHome(id + " -u; " + id + " -ru")
	s.UID, s.GID = [4]uint32{1000, 1000, 1000, 1000}, [4]uint32{1000, 1000, 1000, 1000}
	if ws, out := start(t, n, s).end(t); ws != 0 || out != "0\n1000\n" {
		t.Errorf("%q, status %#x", out, int(ws))
	}
}
