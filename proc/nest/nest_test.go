package nest

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAttributes(t *testing.T) {
	n := openNest(t, testConfig())
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "input")
	if err := os.WriteFile(file, []byte("by path\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status := func(key string) string { return "sed -n s/^" + key + ":.//p /proc/self/status" }
	user := func(s *Spec) {
		s.UID, s.GID = [4]uint32{1000, 1001, 1002, 1001}, [4]uint32{2000, 2001, 2002, 2001}
		s.Groups = []uint32{5, 7, 11}
	}
	for _, c := range []struct {
		name, script string
		set          func(*Spec)
		want         string
	}{
		{"pid", "echo $$", func(s *Spec) { s.Pid = 12345 }, "12345"},
		{"low pid", "echo $$", func(s *Spec) { s.Pid = 300 }, "300"},
		{"descendant", `sh -c 'test $$ -ge 40000 -a $$ -le 49151 && echo in; :'`, nil, "in"},
		{"process group", "ps -o pgid= -o sid= -p $$", func(s *Spec) { s.Pid = 777 }, "777 1"},
		{"groups", status("Groups"), user, "5 7 11"},
		{"uids", status("Uid"), user, "1000 1001 1001 1001"},
		{"gids", status("Gid"), user, "2000 2001 2001 2001"},
		{"umask", "umask", func(s *Spec) { s.Umask = 0o27 }, "0027"},
		{"limits", "ulimit -Sn; ulimit -Hn", func(s *Spec) {
			s.Rlimits = []Rlimit{{unix.RLIMIT_NOFILE, 77, 99}}
		}, "77 99"},
		{"limit above ours", "ulimit -n", func(s *Spec) {
			s.Rlimits = []Rlimit{{unix.RLIMIT_NOFILE, 88, unix.RLIM_INFINITY >> 1}, {unix.RLIMIT_MEMLOCK, unix.RLIM_INFINITY, unix.RLIM_INFINITY}}
		}, "88"},
		{"cwd", "pwd", func(s *Spec) { s.Cwd = dir }, dir},
		{"environment", "echo $GREETING", func(s *Spec) { s.Env = append(s.Env, "GREETING=hello") }, "hello"},
		{"the same cwd", "pwd", func(s *Spec) { s.Cwd, s.CwdIno = dir, inode(t, dir) }, dir},
		{"the same directory", "readlink /proc/self/fd/8", func(s *Spec) {
			s.FDs = []FD{{N: 8, Path: dir, Ino: inode(t, dir) | 5<<48}} // the bits above tell devices of a home apart
		}, dir},
		{"timer slack", "cat /proc/self/timerslack_ns", func(s *Spec) { s.TimerSlack = 123456 }, "123456"},
		{"timer slack by default", "cat /proc/self/timerslack_ns", func(*Spec) {}, "50000"},
		{"priority of input and output", "ionice", func(s *Spec) { s.IOPriority = 2<<13 | 6 }, "best-effort: prio 6"},
		{"scheduling policy", "chrt -p $$ | sed -n 's/.*policy: //p'", func(s *Spec) { s.Scheduler = unix.SCHED_BATCH }, "SCHED_BATCH"},
		{"nice", "nice", func(s *Spec) { s.Nice = 7 }, "7"},
		{"blocked signals", status("SigBlk"), func(s *Spec) { s.SigMask = 1 << 9 }, "0000000000000200"},
		{"ignored signals", status("SigIgn"), func(s *Spec) { s.SigIgnored = 1<<0 | 1<<12 }, "0000000000001001"},
		{"no new privileges", status("NoNewPrivs"), func(s *Spec) { s.NoNewPrivs = true }, "1"},
		{"no extra privilege bit", status("NoNewPrivs"), nil, "0"},
		{"host name", "uname -n", nil, "h7"},
		{"descriptors", "ls /proc/$$/fd", nil, "0 1 2"},
		{"file by path", "cat <&9; ls /proc/$$/fd", func(s *Spec) {
			s.UID = [4]uint32{1000, 1000, 1000, 1000} // opened before the credentials are dropped, as an inherited descriptor is
			s.FDs = []FD{{N: 9, Path: file}}
		}, "by path 0 1 2 9"},
		{"own proc", "cat /proc/1/comm; set -- /proc/[0-9]*; echo $#", nil, "onehost-nest 2"},
		{"devices", "echo x > /dev/null; head -c4 /dev/zero | od -An -tx1; test -c /dev/urandom -a -d /dev/shm && ls /dev/pts", nil, "00 00 00 00 ptmx"},
		{"sysfs cannot be written", "touch /sys/x 2>&1 | grep -o Read-only", nil, "Read-only"},
		{"nothing of the helper's mounts", "awk '{print $5}' /proc/self/mountinfo | sort | tr '\\n' ' '", nil, "/ /dev /dev/pts /dev/shm /proc /sys"},
		{"big arguments", "echo ${#BIG}", func(s *Spec) { s.Env = append(s.Env, "BIG="+strings.Repeat("x", 120000)) }, "120000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := base(c.script)
			if strings.HasPrefix(c.script, "sed ") { // without a shell, which changes some of these
				s.Exe, s.Argv = "/bin/sed", strings.Fields(c.script)
			}
			if c.set != nil {
				c.set(&s)
			}
			r := start(t, n, s)
			if s.Pid != 0 && r.Pid != s.Pid {
				t.Errorf("pid %d, want %d", r.Pid, s.Pid)
			}
			ws, out := r.end(t)
			if got := strings.Join(strings.Fields(out), " "); got != c.want || ws.ExitStatus() != 0 {
				t.Errorf("%q, status %d; want %q", got, ws.ExitStatus(), c.want)
			}
		})
	}
}

