package netfs_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestQuota has the home's file system refuse what is over a quota, with room to spare: the program hears of it at its fsync, and what was
// never synced is in the way of nobody.
func TestQuota(t *testing.T) {
	if _, err := exec.LookPath("mkfs.btrfs"); err != nil {
		t.Skip("needs mkfs.btrfs: a file system with quotas")
	}
	img, dir := filepath.Join(t.TempDir(), "img"), t.TempDir()
	out, err := exec.Command("/bin/sh", "-ec", `truncate -s 120m "$0"; mkfs.btrfs -q "$0"; mount -o loop "$0" "$1"; cd "$1"
		btrfs quota enable .; btrfs subvolume create s; btrfs qgroup limit 2M s`, img, dir).CombinedOutput()
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err != nil {
		t.Skipf("no btrfs with quotas on a loop device here: %v: %s", err, out)
	}
	h := newHome(t, filepath.Join(dir, "s"))
	x := h.mount(t)
	put(t, x.path("small"), "fits")
	x.flush(t)
	want(t, h.path("small"), "fits")
	f, err := os.Create(x.path("large"))
	if err != nil {
		t.Fatal(err)
	}
	_, werr := f.Write(bytes.Repeat([]byte("x"), 4<<20))
	serr := f.Sync()
	if f.Close(); !errors.Is(werr, syscall.EDQUOT) && !errors.Is(serr, syscall.EDQUOT) {
		t.Fatalf("write: %v, fsync: %v; want EDQUOT from one", werr, serr)
	}
	if err := os.Remove(x.path("large")); err != nil {
		t.Fatal(err)
	}
	x.flush(t)
	top, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	eventually(t, "the room of the removed file", func() bool {
		if err := unix.Syncfs(int(top.Fd())); err != nil { // btrfs counts again when it commits, by itself only every 30 s
			t.Fatal(err)
		}
		return os.WriteFile(h.path("native"), bytes.Repeat([]byte("y"), 1<<20), 0o644) == nil
	})
	put(t, x.path("small"), "fits again")
	x.flush(t)
	want(t, h.path("small"), "fits again")
}
