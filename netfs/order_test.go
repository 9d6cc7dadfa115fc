package netfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// signal is a way by which one program tells another that it has done something: tell comes after that, hear before the other looks.
type signal struct{ tell, hear func() }

// byFifo tells from one end of a fifo of the home to the other.
func byFifo(t *testing.T, from, to string) signal {
	t.Helper()
	open := func(path string) *os.File {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	w, r := open(from), open(to)
	return signal{
		tell: func() {
			if _, err := w.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
		},
		hear: func() {
			if n, err := r.Read(make([]byte, 1)); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		},
	}
}

// byLock tells by giving back a lock, in one of three ways.
func byLock(t *testing.T, from, to string, closes, record bool) signal {
	t.Helper()
	lock := func(path string) *os.File {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if record {
			err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLKW, &unix.Flock_t{Type: unix.F_WRLCK})
		} else {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		}
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	held := lock(from)
	t.Cleanup(func() { held.Close() })
	return signal{
		tell: func() {
			if !closes {
				var err error
				if record {
					err = unix.FcntlFlock(held.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK})
				} else {
					err = unix.Flock(int(held.Fd()), unix.LOCK_UN)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			held.Close()
		},
		hear: func() {
			lock(to).Close()
			held = lock(from)
		},
	}
}

// TestWhoIsToldKnows: what a program did before it told another by a fifo or a lock, that one sees: names, data of files that it has read before or has open,
// and what is gone. From home to a helper, back, and between helpers.
func TestWhoIsToldKnows(t *testing.T) {
	h := newHome(t, t.TempDir())
	x, y := h.mount(t), h.mount(t)
	if err := unix.Mkfifo(h.path("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, h.path("lock"), "")
	ways := map[string]func(t *testing.T, from, to func(...string) string) signal{
		"fifo": func(t *testing.T, from, to func(...string) string) signal { return byFifo(t, from("fifo"), to("fifo")) },
		"flock": func(t *testing.T, from, to func(...string) string) signal {
			return byLock(t, from("lock"), to("lock"), false, false)
		},
		"record": func(t *testing.T, from, to func(...string) string) signal {
			return byLock(t, from("lock"), to("lock"), false, true)
		},
		"close": func(t *testing.T, from, to func(...string) string) signal {
			return byLock(t, from("lock"), to("lock"), true, false)
		},
	}
	for _, route := range []struct {
		name     string
		from, to func(...string) string
	}{{"from home", h.path, x.path}, {"to home", x.path, h.path}, {"between helpers", x.path, y.path}} {
		for name, way := range ways {
			t.Run(route.name+" by "+name, func(t *testing.T) {
				// The file is as long all the time: one that has grown would be seen to by its size.
				put(t, h.path("data"), "00000")
				put(t, h.path("gone"), "")
				seen, err := os.Open(route.to("data"))
				if err != nil {
					t.Fatal(err)
				}
				defer seen.Close()
				data, err := os.OpenFile(route.from("data"), os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer data.Close()
				w := way(t, route.from, route.to)
				for i := range 200 {
					dir, last := fmt.Sprintf("made.%d", i), fmt.Sprintf("made.%d", i-1)
					if _, err := os.Stat(route.to(dir)); !errors.Is(err, fs.ErrNotExist) {
						t.Fatal("it is there before", err)
					}
					text := fmt.Sprintf("%05d", i)
					if _, err := data.WriteAt([]byte(text), 0); err != nil {
						t.Fatal(err)
					}
					if err := os.Mkdir(route.from(dir), 0o700); err != nil {
						t.Fatal(err)
					}
					if err := os.Remove(route.from(last)); err != nil && i > 0 {
						t.Fatal(err)
					}
					w.tell()
					w.hear()
					b := make([]byte, 10)
					if n, _ := seen.ReadAt(b, 0); string(b[:n]) != text {
						t.Fatalf("the data is %q, want %q", b[:n], text)
					}
					if _, err := os.Stat(route.to(dir)); err != nil {
						t.Fatal("what was made:", err)
					}
					if _, err := os.Stat(route.to(last)); !errors.Is(err, fs.ErrNotExist) {
						t.Fatal("what was removed:", err)
					}
				}
				if err := os.Remove(route.from("made.199")); err != nil {
					t.Fatal(err)
				}
				x.sync(t)
				y.sync(t)
			})
		}
	}
}

// TestErrorOfWhatWasBrought: what could not be written when another was told is an error for who closes the file.
func TestErrorOfWhatWasBrought(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("needs to mount a tmpfs:", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	h := newHome(t, dir)
	put(t, h.path("lock"), "")
	x := h.mount(t)
	f, err := os.Create(x.path("much"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 300<<10)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.path("filler"), make([]byte, 2<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal("there is room still:", err)
	}
	l, err := os.OpenFile(x.path("lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := unix.Flock(int(l.Fd()), unix.LOCK_EX); err != nil {
		t.Error("the lock has nothing to do with it:", err)
	}
	if err := f.Close(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("the close gave %v", err)
	}
}
