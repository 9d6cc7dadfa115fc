package netfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/netfs"
)

// listed gives the names of a directory in the order that the kernel gives them, n at a time.
func listed(t *testing.T, f *os.File, n int) []string {
	t.Helper()
	var all []string
	for {
		names, err := f.Readdirnames(n)
		all = append(all, names...)
		if errors.Is(err, io.EOF) || err == nil && n <= 0 {
			return all
		}
		if err != nil {
			t.Error(err)
			return nil
		}
	}
}

func opened(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestListings: whoever lists a directory gets what the home gives, in the same order, whoever else lists it at the same time, and however
// far they get; and what a listing began with it ends with, as far as that has not changed.
func TestListings(t *testing.T) {
	for _, noOpen := range []bool{false, true} {
		for _, count := range []int{150, 1500, 4200} { // given whole, as names, and by pages
			t.Run(fmt.Sprintf("no opens %v, %d names", noOpen, count), func(t *testing.T) {
				h := newHome(t, t.TempDir())
				if err := os.Mkdir(h.path("d"), 0o755); err != nil {
					t.Fatal(err)
				}
				for i := range count {
					put(t, h.path("d", fmt.Sprintf("%03d-%s", i, strings.Repeat("x", 90))), "")
				}
				x := h.mount(t, func(c *netfs.MountConfig) { c.NoOpen = noOpen })
				if _, err := os.Stat(x.path("d", "none")); err == nil { // the listing comes with the first lookup
					t.Fatal("a name that is not there is found")
				}
				want := listed(t, opened(t, h.path("d")), -1)
				check := func(who string, got []string) {
					if !slices.Equal(got, want) {
						t.Errorf("%s got %d names of %d, %d of them different, or another order", who, len(got), len(want), len(slices.Compact(slices.Sorted(slices.Values(got)))))
					}
				}
				half := opened(t, x.path("d"))
				if _, err := half.Readdirnames(5); err != nil { // and reads no further yet
					t.Fatal(err)
				}
				check("the first", listed(t, opened(t, x.path("d")), 100))
				check("one after it", listed(t, opened(t, x.path("d")), 100))
				var wg sync.WaitGroup
				for i := range 4 {
					wg.Go(func() { check(fmt.Sprintf("%d of four", i), listed(t, opened(t, x.path("d")), 7*(i+1))) })
				}
				wg.Wait()
				put(t, h.path("d", "new"), "")
				if err := os.Remove(h.path("d", want[2])); err != nil {
					t.Fatal(err)
				}
				x.sync(t)
				check("who began before a change", append(slices.Clone(want[:5]), listed(t, half, 100)...))
				want = listed(t, opened(t, h.path("d")), -1)
				check("who began after it", listed(t, opened(t, x.path("d")), 100))
				put(t, x.path("d", "ours"), "")
				x.flush(t)
				want = listed(t, opened(t, h.path("d")), -1)
				check("who made a file", listed(t, opened(t, x.path("d")), 100))
			})
		}
	}
}

// TestInodesOfListings: a name has the inode number in its directory's list that stat gives, on whichever of the home's file systems.
func TestInodesOfListings(t *testing.T) {
	dir := t.TempDir()
	inner := filepath.Join(dir, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("inner", inner, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(inner, unix.MNT_DETACH) })
	h := newHome(t, dir)
	put(t, h.path("file"), "")
	for i := range 200 { // some of them are not in an answer about one name
		put(t, h.path(fmt.Sprintf("inner/file%d", i)), "")
	}
	if err := os.Mkdir(h.path("inner/few"), 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, h.path("inner/few/file"), "")
	x := h.mount(t)
	if _, err := os.Lstat(x.path("file")); err != nil { // the first file system is this one
		t.Fatal(err)
	}
	for _, name := range []string{"inner", "inner/few"} {
		_, _ = os.Lstat(x.path(name + "/none")) // which may be answered by a list
		f := opened(t, x.path(name))
		buf := make([]byte, 64<<10)
		n, err := unix.ReadDirent(int(f.Fd()), buf)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		seen := 0
		for b := buf[:n]; len(b) > 0; b = b[binary.NativeEndian.Uint16(b[16:]):] {
			entry, _, _ := bytes.Cut(b[19:], []byte{0})
			if string(entry) == ".." {
				continue
			}
			var st unix.Stat_t
			if err := unix.Lstat(x.path(name+"/"+string(entry)), &st); err != nil {
				t.Fatal(err)
			}
			if got := binary.NativeEndian.Uint64(b); got != st.Ino {
				t.Fatalf("%s/%s is %d in the list and %d by stat", name, entry, got, st.Ino)
			}
			seen++
		}
		if seen < 2 {
			t.Errorf("%s: %d names", name, seen)
		}
	}
}
