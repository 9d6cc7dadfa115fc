package sys

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestOpenFiles(t *testing.T) {
	name := t.TempDir() + "/file"
	open := func() int {
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	first, second := open(), open() // one file, opened twice
	copied, err := unix.FcntlInt(uintptr(first), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(copied) })
	if !SameOpenFile(first, copied) {
		t.Skip("this kernel cannot tell open files apart (CONFIG_KCMP)")
	}
	fds, open1 := []int{first, copied, second}, []int{0, 0, 1}
	before := entries(t)
	rapid.Check(t, func(t *rapid.T) {
		var o OpenFiles
		var held [2][]*OpenFile
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			i := rapid.IntRange(0, 2).Draw(t, "descriptor")
			which := open1[i]
			if n := len(held[which]); n > 0 && rapid.Bool().Draw(t, "drop") {
				held[which][n-1].Drop()
				held[which] = held[which][:n-1]
			} else {
				f, err := o.Keep(fds[i])
				if err != nil {
					t.Fatal(err)
				}
				if !SameOpenFile(f.Fd, fds[i]) {
					t.Fatalf("descriptor %d of another open file than %d", f.Fd, fds[i])
				}
				held[which] = append(held[which], f)
			}
			want := 0
			for _, h := range held {
				if len(h) > 0 {
					want++
				}
			}
			if e, err := os.ReadDir("/proc/self/fd"); err != nil || len(e) != before+want {
				t.Fatalf("%d descriptors are kept, want %d (%v)", len(e)-before, want, err)
			}
		}
		for _, h := range held {
			for _, f := range h {
				f.Drop()
			}
		}
		if len(o.byID) != 0 {
			t.Fatalf("%d files are still known", len(o.byID))
		}
	})
	var o OpenFiles
	if _, err := o.Keep(1 << 20); err == nil {
		t.Error("kept what is not open")
	}
}
