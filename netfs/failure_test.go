package netfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/netfs"
)

// tmpfs mounts a small file system for a test.
func tmpfs(t *testing.T, opts string) string {
	t.Helper()
	d := t.TempDir()
	if err := unix.Mount("tmpfs", d, "tmpfs", 0, opts); err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(d, unix.MNT_DETACH) })
	return d
}

// TestNoSpace fills the home's file system: the program must hear of it at the latest when it closes.
func TestNoSpace(t *testing.T) {
	h := newHome(t, tmpfs(t, "size=512k"))
	x := h.mount(t)
	f, err := os.Create(x.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	_, werr := f.Write(bytes.Repeat([]byte("x"), 900<<10))
	cerr := f.Close()
	if !errors.Is(werr, syscall.ENOSPC) && !errors.Is(cerr, syscall.ENOSPC) {
		t.Fatalf("write: %v, close: %v; want ENOSPC from one", werr, cerr)
	}
	if err := os.Remove(x.path("f")); err != nil {
		t.Fatal(err)
	}
	// The kernel tells of the last close of f in its own time, and only then is the room of a removed file free.
	eventually(t, "the room of the removed file at home", func() bool {
		var st unix.Statfs_t
		return unix.Statfs(h.dir, &st) == nil && st.Bfree > 64
	})
	put(t, x.path("g"), "fits")
	want(t, h.path("g"), "fits") // without a flush: with so little room nothing stays behind a close
}

// TestReserve has a user write more than the home's file system has for users: what is in reserve for root is not his.
func TestReserve(t *testing.T) {
	img, dir := filepath.Join(t.TempDir(), "img"), t.TempDir()
	out, err := exec.Command("/bin/sh", "-ec", `truncate -s 16m "$0"; mkfs.ext4 -q -m 50 "$0"; mount -o loop "$0" "$1"; chmod 777 "$1"`, img, dir).CombinedOutput()
	if err != nil {
		t.Skipf("no file system on a loop device here: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	h := newHome(t, dir)
	base, err := os.MkdirTemp("/tmp", "netfs") //nolint:usetesting // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(base) })
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	x := h.mount(t, func(cfg *netfs.MountConfig) { cfg.Dir = base })
	for _, c := range []struct {
		uid  uint32
		cmd  string
		fits bool
	}{
		{4242, "head -c 12M /dev/zero >", false},
		{4242, "fallocate -l 12M", false},
		{4242, "head -c 2M /dev/zero >", true},
		{0, "head -c 9M /dev/zero >", true},
	} {
		p := exec.Command("/bin/sh", "-c", c.cmd+" "+filepath.Join(base, "f"))
		p.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.uid, Gid: c.uid}}
		if out, err := p.CombinedOutput(); (err == nil) != c.fits || err != nil && !bytes.Contains(out, []byte("No space left")) {
			t.Errorf("user %d, %s: %v: %s", c.uid, c.cmd, err, out)
		}
		x.flush(t)
		if err := os.Remove(h.path("f")); err != nil {
			t.Fatal(err)
		}
		x.sync(t) // or the next one may still write to the file that was removed
	}
}

// TestNotMine has a user without rights try what root may.
func TestNotMine(t *testing.T) {
	h := newHome(t, t.TempDir())
	if err := os.Chmod(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, h.path("secret"), "s")
	if err := os.Chmod(h.path("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.path("shared"), 0o770); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(h.path("shared"), 0o770); err != nil { // whatever the umask
		t.Fatal(err)
	}
	if err := os.Chown(h.path("shared"), 0, 4242); err != nil {
		t.Fatal(err)
	}
	base, err := os.MkdirTemp("/tmp", "netfs") //nolint:usetesting // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(base) })
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	x := h.mount(t, func(c *netfs.MountConfig) { c.Dir = base })
	try := func(groups []uint32, script string) string {
		c := exec.Command("/bin/sh", "-c", "cd "+base+" && "+script) // the shell enters the mount, not our own fork
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 1234, Groups: groups}}
		out, _ := c.CombinedOutput()
		return string(out)
	}
	for _, s := range []string{"cat secret", "echo x > new", "rm -f secret", "mkdir d", "ln secret l", "mv secret m", "chmod 777 secret"} {
		if out := try(nil, s); !strings.Contains(out, "ermission denied") && !strings.Contains(out, "not permitted") {
			t.Errorf("%s: got %q, want a refusal", s, out)
		}
	}
	if out := try(nil, "echo x > shared/f"); !strings.Contains(out, "ermission denied") {
		t.Errorf("without the group: %q", out)
	}
	if out := try([]uint32{4242}, "umask 22; echo x > shared/f && mkdir shared/d && ls -ln shared/f"); !strings.Contains(out, "-rw-r--r-- 1 1234 1234 2 ") {
		t.Errorf("with the group: %q", out)
	}
	x.flush(t)
	want(t, h.path("shared/f"), "x\n")
}

