package netfs_test

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/onehost/onehost/link"
)

// TestKilledWhileWaiting kills programs that wait for a home that does not answer: each must die at once, not when the home is given up.
func TestKilledWhileWaiting(t *testing.T) {
	for _, c := range []struct{ method, program string }{
		{"fs.lookup", "cat d/none"},
		{"fs.read", "cat f"},
		{"fs.readlink", "readlink l"},
		{"fs.create", "echo x > new"},
		{"fs.mkdir", "mkdir new"},
		{"fs.symlink", "ln -s x new"},
		{"fs.link", "ln f new"},
		{"fs.unlink", "rm -f f"},
		{"fs.rename", "mv f new"},
		{"fs.setattr", "chmod 600 f"},
		{"fs.write", "echo x >> f"},
		{"fs.sync", "dd if=/dev/zero of=new bs=1 count=1 conv=fsync"},
	} {
		t.Run(c.method, func(t *testing.T) {
			h := newHome(t, t.TempDir())
			put(t, h.path("f"), "text")
			if err := os.Symlink("f", h.path("l")); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(h.path("d"), 0o755); err != nil {
				t.Fatal(err)
			}
			x := h.mount(t)
			if _, err := os.Lstat(x.path("f")); err != nil {
				t.Fatal(err)
			}
			asked := make(chan struct{}, 100)
			h.r.HandleCall(c.method, func(ctx context.Context, _ *link.Request) (link.Reply, error) {
				asked <- struct{}{}
				<-ctx.Done()
				return link.Reply{}, syscall.EINTR
			})
			p := exec.Command("/bin/sh", "-c", "trap : USR1; cd "+x.dir+" && "+c.program)
			p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			gone := make(chan struct{})
			go func() { _ = p.Wait(); close(gone) }()
			select {
			case <-asked:
			case <-gone:
				t.Fatal("it did not wait for the home")
			case <-time.After(10 * time.Second):
				t.Fatal("the home is not asked")
			}
			_ = syscall.Kill(-p.Process.Pid, syscall.SIGCHLD) // another before it: only the first is told
			_ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL)
			select {
			case <-gone:
			case <-time.After(5 * time.Second):
				t.Error("it is still there 5 s after SIGKILL")
				_ = x.far.Close()
				<-gone
			}
		})
	}
}
