package netfs_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// natively runs a command at home, as another process than the one that serves.
func natively(t *testing.T, dir string, args ...string) string {
	t.Helper()
	c := exec.Command(args[0], args[1:]...)
	c.Dir = dir
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return string(out)
}

// TestNativesWait has programs at home open what a helper has closed, or is writing on, though nothing of it is at home yet.
func TestNativesWait(t *testing.T) {
	for kind, root := range roots {
		t.Run(strings.ReplaceAll(kind, " ", "-"), func(t *testing.T) {
			h := newHome(t, root(t))
			put(t, h.path("old"), "old")
			put(t, h.path("prog"), "")
			x := h.mount(t, hold(time.Hour))
			large := strings.Repeat("0123456789abcdef", 200_000)
			put(t, x.path("f"), large)
			if got := natively(t, h.dir, "cat", "f"); got != large {
				t.Errorf("of %d bytes %d are seen", len(large), len(got))
			}
			f, err := os.OpenFile(x.path("log"), os.O_CREATE|os.O_WRONLY, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for i := range 20 {
				if _, err := f.WriteString("line\n"); err != nil {
					t.Fatal(err)
				}
				if got := natively(t, h.dir, "cat", "log"); got != strings.Repeat("line\n", i+1) {
					t.Fatalf("after line %d: %q", i, got)
				}
			}
			// In place, without a wait (as tar opens), and to write to it; and what is executed.
			g, err := os.OpenFile(x.path("old"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.WriteAt([]byte("new"), 0); err != nil {
				t.Fatal(err)
			}
			if err := g.Close(); err != nil {
				t.Fatal(err)
			}
			if got := natively(t, h.dir, "dd", "if=old", "iflag=nonblock", "status=none"); got != "new" {
				t.Errorf("got %q", got)
			}
			put(t, x.path("more"), "from the helper\n")
			natively(t, h.dir, "sh", "-c", "echo from home >> more")
			x.sync(t)
			want(t, x.path("more"), "from the helper\nfrom home\n")
			put(t, x.path("prog"), "#!/bin/sh\necho it runs\n")
			if err := os.Chmod(x.path("prog"), 0o755); err != nil {
				t.Fatal(err)
			}
			// A shell executes it: the child of a fork of our own would wait for us in vfork(2), where the collector cannot stop it.
			if got := natively(t, h.dir, "/bin/sh", "-c", "./prog"); got != "it runs\n" {
				t.Errorf("got %q", got)
			}
			if _, err := f.WriteString("line\n"); err != nil {
				t.Fatal(err)
			}
			x.flush(t)
			if n := h.srv.Guarded(); n != 1 { // log is still open, and may be written to
				t.Errorf("%d files are watched over", n)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "no file is watched over when all is at home", func() bool { // the kernel tells of a close a moment later
				x.flush(t)
				return h.srv.Guarded() == 0
			})
		})
	}
}

// TestNativesWaitForNobody lets natives go on when the helper is gone, or the service ends.
func TestNativesWaitForNobody(t *testing.T) {
	h := newHome(t, t.TempDir())
	c := h.wire(t, hold(time.Hour))
	put(t, c.path("f"), "held back")
	c.pull(true)
	begin := time.Now()
	if got := natively(t, h.dir, "cat", "f"); got != "" || time.Since(begin) > 5*time.Second {
		t.Errorf("%q after %v", got, time.Since(begin))
	}
	c.plug()
	c.flush(t)
	x := h.mount(t, hold(time.Hour))
	put(t, x.path("g"), "held back")
	if err := unix.Access(h.path("g"), unix.R_OK); err != nil {
		t.Fatal(err)
	}
	if err := h.srv.Close(); err != nil {
		t.Fatal(err)
	}
	if got := natively(t, h.dir, "cat", "g"); got != "" {
		t.Errorf("got %q", got)
	}
}