// TestDeadHome cuts the connection: what needs the home fails soon, and with an error that says so.
func TestDeadHome(t *testing.T) {
	h := newHome(t, t.TempDir())
	x := h.mount(t)
	put(t, h.path("f"), "x")
	x.sync(t)
	if _, err := os.Stat(x.path("f")); err != nil {
		t.Fatal(err)
	}
	_ = x.far.Close()
	<-x.conn.Done()
	begin := time.Now()
	b, err := os.ReadFile(x.path("f"))
	if !errors.Is(err, syscall.EHOSTDOWN) {
		t.Errorf("read: %q, %v, want EHOSTDOWN", b, err)
	}
	if err := os.Mkdir(x.path("d"), 0o755); !errors.Is(err, syscall.EHOSTDOWN) {
		t.Errorf("mkdir: %v, want EHOSTDOWN", err)
	}
	x.Abort()
	if _, err := os.Stat(x.path("other")); err == nil {
		t.Error("stat after the abort: want an error")
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
}

// pipeEnd is a shipped file of a test.
type pipeEnd struct {
	in     chan []byte
	out    chan []byte
	closed chan struct{}
}

func (p *pipeEnd) Read(ctx context.Context, n int) ([]byte, error) {
	select {
	case b, ok := <-p.in:
		if !ok {
			return nil, nil
		}
		return b[:min(len(b), n)], nil
	case <-ctx.Done():
		return nil, syscall.EINTR
	}
}

func (p *pipeEnd) Write(_ context.Context, b []byte) (int, error) {
	p.out <- bytes.Clone(b)
	return len(b), nil
}

func (p *pipeEnd) Close() error { close(p.closed); return nil }

func newPipeEnd() *pipeEnd {
	return &pipeEnd{in: make(chan []byte, 4), out: make(chan []byte, 4), closed: make(chan struct{})}
}

// TestShipOpenedAgain opens what it holds as a shell does for "> /dev/stderr", and as somebody else than root.
func TestShipOpenedAgain(t *testing.T) {
	h := newHome(t, t.TempDir())
	x := h.mount(t)
	p := newPipeEnd()
	path, release, err := x.Ship(p)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	release()
	defer f.Close() // an unmount would wait for it
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if back := syscall.Setfsuid(0); err != nil || back != nil {
		t.Fatal(err, back)
	}
	if _, err := again.WriteString("said"); err != nil {
		t.Fatal(err)
	}
	if b := <-p.out; string(b) != "said" {
		t.Errorf("%q was written", b)
	}
	if err := f.Truncate(0); err == nil {
		t.Error("it can be cut by its descriptor, which cuts nothing")
	}
	for _, f := range []*os.File{f, again} {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	select {
	case <-p.closed:
	case <-time.After(5 * time.Second):
		t.Error("the last close is not told")
	}
}

// TestShip passes reads and writes on one by one, and ends them with the program's signals.
func TestShip(t *testing.T) {
	h := newHome(t, t.TempDir())
	x := h.mount(t)
	p := newPipeEnd()
	path, release, err := x.Ship(p)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	release()
	p.in <- []byte("a line\n")
	b := make([]byte, 100)
	if n, err := f.Read(b); err != nil || string(b[:n]) != "a line\n" {
		t.Fatal(string(b[:max(n, 0)]), err)
	}
	if _, err := f.WriteString("out"); err != nil {
		t.Fatal(err)
	}
	if got := <-p.out; string(got) != "out" {
		t.Fatalf("%q", got)
	}
	cat := exec.Command("cat")
	cat.Stdin = f
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "cat waits in read", func() bool {
		s, _ := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", cat.Process.Pid))
		return bytes.HasPrefix(s, []byte("0 0x0 "))
	})
	if err := cat.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cat.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("a killed reader is stuck")
	}
	close(p.in)
	if n, err := f.Read(b); n != 0 || err != io.EOF {
		t.Fatalf("at the end: %d %v", n, err)
	}
	_ = f.Close()
	select {
	case <-p.closed:
	case <-time.After(5 * time.Second):
		t.Fatal("the last close is not told")
	}
	if _, err := os.Open(path); err == nil {
		t.Fatal("a released file can be opened")
	}
}

