package netfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/onehost/onehost/netfs"
)

func hold(d time.Duration) func(*netfs.MountConfig) {
	return func(c *netfs.MountConfig) { c.Hold = d }
}

// TestGoesHomeByItself has natives see what is written elsewhere, though nothing asks for it: of files that are closed and of such as are written on.
func TestGoesHomeByItself(t *testing.T) {
	h := newHome(t, t.TempDir())
	put(t, h.path("old"), "old\n")
	c := h.wire(t, hold(40*time.Millisecond))
	put(t, c.path("closed"), "closed")
	eventually(t, "a closed file is at home", reads(h.path("closed"), "closed"))
	large := strings.Repeat("0123456789abcdef", 60_000)
	put(t, c.path("large"), large)
	eventually(t, "a large file is at home", reads(h.path("large"), large))
	want(t, c.path("large"), large)
	for _, name := range []string{"log", "old"} {
		f, err := os.OpenFile(c.path(name), os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		text := ""
		for i := range 5 {
			line := fmt.Sprintln("line", i)
			text += line
			if _, err := f.WriteString(line); err != nil {
				t.Fatal(err)
			}
			eventually(t, name+" is read as far as it is written", reads(h.path(name), text))
			if st, err := f.Stat(); err != nil || st.Size() != int64(len(text)) {
				t.Fatal(st, err)
			}
		}
	}
	// While the home is away nobody waits for it, and afterwards it comes to know.
	c.pull(true)
	f, err := os.OpenFile(c.path("closed"), os.O_WRONLY, 0)
	if err == nil {
		f.Close()
	}
	want(t, c.path("log"), "line 0\nline 1\nline 2\nline 3\nline 4\n")
	c.plug()
	put(t, c.path("after"), "after")
	c.pull(false)
	eventually(t, "what was held when the connection broke is at home", reads(h.path("after"), "after"))
}

// TestShortLived removes a file within the time that writes are held back: nothing of it must have crossed, as who has it open at home sees.
func TestShortLived(t *testing.T) {
	h := newHome(t, t.TempDir())
	x := h.mount(t, hold(time.Hour))
	f, err := os.Create(x.path("tmp"))
	if err != nil {
		t.Fatal(err)
	}
	native, err := os.Open(h.path("tmp"))
	if err != nil {
		t.Fatal(err)
	}
	defer native.Close()
	if _, err := f.WriteString("never crosses"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), os.Remove(x.path("tmp"))); err != nil {
		t.Fatal(err)
	}
	x.flush(t)
	if st, err := native.Stat(); err != nil || st.Size() != 0 {
		t.Errorf("%d bytes have crossed: %v", st.Size(), err)
	}
}

// TestNoSpaceLater fills the home's file system by what goes home by itself: who closes the file must hear of it.
func TestNoSpaceLater(t *testing.T) {
	h := newHome(t, tmpfs(t, "size=512k"))
	x := h.mount(t, hold(30*time.Millisecond))
	f, err := os.Create(x.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() // before the mount goes, or this process waits for itself
	if _, err := f.Write(bytes.Repeat([]byte("x"), 900<<10)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rest is given up", func() bool { return x.Held() == 0 })
	if err := f.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("close gives %v", err)
	}
}
