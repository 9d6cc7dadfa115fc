package nest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"go.uber.org/goleak"
)

// listArg makes the test binary print the names in /.
const listArg = "test-list"

// daemonArg makes the test binary a daemon that opens a nest and waits to be killed.
const daemonArg = "test-daemon"

func TestMain(m *testing.M) {
	if Reexec(os.Args) {
		return
	}
	if len(os.Args) == 2 && os.Args[1] == listArg {
		entries, err := os.ReadDir("/")
		fmt.Println(entries, err)
		return
	}
	if len(os.Args) == 2 && os.Args[1] == daemonArg {
		testDaemon()
		return
	}
	goleak.VerifyTestMain(m)
}

func testConfig() Config {
	return Config{Home: 7, HomeName: "h7", Hostname: "h7", Root: "/", PidFirst: 40000, PidLast: 49151}
}

func openNest(t *testing.T, cfg Config) *Nest {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes name spaces")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	n, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// run is a process whose output is collected.
type run struct {
	*Process
	out *os.File
}

func base(argv ...string) Spec {
	return Spec{Exe: "/bin/sh", Argv: append([]string{"sh", "-c"}, argv...), Env: []string{"PATH=/usr/bin:/bin"}, Cwd: "/", Umask: 0o22}
}

func start(t *testing.T, n *Nest, s Spec) *run {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	t.Cleanup(func() { r.Close() })
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if !slices.ContainsFunc(s.FDs, func(f FD) bool { return f.N == 0 }) {
		s.FDs = append(s.FDs, FD{N: 0, File: null})
	}
	s.FDs = append(s.FDs, FD{N: 1, File: w}, FD{N: 2, File: w})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p, err := n.Start(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	return &run{p, r}
}

func (r *run) event(t *testing.T) Event {
	t.Helper()
	select {
	case ev, ok := <-r.Events():
		if !ok {
			t.Fatal("no event: the queue is closed")
		}
		return ev
	case <-time.After(20 * time.Second):
		t.Fatal("no event in 20 s")
	}
	return Event{}
}

// end waits for the exit and gives status and output.
func (r *run) end(t *testing.T) (syscall.WaitStatus, string) {
	t.Helper()
	_ = r.out.SetReadDeadline(time.Now().Add(20 * time.Second))
	out, err := io.ReadAll(r.out)
	if err != nil {
		t.Fatal(err)
	}
	ev := r.event(t)
	if ev.Kind != Exited {
		t.Fatalf("event %+v: want the exit", ev)
	}
	if _, more := <-r.Events(); more {
		t.Fatal("an event after the exit")
	}
	return ev.Status, string(out)
}

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
		{"own proc", "cat /proc/1/comm; ls /proc | grep -c '^[0-9]'", nil, "exe 4"},
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
		if err := r.Signal(int32(syscall.SIGTERM), 0, 0, false); err != nil {
			t.Fatal(err)
		}
		if ws, _ := r.end(t); !ws.Signaled() || ws.Signal() != syscall.SIGTERM {
			t.Errorf("status %#x: want SIGTERM", int(ws))
		}
		if err := r.Signal(int32(syscall.SIGTERM), 0, 0, false); err != syscall.ESRCH {
			t.Errorf("signal after the end: %v, want ESRCH", err)
		}
	})
	t.Run("group", func(t *testing.T) {
		r := start(t, n, base("sleep 60 | sleep 60 | sleep 60"))
		if err := r.Signal(int32(syscall.SIGINT), 0x80, 0, true); err != nil {
			t.Fatal(err)
		}
		if ws, _ := r.end(t); !ws.Signaled() || ws.Signal() != syscall.SIGINT {
			t.Errorf("status %#x: want SIGINT", int(ws))
		}
	})
	for _, sig := range []syscall.Signal{syscall.SIGTSTP, syscall.SIGSTOP} {
		t.Run("stop and continue by "+sig.String(), func(t *testing.T) {
			r := start(t, n, base("exec sleep 60"))
			if err := r.Signal(int32(sig), 0, 0, true); err != nil {
				t.Fatal(err)
			}
			if ev := r.event(t); ev.Kind != Stopped || ev.Status.StopSignal() != sig {
				t.Fatalf("%+v: want a stop by %v", ev, sig)
			}
			if err := r.Signal(int32(syscall.SIGCONT), 0, 0, true); err != nil {
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
	t.Run("stopped by itself", func(t *testing.T) {
		r := start(t, n, base("kill -STOP $$; echo on"))
		if ev := r.event(t); ev.Kind != Stopped {
			t.Fatalf("%+v: want a stop", ev)
		}
		if err := r.Signal(int32(syscall.SIGCONT), 0, 0, false); err != nil {
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
		s.Exe, s.Argv = "/usr/bin/python3", []string{"python3", "-c", "import signal,sys\nsignal.pthread_sigmask(signal.SIG_BLOCK,[34])\nprint('ready',flush=True)\ni=signal.sigwaitinfo([34])\nprint(i.si_signo,i.si_code)"}
		if _, err := os.Stat(s.Exe); err != nil {
			t.Skip("needs python3")
		}
		r := start(t, n, s)
		if _, err := io.ReadFull(r.out, make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		if err := r.Signal(34, -1, 5, false); err != nil {
			t.Fatal(err)
		}
		if ws, out := r.end(t); ws != 0 || out != "34 -1\n" {
			t.Errorf("%q, status %#x", out, int(ws))
		}
	})
	t.Run("the init is safe", func(t *testing.T) {
		for range 3 {
			if ws, out := start(t, n, base("kill -TERM 1; kill -INT 1; kill -HUP 1; kill -KILL 1; echo alive")).end(t); ws != 0 || out != "alive\n" {
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
			if err := other.Signal(0, 0, 0, false); err != nil {
				t.Errorf("another job was hit: %v", err)
			}
			if err := other.Kill(); err != nil {
				t.Fatal(err)
			}
			other.end(t)
		})
	}
}

func TestParallel(t *testing.T) {
	n := openNest(t, testConfig())
	var wg sync.WaitGroup
	for i := range 64 {
		s := base(fmt.Sprintf("echo $$; exit %d", i))
		s.Pid = 1000 + i
		r := start(t, n, s)
		wg.Go(func() {
			ws, out := r.end(t)
			if ws.ExitStatus() != i || strings.TrimSpace(out) != strconv.Itoa(1000+i) {
				t.Errorf("job %d: status %d, %q", i, ws.ExitStatus(), out)
			}
		})
	}
	wg.Wait()
}

// TestSequence starts one process after another, each under the number of the one before, and prints the time beside that of a
// process started here.
func TestSequence(t *testing.T) {
	n := openNest(t, testConfig())
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	times := make([]time.Duration, 0, 1000)
	ends := make([]time.Duration, 0, 1000)
	native := make([]time.Duration, 0, 1000)
	for range 1000 {
		begin := time.Now()
		here, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{Files: []*os.File{null, null, null}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := here.Wait(); err != nil {
			t.Fatal(err)
		}
		native = append(native, time.Since(begin))
		begin = time.Now()
		p, err := n.Start(t.Context(), Spec{
			Pid: 4711, Exe: "/bin/true", Argv: []string{"true"}, Env: os.Environ(), Cwd: "/",
			FDs: []FD{{N: 0, File: null}, {N: 1, File: null}, {N: 2, File: null}},
		})
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, time.Since(begin))
		if ev := <-p.Events(); ev.Kind != Exited || ev.Status != 0 {
			t.Fatalf("%+v", ev)
		}
		ends = append(ends, time.Since(begin))
	}
	slices.Sort(times)
	slices.Sort(ends)
	slices.Sort(native)
	t.Logf("request to exec: median %v, least %v, 90th percentile %v; to the exit event: median %v; started and waited for here: median %v",
		times[500], times[0], times[900], ends[500], native[500])
}

// TestCursor forks past the end of a small block: every number stays inside.
func TestCursor(t *testing.T) {
	cfg := testConfig()
	cfg.PidFirst, cfg.PidLast = 33000, 33511
	n := openNest(t, cfg)
	r := start(t, n, base("i=0; while [ $i -lt 1200 ]; do (exec sh -c 'echo $$'); i=$((i+1)); done"))
	ws, out := r.end(t)
	if ws != 0 {
		t.Fatalf("status %#x", int(ws))
	}
	pids := strings.Fields(out)
	if len(pids) != 1200 {
		t.Fatalf("%d numbers, want 1200", len(pids))
	}
	for i, f := range pids {
		if pid, err := strconv.Atoi(f); err != nil || pid < 33000 || pid > 33511 {
			t.Fatalf("fork %d: pid %s is outside the block", i, f)
		}
	}
}

func TestUsage(t *testing.T) {
	n := openNest(t, testConfig())
	r := start(t, n, base("sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'; :"))
	ev := r.event(t)
	if ev.Kind != Exited || ev.User+ev.System < 10*time.Millisecond || ev.MaxRSS < 100 {
		t.Errorf("%+v: want the child's CPU time counted", ev)
	}
}

func TestMissingMountPoints(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts")
	}
	root := t.TempDir()
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "list"), exe, 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig()
	cfg.Root = root
	n := openNest(t, cfg)
	s := base()
	s.Exe, s.Argv = "/list", []string{"list", listArg}
	if _, err := n.Start(t.Context(), s); errors.Is(err, syscall.ENOENT) {
		t.Skip("needs a static test binary: CGO_ENABLED=0")
	}
	if ws, out := start(t, n, s).end(t); ws != 0 || out != "[- list] <nil>\n" {
		t.Errorf("%q, status %#x", out, int(ws))
	}
	if _, err := n.PTMX(); err == nil {
		t.Error("a terminal without /dev")
	}
}

func TestBind(t *testing.T) {
	src := t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "here"), []byte("bound\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig()
	cfg.Binds = []Bind{{Source: src, Target: "/mnt", ReadOnly: true}}
	n := openNest(t, cfg)
	if ws, out := start(t, n, base("cat /mnt/here; touch /mnt/x 2>/dev/null || echo refused")).end(t); ws != 0 || out != "bound\nrefused\n" {
		t.Errorf("%q, status %#x", out, int(ws))
	}
}

// TestClose finds no process, mount or cgroup after the end, with a job still running.
func TestClose(t *testing.T) {
	n := openNest(t, testConfig())
	mounts := func() string {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before := mounts()
	r := start(t, n, base("setsid sleep 63 & exec sleep 63"))
	pid := n.InitPid()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if ev := r.event(t); ev.Kind != Lost && ev.Kind != Exited {
		t.Errorf("%+v: want lost", ev)
	}
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("the init lives: %v", err)
	}
	if _, err := os.Stat(n.group.path); !os.IsNotExist(err) {
		t.Errorf("the cgroup is left: %v", err)
	}
	if mounts() != before {
		t.Error("mounts differ")
	}
	if _, err := n.Start(t.Context(), base("exit")); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("start in a closed nest: %v", err)
	}
	if _, err := n.PTMX(); err == nil {
		t.Error("a terminal in a closed nest")
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*Config)
		want string
	}{
		{"block too small", func(c *Config) { c.PidLast = c.PidFirst }, "pid block"},
		{"block too low", func(c *Config) { c.PidFirst = 300 }, "pid block"},
		{"no root", func(c *Config) { c.Root = "/no/such" }, "root /no/such"},
		{"no bind source", func(c *Config) { c.Binds = []Bind{{Source: "/no/such", Target: "/mnt"}} }, "bind /no/such"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if os.Getuid() != 0 {
				t.Skip("needs root")
			}
			cfg := testConfig()
			c.set(&cfg)
			n, err := Open(t.Context(), cfg)
			if err == nil {
				n.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v: want %q", err, c.want)
			}
		})
	}
}

// TestTerminal: a terminal of the nest's own has a name there.
func TestTerminal(t *testing.T) {
	n := openNest(t, testConfig())
	master, err := n.PTMX()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	rc, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var peer uintptr
	var errno syscall.Errno
	err = rc.Control(func(fd uintptr) {
		if err := unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err != nil {
			t.Error(err)
		}
		peer, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	})
	if err != nil || errno != 0 {
		t.Fatal(err, errno)
	}
	slave := os.NewFile(peer, "slave")
	defer slave.Close()
	s := base("tty")
	s.FDs = []FD{{N: 0, File: slave}}
	if ws, out := start(t, n, s).end(t); ws != 0 || out != "/dev/pts/0\n" {
		t.Errorf("%q, status %#x", out, int(ws))
	}
}

// TestGivenUp: a start whose caller gives up leaves no process.
func TestGivenUp(t *testing.T) {
	n := openNest(t, testConfig())
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	s := base("exit")
	s.Pid = 9876
	s.FDs = []FD{{N: 0, Path: fifo}} // the open waits for a writer
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := n.Start(ctx, s); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v: want the deadline", err)
	}
	if ws, out := start(t, n, base("echo others start meanwhile")).end(t); ws != 0 || out == "" {
		t.Fatalf("%q, status %#x", out, int(ws))
	}
	s.FDs = nil
	deadline := time.Now().Add(10 * time.Second)
	for { // its number is free again
		p, err := n.Start(t.Context(), s)
		if err == nil {
			<-p.Events()
			return
		}
		if !errors.Is(err, syscall.EEXIST) || time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// testDaemon opens a nest with a process in it, prints the numbers of both as this host knows them, and waits.
func testDaemon() {
	cfg := testConfig()
	var err error
	if cfg.Abort, err = os.OpenFile(os.Getenv("TEST_ABORT"), os.O_WRONLY, 0); err != nil {
		fmt.Println(err)
		return
	}
	n, err := Open(context.Background(), cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	s := base("setsid sleep 64 & exec sleep 64")
	s.Pid = 5555
	if _, err := n.Start(context.Background(), s); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(n.InitPid(), n.group.path)
	select {}
}

// TestDaemonKilled: the nest dies with its daemon, and the next one removes the cgroup.
func TestDaemonKilled(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes name spaces")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	abort := filepath.Join(t.TempDir(), "abort")
	if err := os.WriteFile(abort, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess("/proc/self/exe", []string{"test", daemonArg}, &os.ProcAttr{
		Files: []*os.File{nil, w, os.Stderr}, Env: append(os.Environ(), "TEST_ABORT="+abort),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	var line bytes.Buffer
	_ = r.SetReadDeadline(time.Now().Add(20 * time.Second))
	for !bytes.HasSuffix(line.Bytes(), []byte("\n")) {
		if _, err := io.CopyN(&line, r, 1); err != nil {
			t.Fatal(err)
		}
	}
	var initPid int
	var group string
	if _, err := fmt.Sscan(line.String(), &initPid, &group); err != nil {
		t.Fatalf("%q: %v", line.String(), err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		procs, err := os.ReadFile(filepath.Join(group, "cgroup.events"))
		if err == nil && bytes.Contains(procs, []byte("populated 0")) && syscall.Kill(initPid, 0) == syscall.ESRCH {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the nest lives on: %s %v", procs, err)
		}
		time.Sleep(time.Millisecond)
	}
	if b, err := os.ReadFile(abort); err != nil || string(b) != "1" {
		t.Errorf("the FUSE connection was not aborted: %q, %v", b, err)
	}
	openNest(t, testConfig())
	if _, err := os.Stat(group); !os.IsNotExist(err) {
		t.Errorf("the dead daemon's cgroup is left: %v", err)
	}
}
