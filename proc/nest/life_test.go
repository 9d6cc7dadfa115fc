package nest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

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
		t.Skip("needs CGO_ENABLED=0: a test program that is static")
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

// aloneEnv is set for a test that runs in a mount name space of its own.
const aloneEnv = "ONEHOST_TEST_ALONE"

// alone runs the test in a mount name space that no other package's tests mount things in, and reports whether this is that run.
func alone(t *testing.T) bool {
	if os.Getenv(aloneEnv) != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: makes name spaces")
	}
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.count", "1", "-test.v")
	cmd.Env = append(os.Environ(), aloneEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v: %s", err, out)
	}
	return false
}

// TestClose finds no process, mount or cgroup after the end, with a job still running.
func TestClose(t *testing.T) {
	if !alone(t) {
		return
	}
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
		// Another daemon on this machine that opens a nest may sweep the group first; only an empty one can be removed.
		empty := os.IsNotExist(err) || err == nil && bytes.Contains(procs, []byte("populated 0"))
		if empty && syscall.Kill(initPid, 0) == syscall.ESRCH {
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

// TestOverFUSE runs processes whose root is served by the very process that opened the nest.
func TestOverFUSE(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts FUSE")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("needs /dev/fuse")
	}
	root, err := fs.NewLoopbackRoot("/")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	srv, err := fs.Mount(dir, root, &fs.Options{MountOptions: fuse.MountOptions{AllowOther: true, DirectMount: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := srv.Unmount(); err != nil {
			t.Error(err)
		}
	}()
	cfg := testConfig()
	cfg.Root = dir
	n := openNest(t, cfg)
	work := t.TempDir()
	for i := range 8 {
		s := base("echo $$; pwd; stat -f -c %T /; echo written > file; cat file")
		s.Pid, s.Cwd = 2000+i, work
		ws, out := start(t, n, s).end(t)
		if want := fmt.Sprintf("%d\n%s\nfuseblk\nwritten\n", s.Pid, work); ws != 0 || out != want {
			t.Fatalf("%q, status %#x; want %q", out, int(ws), want)
		}
	}
	if err := n.Close(); err != nil { // before the file server goes
		t.Fatal(err)
	}
}