// TestNumbers moves descriptors across each other, and two that are one open file.
func TestNumbers(t *testing.T) {
	n := openNest(t, testConfig())
	dir := t.TempDir()
	s := base("echo a >&10; echo b >&11; echo c >&500; echo d >&3")
	files := map[int]*os.File{}
	for _, fd := range []int{3, 10, 500} {
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(fd)))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[fd] = f
		s.FDs = append(s.FDs, FD{N: fd, File: f})
	}
	s.Exe, s.Argv[0] = "/bin/bash", "bash"
	s.FDs = append(s.FDs, FD{N: 11, File: files[10]})
	if ws, out := start(t, n, s).end(t); ws != 0 {
		t.Fatalf("status %#x: %s", int(ws), out)
	}
	for fd, want := range map[int]string{3: "d\n", 10: "a\nb\n", 500: "c\n"} {
		got, err := os.ReadFile(filepath.Join(dir, strconv.Itoa(fd)))
		if err != nil || string(got) != want {
			t.Errorf("descriptor %d: %q, %v; want %q", fd, got, err, want)
		}
	}
}

func TestFailures(t *testing.T) {
	n := openNest(t, testConfig())
	for _, c := range []struct {
		name string
		set  func(*Spec)
		want syscall.Errno
		text string
	}{
		{"no program", func(s *Spec) { s.Exe = "/no/such" }, syscall.ENOENT, "exec /no/such"},
		{"not executable", func(s *Spec) { s.Exe = "/etc/passwd" }, syscall.EACCES, "exec /etc/passwd"},
		{"no directory", func(s *Spec) { s.Cwd = "/no/such" }, syscall.ENOENT, "chdir /no/such"},
		{"no file", func(s *Spec) { s.FDs = []FD{{N: 0, Path: "/no/such"}} }, syscall.ENOENT, "open /no/such"},
		{"NUL in a name", func(s *Spec) { s.Exe = "/bin/\x00" }, syscall.EINVAL, ""},
		{"pid above the block", func(s *Spec) { s.Pid = 60000 }, syscall.EINVAL, "pid 60000"},
		{"pid of the init", func(s *Spec) { s.Pid = 1 }, syscall.EEXIST, "pid 1 is in use"},
		{"limit out of range", func(s *Spec) { s.Rlimits = []Rlimit{{999, 1, 1}} }, syscall.EINVAL, "prlimit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := base("exit 0")
			c.set(&s)
			_, err := n.Start(t.Context(), s)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v: want %v and %q", err, c.want, c.text)
			}
		})
	}
	if ws, out := start(t, n, base("echo fine")).end(t); ws != 0 || out != "fine\n" {
		t.Errorf("after failures: %q, %#x", out, int(ws))
	}
}

