package netfs_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/onehost/onehost/netfs"
)

// TestRemovedIsLetGo: a file that is removed as soon as it has been closed, of which close the helper's kernel tells later, takes no room at home.
func TestRemovedIsLetGo(t *testing.T) {
	h := newHome(t, t.TempDir())
	x := h.mount(t)
	for i := range 1000 {
		name := x.path(strconv.Itoa(i))
		if err := os.WriteFile(name, []byte("text"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	nothingKept(t, h)
}

// nothingKept waits until this process, in which the home is, has no file of it open that has no name.
func nothingKept(t *testing.T, h *home) {
	t.Helper()
	var kept []string
	eventually(t, "no removed file is kept", func() bool {
		kept = kept[:0]
		all, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range all {
			if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, h.dir) && strings.HasSuffix(to, " (deleted)") { // gone: it was another's
				kept = append(kept, to)
			}
		}
		return len(kept) == 0
	})
}

// TestRemovedWhileMade: a program at home removes a file as soon as it shows, before the helper that creates it has its answer. The helper
// has a file without a name then, as a program at home would: the file is neither missing nor created once more.
func TestRemovedWhileMade(t *testing.T) {
	h := newHome(t, t.TempDir())
	x := h.mount(t)
	for i := range 400 {
		name := strconv.Itoa(i % 10)
		if _, err := os.ReadDir(x.dir); err != nil { // so that all names are known there
			t.Fatal(err)
		}
		removed := make(chan error, 1)
		begun := make(chan struct{})
		go func() {
			close(begun)
			for limit := time.Now().Add(10 * time.Second); ; {
				err := os.Remove(h.path(name))
				if !errors.Is(err, os.ErrNotExist) || time.Now().After(limit) {
					removed <- err
					return
				}
			}
		}()
		<-begun
		f, err := os.OpenFile(x.path(name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
		if err := <-removed; err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatalf("creation %d: %v", i, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		x.sync(t)
		absent(t, h.path(name))
		absent(t, x.path(name))
	}
}

// TestRemovedWhileOpen: a file that somebody else removes lives on where it is open, and only for as long.
func TestRemovedWhileOpen(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 1<<16)
	for _, who := range []string{"home", "another helper", "a rename of another helper", "a rename at home"} {
		for _, noOpen := range []bool{false, true} {
			t.Run(who+", NoOpen "+strconv.FormatBool(noOpen), func(t *testing.T) {
				h := newHome(t, t.TempDir())
				x := h.mount(t, func(c *netfs.MountConfig) { c.NoOpen = noOpen })
				y := h.mount(t)
				put(t, h.path("read"), long)
				r, err := os.Open(x.path("read"))
				if err != nil {
					t.Fatal(err)
				}
				first := make([]byte, 10)
				if _, err := r.Read(first); err != nil {
					t.Fatal(err)
				}
				w, err := os.OpenFile(x.path("written"), os.O_CREATE|os.O_RDWR, 0o644)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := w.WriteString("before "); err != nil {
					t.Fatal(err)
				}
				for _, name := range []string{"read", "written"} {
					switch who {
					case "home":
						err = os.Remove(h.path(name))
					case "another helper":
						err = os.Remove(y.path(name))
					case "a rename of another helper":
						put(t, y.path("other"), "other")
						err = os.Rename(y.path("other"), y.path(name))
					case "a rename at home":
						put(t, h.path("other"), "other")
						err = os.Rename(h.path("other"), h.path(name))
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				x.sync(t)
				if !strings.HasPrefix(who, "a rename") {
					absent(t, x.path("read"))
				}
				all, err := io.ReadAll(r)
				if err != nil || string(first)+string(all) != long {
					t.Errorf("of the file that was being read, %d of %d bytes: %v", len(first)+len(all), len(long), err)
				}
				eventually(t, "it has no name", func() bool { // the kernel does not say what a native renames a file over
					st, err := r.Stat()
					return err == nil && st.Sys().(*syscall.Stat_t).Nlink == 0
				})
				if _, err := w.WriteString("after"); err != nil {
					t.Errorf("writing on: %v", err)
				}
				if err := w.Sync(); err != nil {
					t.Errorf("fsync: %v", err)
				}
				text := make([]byte, 100)
				if n, err := w.ReadAt(text, 0); string(text[:n]) != "before after" {
					t.Errorf("of the file that was being written: %q, %v", text[:n], err)
				}
				if err := errors.Join(r.Close(), w.Close()); err != nil {
					t.Error(err)
				}
				nothingKept(t, h)
			})
		}
	}
}
