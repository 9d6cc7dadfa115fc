package netfs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMountsKeepTheirNumbers: a file id means the same file to the next server of the same boot; one of a mount that is gone means none, and its
// number is nobody else's.
func TestMountsKeepTheirNumbers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts")
	}
	dir := t.TempDir()
	table := filepath.Join(dir, "mounts")
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"a b", "gone", "new"} {
		if err := os.Mkdir(at(name), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(at(name), unix.MNT_DETACH) })
	}
	mount := func(name string) {
		t.Helper()
		if err := unix.Mount("numbers", at(name), "tmpfs", 0, "size=64k"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at(name+"/f"), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	objs := func(boot string) *objects {
		t.Helper()
		o := newObjects()
		if err := o.restore(table, boot); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(o.close)
		return o
	}
	id := func(o *objects, name string) string {
		t.Helper()
		fd, err := unix.Open(at(name), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		x, err := o.adopt(fd)
		if err != nil {
			t.Fatal(err)
		}
		defer o.put(x)
		return x.id
	}
	mount("a b")
	mount("gone")
	first := objs("one")
	gone, kept := id(first, "gone/f"), id(first, "a b/f")
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, at("a b/f"), 0, unix.STATX_BASIC_STATS, &st); err != nil {
		t.Fatal(err)
	}
	_ = first.ino(&unix.Statx_t{Dev_minor: 1, Ino: 1})
	number := first.ino(&st)
	if err := unix.Unmount(at("gone"), unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	mount("new")

	next := objs("one")
	if got := next.ino(&st); got != number {
		t.Errorf("the file's inode number is %x and was %x", got, number)
	}
	x, err := next.get(kept)
	if err != nil {
		t.Fatal(err)
	}
	defer next.put(x)
	if b, err := os.ReadFile(procFD(x.fd)); err != nil || string(b) != "a b" {
		t.Errorf("it is %q, %v", b, err)
	}
	if x, err := next.get(gone); err == nil {
		next.put(x)
		t.Error("a file of a mount that is gone was found")
	}
	if n := id(next, "new/f"); n[:4] == gone[:4] || n[:4] == kept[:4] {
		t.Error("a new mount has the number of another")
	}
	if again := id(next, "a b/f"); again != kept {
		t.Error("the file has another id now")
	}
	if n := objs("two"); len(n.mounts) != 0 {
		t.Error("numbers of another boot are taken up")
	}
}
