package netfs_test

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFifoMadeHere waits by poll on a fifo that was made here, as GNU make does on its jobserver.
func TestFifoMadeHere(t *testing.T) {
	x := newHome(t, t.TempDir()).mount(t)
	if err := unix.Mkfifo(x.path("jobs"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() int {
		fd, err := unix.Open(x.path("jobs"), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	list, err := os.ReadDir(x.path(""))
	if err != nil || len(list) != 1 || list[0].Type() != os.ModeNamedPipe {
		t.Errorf("the directory's list: %v %v", list, err)
	}
	tokens := open()
	x.sync(t)
	child := open() // by its name, as a make below does
	ready := func() bool {
		p := []unix.PollFd{{Fd: int32(tokens), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
	if ready() {
		t.Error("it is ready and empty")
	}
	if _, err := unix.Write(child, []byte("+")); err != nil {
		t.Fatal(err)
	}
	if !ready() {
		t.Error("it is not ready and holds a token")
	}
	if st, err := os.Stat(x.path("jobs")); err != nil || st.Mode().Type() != os.ModeNamedPipe {
		t.Error(st, err)
	}
	if err := os.Remove(x.path("jobs")); err != nil {
		t.Error(err)
	}
	x.sync(t)
	var st unix.Stat_t
	if err := unix.Fstat(child, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		t.Errorf("without its name it is %#o, %v", st.Mode, err)
	}
}

// TestFifoOutlivesTask makes a fifo, and uses it together with the home after its maker has ended.
func TestFifoOutlivesTask(t *testing.T) {
	h := newHome(t, t.TempDir())
	x := h.mount(t)
	// A task is a child of init; this one becomes one before it begins.
	script := `for i in $(seq 500); do grep -q "^PPid:.1$" /proc/$$/status && mkfifo "$0/q" && mv "$0/q" "$0/p" && exit; sleep 0.01; done; touch "$0/p"`
	if out, err := exec.Command("setsid", "-f", "/bin/sh", "-c", script, x.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	eventually(t, "the fifo", func() bool { _, err := os.Lstat(h.path("p")); return err == nil })
	if st, err := os.Stat(h.path("p")); err != nil || st.Mode().Type() != os.ModeNamedPipe {
		t.Skip("orphans have no init here")
	}
	eventually(t, "the end of the task's own fifo", func() bool {
		if err := x.FlushEnded(t.Context()); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(x.path("p"))
		return err == nil && st.Mode().IsRegular()
	})
	home, err := os.OpenFile(h.path("p"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	if out, err := exec.Command("/bin/sh", "-c", `echo back >"$0"`, x.path("p")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b := make([]byte, 16)
	if n, err := home.Read(b); err != nil || string(b[:n]) != "back\n" {
		t.Errorf("the home reads %q, %v", b[:n], err)
	}
}
