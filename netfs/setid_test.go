package netfs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/onehost/onehost/netfs"
)

// TestSetID has a user change files that run as their owner or group: the bits go as they do natively, and at once, for
// who else would run what he wrote.
func TestSetID(t *testing.T) {
	changes := map[string]string{
		"write": "printf new 1<>f", "append": "printf new >>f", "cut": "truncate -s 1 f", "empty": ": >f", "rewrite": "printf new >f",
		"room": "fallocate -l 9999 f", "copy": "cat f >/dev/null; printf new | dd of=f conv=notrunc status=none oflag=direct,append",
	}
	for name, script := range changes {
		for _, mode := range []uint32{0o4777, 0o2777, 0o2767, 0o6777} {
			for _, uid := range []uint32{0, 1234} {
				t.Run(fmt.Sprintf("%s-%o-%d", name, mode, uid), func(t *testing.T) {
					setID(t, script, mode, uid)
				})
			}
		}
	}
}

func setID(t *testing.T, script string, mode, uid uint32) {
	open := func(dir string) string {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, "f"), "the old content")
		if err := syscall.Chmod(filepath.Join(dir, "f"), mode); err != nil { // os.Chmod has its own idea of these bits
			t.Fatal(err)
		}
		return dir
	}
	outside := func() string {
		dir, err := os.MkdirTemp("/tmp", "netfs") //nolint:usetesting // t.TempDir is closed to others
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	run := func(dir string) string {
		c := exec.Command("/bin/sh", "-c", "cd "+dir+" && stat -c %a f; exec 3<>f && { "+script+"; } && stat -c %a f")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := c.CombinedOutput()
		if err != nil {
			out = append(out, err.Error()...)
		}
		return string(out)
	}
	native := run(open(outside()))
	h := newHome(t, open(t.TempDir()))
	mnt := outside()
	x := h.mount(t, func(c *netfs.MountConfig) { c.Dir = mnt })
	if got := run(mnt); got != native {
		t.Errorf("over the mount: %q, natively %q", got, native)
	}
	x.flush(t)
	st, err := os.Stat(h.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	if got, last := fmt.Sprintf("%o\n", st.Sys().(*syscall.Stat_t).Mode&0o7777), native; len(last) < len(got) || last[len(last)-len(got):] != got {
		t.Errorf("at home: %q, natively %q", got, native)
	}
}