func TestSignals(t *testing.T) {
	n := openNest(t, testConfig())
	t.Run("death by signal", func(t *testing.T) {
		r := start(t, n, base("exec sleep 60"))
		if err := r.Signal(Signal{Number: int32(syscall.SIGTERM)}); err != nil {
			t.Fatal(err)
		}
		if ws, _ := r.end(t); !ws.Signaled() || ws.Signal() != syscall.SIGTERM {
			t.Errorf("status %#x: want SIGTERM", int(ws))
		}
		if err := r.Signal(Signal{Number: int32(syscall.SIGTERM)}); err != syscall.ESRCH {
			t.Errorf("signal after the end: %v, want ESRCH", err)
		}
	})
	t.Run("group", func(t *testing.T) {
		r := start(t, n, base("sleep 60 | sleep 60 | sleep 60"))
		if err := r.Signal(Signal{Number: int32(syscall.SIGINT), Code: 0x80, Group: true}); err != nil {
			t.Fatal(err)
		}
		if ws, _ := r.end(t); !ws.Signaled() || ws.Signal() != syscall.SIGINT {
			t.Errorf("status %#x: want SIGINT", int(ws))
		}
	})
	for _, sig := range []syscall.Signal{syscall.SIGTSTP, syscall.SIGSTOP} {
		t.Run("stop and continue by "+sig.String(), func(t *testing.T) {
			r := start(t, n, base("exec sleep 60"))
			if err := r.Signal(Signal{Number: int32(sig), Group: true}); err != nil {
				t.Fatal(err)
			}
			if ev := r.event(t); ev.Kind != Stopped || ev.Status.StopSignal() != sig {
				t.Fatalf("%+v: want a stop by %v", ev, sig)
			}
			if err := r.Signal(Signal{Number: int32(syscall.SIGCONT), Group: true}); err != nil {
				t.Fatal(err)
			}
			if ev := r.event(t); ev.Kind != Continued {
				t.Fatalf("%+v: want continued", ev)
			}
			if err := r.Kill(); err != nil {
				t.Fatal(err)
			}
			if ws, _ := r.end(t); ws.Signal() != syscall.SIGKILL {
				t.Errorf("status %#x: want SIGKILL", int(ws))
			}
		})
	}
	t.Run("news tells which signals it comes after", func(t *testing.T) {
		r := start(t, n, base("trap 'kill -STOP $$' USR1; kill -STOP $$; while :; do sleep 0.01; done"))
		if ev := r.event(t); ev.Kind != Stopped || ev.After != 0 {
			t.Fatalf("by itself: %+v", ev)
		}
		for _, c := range []struct {
			sig  syscall.Signal
			n    uint64
			kind int
		}{
			{syscall.SIGCONT, 2, Continued}, {syscall.SIGSTOP, 3, Stopped}, {syscall.SIGCONT, 4, Continued}, {syscall.SIGTSTP, 0, Stopped}, {syscall.SIGCONT, 7, Continued}, {syscall.SIGUSR1, 9, Stopped},
		} {
			if err := r.Signal(Signal{Number: int32(c.sig), N: c.n}); err != nil {
				t.Fatal(err)
			}
			want := c.n
			if want == 0 { // it has no number, so it is as the one before
				want = 4
			}
			if ev := r.event(t); ev.Kind != c.kind || ev.After != want {
				t.Fatalf("%v: %+v", c.sig, ev)
			}
		}
		if err := r.Kill(); err != nil {
			t.Fatal(err)
		}
		r.end(t)
	})
	t.Run("stopped by itself", func(t *testing.T) {
		r := start(t, n, base("kill -STOP $$; echo on"))
		if ev := r.event(t); ev.Kind != Stopped {
			t.Fatalf("%+v: want a stop", ev)
		}
		if err := r.Signal(Signal{Number: int32(syscall.SIGCONT)}); err != nil {
			t.Fatal(err)
		}
		ev := r.event(t)
		if ev.Kind == Continued { // unless the process ended before anybody could ask
			ev = r.event(t)
		}
		if ev.Kind != Exited || ev.Status != 0 {
			t.Errorf("%+v: want the end", ev)
		}
	})
	t.Run("value", func(t *testing.T) {
		s := base("")
		s.Exe, s.Argv = "/usr/bin/python3", []string{"python3", "-c", "import signal,sys\nsignal.pthread_sigmask(signal.SIG_BLOCK,[34])\nprint('ready',flush=True)\ni=signal.sigwaitinfo([34])\nprint(i.si_signo,i.si_code,i.si_pid,i.si_uid)"}
		if _, err := os.Stat(s.Exe); err != nil {
			t.Skip("needs python3")
		}
		r := start(t, n, s)
		if _, err := io.ReadFull(r.out, make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		if err := r.Signal(Signal{Number: 34, Code: -1, Value: 5, From: 4711, UID: 1000}); err != nil {
			t.Fatal(err)
		}
		if ws, out := r.end(t); ws != 0 || out != "34 -1 4711 1000\n" {
			t.Errorf("%q, status %#x", out, int(ws))
		}
	})
	t.Run("the init is safe", func(t *testing.T) {
		for range 3 {
			if ws, out := start(t, n, base("for s in TERM INT HUP KILL; do kill -$s 1 2>/dev/null && echo sent; done; echo alive")).end(t); ws != 0 || out != "alive\n" {
				t.Fatalf("%q, status %#x", out, int(ws))
			}
		}
	})
}

// TestKill ends a tree of which one descendant daemonized itself and one ignores signals, before and after the end of its root.
func TestKill(t *testing.T) {
	n := openNest(t, testConfig())
	const tree = "setsid sh -c 'sleep 61 & wait' </dev/null & trap '' TERM INT HUP; (sleep 61) & echo up; "
	for _, c := range []struct{ name, script string }{
		{"alive", tree + "wait"},
		{"ended", tree + "exit 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			other := start(t, n, base("exec sleep 62"))
			r := start(t, n, base(c.script))
			if _, err := io.ReadFull(r.out, make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
			if c.name == "ended" {
				if ev := r.event(t); ev.Kind != Exited || ev.Status.ExitStatus() != 3 {
					t.Fatalf("%+v: want exit 3", ev)
				}
			}
			if err := r.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = r.out.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.ReadAll(r.out); err != nil { // end of file only when no descendant holds the pipe
				t.Fatal(err)
			}
			if err := other.Signal(Signal{}); err != nil {
				t.Errorf("another job was hit: %v", err)
			}
			if err := other.Kill(); err != nil {
				t.Fatal(err)
			}
			other.end(t)
		})
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// TestAnotherFile: a name that leads elsewhere by now opens nothing, for the init could open more than the process.
func TestAnotherFile(t *testing.T) {
	n := openNest(t, testConfig())
	dir := t.TempDir()
	was, is, link := filepath.Join(dir, "was"), filepath.Join(dir, "is"), filepath.Join(dir, "link")
	for _, d := range []string{was, is} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(was, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		set  func(*Spec)
		want syscall.Errno
	}{
		{"descriptor", func(s *Spec) { s.FDs = []FD{{N: 8, Path: is, Ino: inode(t, was)}} }, syscall.ESTALE},
		{"descriptor through a link", func(s *Spec) { s.FDs = []FD{{N: 8, Path: link, Ino: inode(t, was)}} }, syscall.ELOOP},
		{"cwd", func(s *Spec) { s.Cwd, s.CwdIno = is, inode(t, was) }, syscall.ESTALE},
		{"cwd through a link", func(s *Spec) { s.Cwd, s.CwdIno = filepath.Join(link, "."), inode(t, was) }, syscall.ELOOP},
	} {
		s := base("echo started")
		c.set(&s)
		if _, err := n.Start(t.Context(), s); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}
