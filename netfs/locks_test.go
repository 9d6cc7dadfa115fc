package netfs_test

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/netfs"
)

func openLock(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// lockedAtHome reports whether somebody keeps others from writing to a file.
func lockedAtHome(t *testing.T, path string) bool {
	t.Helper()
	f := openLock(t, path, os.O_RDWR)
	defer f.Close()
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}) != nil || unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}

// TestAskingForLocksKeepsNothing: who only asks whose lock is in the way leaves no descriptor at home, and is told of the locks of others, not of its own.
func TestAskingForLocksKeepsNothing(t *testing.T) {
	h := newHome(t, t.TempDir())
	put(t, h.path("f"), "")
	x := h.mount(t)
	asked := func(f *os.File, cmd int) int16 {
		t.Helper()
		l := unix.Flock_t{Type: unix.F_WRLCK}
		if err := unix.FcntlFlock(f.Fd(), cmd, &l); err != nil {
			t.Fatal(err)
		}
		return l.Type
	}
	f := openLock(t, x.path("f"), os.O_RDWR)
	var others []*os.File
	for range 10 {
		others = append(others, openLock(t, x.path("f"), os.O_RDWR)) // an owner each
	}
	before := openHere(t, h.path("f"))
	for _, g := range others {
		if got := asked(g, unix.F_OFD_GETLK); got != unix.F_UNLCK {
			t.Fatalf("an unlocked file: %d", got)
		}
	}
	if got := openHere(t, h.path("f")); got > before {
		t.Errorf("%d descriptors of the file at home, %d before it was asked for locks", got, before)
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Len: 10}); err != nil {
		t.Fatal(err)
	}
	if got := asked(f, unix.F_OFD_GETLK); got != unix.F_UNLCK {
		t.Errorf("its own lock is in its way: %d", got)
	}
	if got := asked(openLock(t, x.path("f"), os.O_RDWR), unix.F_OFD_GETLK); got != unix.F_WRLCK {
		t.Errorf("the lock of another open file: %d", got)
	}
}

// openHere counts this process's descriptors of a file.
func openHere(t *testing.T, path string) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range all {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && to == path {
			n++
		}
	}
	return n
}

// TestLocksEndWithTheirFile: locks of all kinds end when the file is closed, those of open files and of processes that only read among them.
func TestLocksEndWithTheirFile(t *testing.T) {
	h := newHome(t, t.TempDir())
	put(t, h.path("f"), "")
	x := h.mount(t)
	for _, c := range []struct {
		name      string
		open, cmd int
		lock      int16
	}{
		{"an open file's", os.O_RDWR, unix.F_OFD_SETLK, unix.F_WRLCK},
		{"an open file's, shared", os.O_RDONLY, unix.F_OFD_SETLK, unix.F_RDLCK},
		{"a process's", os.O_RDWR, unix.F_SETLK, unix.F_WRLCK},
		{"a reading process's", os.O_RDONLY, unix.F_SETLK, unix.F_RDLCK},
		{"flock", os.O_RDWR, 0, 0},
		{"flock of a reader", os.O_RDONLY, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := openLock(t, x.path("f"), c.open)
			var err error
			if c.cmd != 0 {
				err = unix.FcntlFlock(f.Fd(), c.cmd, &unix.Flock_t{Type: c.lock})
			} else {
				err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
			}
			if err != nil {
				t.Fatal(err)
			}
			again, err := unix.Dup(int(f.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			if c.cmd != unix.F_SETLK { // a process's end with the first close
				f.Close()
			}
			if !lockedAtHome(t, h.path("f")) {
				t.Error("it is not locked")
			}
			f.Close()
			_ = unix.Close(again)
			for end := time.Now().Add(5 * time.Second); lockedAtHome(t, h.path("f")); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("it is locked for ever")
				}
			}
		})
	}
}

// TestLockAfterClose: the end of an open file, of which the kernel tells when it likes, takes no lock away that the same process has taken since.
func TestLockAfterClose(t *testing.T) {
	h := newHome(t, t.TempDir())
	put(t, h.path("f"), "")
	x := h.mount(t)
	lock := func(flags int, kind int16) *os.File {
		f := openLock(t, x.path("f"), flags)
		if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: kind}); err != nil {
			t.Fatal(err)
		}
		return f
	}
	for i := range 500 {
		lock(os.O_RDONLY, unix.F_RDLCK).Close() // of which the kernel tells us at the last close only
		f := lock(os.O_RDWR, unix.F_WRLCK)
		if i%10 == 0 {
			time.Sleep(time.Millisecond) // it has come by now
		}
		if !lockedAtHome(t, h.path("f")) {
			t.Fatal("the lock is lost, in round", i)
		}
		f.Close()
	}
}

// TestClosedLockIsInNobodysWay: whoever tries a lock just after its holder has closed the file gets it, though the kernel has not told us of that close yet.
func TestClosedLockIsInNobodysWay(t *testing.T) {
	h := newHome(t, t.TempDir())
	put(t, h.path("f"), "")
	x := h.mount(t)
	for _, way := range []struct {
		name string
		try  func(f *os.File) error
	}{
		{"flock", func(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }},
		{"an open file's", func(f *os.File) error {
			return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		}},
		{"an open file's, asked for", func(f *os.File) error {
			l := unix.Flock_t{Type: unix.F_WRLCK}
			if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil || l.Type != unix.F_UNLCK {
				return errors.Join(err, syscall.EAGAIN)
			}
			return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			next := openLock(t, x.path("f"), os.O_RDWR)
			for i := range 500 {
				f := next
				next = openLock(t, x.path("f"), os.O_RDWR) // beforehand, so that it is another owner
				if err := way.try(f); err != nil {
					t.Fatalf("round %d: %v", i, err)
				}
				if i%100 == 0 { // which takes a while, for it may be closed
					if err := way.try(next); !errors.Is(err, syscall.EAGAIN) {
						t.Fatalf("round %d: the lock of another is no hindrance: %v", i, err)
					}
				}
				f.Close()
			}
			next.Close()
		})
	}
}

// TestLocksWithoutOpens: where the kernel tells of no close, locks last until what runs together has ended.
func TestLocksWithoutOpens(t *testing.T) {
	h := newHome(t, t.TempDir())
	put(t, h.path("one"), "")
	put(t, h.path("two"), "")
	x := h.mount(t, func(c *netfs.MountConfig) { c.NoOpen = true })
	end := x.apart(t, `sh -c 'exec 9<one; flock 9; :'
		sh -c 'exec 9<two; flock 9; echo; read x; :'`)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := x.FlushEnded(ctx); err != nil {
		t.Fatal(err)
	}
	if lockedAtHome(t, h.path("one")) {
		t.Error("what has ended has a lock")
	}
	if !lockedAtHome(t, h.path("two")) {
		t.Error("what runs has lost its lock")
	}
	end()
	if err := x.FlushEnded(ctx); err != nil {
		t.Fatal(err)
	}
	if lockedAtHome(t, h.path("two")) {
		t.Error("what has ended has a lock")
	}
}