// TestFifo moves bytes through a fifo of the home, both ways, as make's job server does, and kills a reader that waits.
func TestFifo(t *testing.T) {
	h := newHome(t, t.TempDir())
	if err := unix.Mkfifo(h.path("jobs"), 0o600); err != nil {
		t.Fatal(err)
	}
	x := h.mount(t)
	server, err := os.OpenFile(h.path("jobs"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if _, err := server.WriteString("++"); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/bin/sh", "-c", `exec 3<"$0" 4>"$0"; head -c1 <&3; printf - >&4`, x.path("jobs")).CombinedOutput()
	if err != nil || string(out) != "+" {
		t.Fatalf("%q %v", out, err)
	}
	b := make([]byte, 2)
	if _, err := io.ReadFull(server, b); err != nil || string(b) != "+-" {
		t.Fatalf("%q %v", b, err)
	}
	cat := exec.Command("cat", x.path("jobs"))
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "cat waits in read", func() bool {
		s, _ := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", cat.Process.Pid))
		return bytes.HasPrefix(s, []byte("0 0x3 "))
	})
	_ = cat.Process.Kill()
	done := make(chan struct{})
	go func() { _ = cat.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("a killed reader of a fifo is stuck")
	}
	if _, err := server.WriteString("z"); err != nil { // not swallowed by the dead reader
		t.Fatal(err)
	}
	if _, err := io.ReadFull(server, b[:1]); err != nil || b[0] != 'z' {
		t.Fatalf("%q %v", b, err)
	}
}

// TestSocket wants a clear errno from a unix socket of the home.
func TestSocket(t *testing.T) {
	h := newHome(t, t.TempDir())
	if err := unix.Mknod(h.path("s"), unix.S_IFSOCK|0o666, 0); err != nil {
		t.Fatal(err)
	}
	x := h.mount(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: x.path("s")}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatal(err)
	}
}

// TestNoOpen does with the mount without opens what is done to a toolchain, and a little more.
func TestNoOpen(t *testing.T) {
	h := newHome(t, t.TempDir())
	put(t, h.path("f"), "text")
	x := h.mount(t, func(c *netfs.MountConfig) { c.NoOpen = true })
	want(t, x.path("f"), "text")
	put(t, x.path("f"), "shorter"[:5])
	want(t, h.path("f"), "short")
	put(t, x.path("g"), "new")
	want(t, h.path("g"), "new")
	if l, err := os.ReadDir(x.dir); err != nil || len(l) != 2 {
		t.Fatal(l, err)
	}
	a, err := os.OpenFile(x.path("f"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.WriteString("er"); err != nil {
		t.Fatal(err)
	}
	_ = a.Close()
	want(t, h.path("f"), "shorter")
	put(t, h.path("f"), "changed")
	x.sync(t)
	want(t, x.path("f"), "changed")
}

// TestAbortPath finds the kernel's file for the watchdog.
func TestAbortPath(t *testing.T) {
	h := newHome(t, t.TempDir())
	x := h.mount(t)
	const control = "/sys/fs/fuse/connections"
	switch err := unix.Mount("fusectl", control, "fusectl", 0, ""); {
	case err == nil: // nobody else has mounted it
		t.Cleanup(func() { _ = unix.Unmount(control, unix.MNT_DETACH) })
	case !errors.Is(err, unix.EBUSY):
		t.Fatal(err)
	}
	p, err := netfs.AbortPath(x.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(x.path("f")); err == nil {
		t.Fatal("the mount lives after its abort")
	}
}
