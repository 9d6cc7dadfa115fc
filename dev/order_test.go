package dev

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
)

// ends makes a pair of what has two ends, and a file which is its own other end.
func ends(t *testing.T, kind string) (near, far *os.File) {
	t.Helper()
	switch kind {
	case "pipe":
		return newPipe(t)
	case "socket":
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		near, far = os.NewFile(uintptr(fds[0]), "near"), os.NewFile(uintptr(fds[1]), "far")
	case "file":
		f, err := os.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("file"); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		near, far = f, f
	}
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return near, far
}

// TestReadersKnowWhatWentBefore: what was read from a stream comes after what happened at home before it was there to be read, also when the answer is
// given again; an error of either side loses nothing.
func TestReadersKnowWhatWentBefore(t *testing.T) {
	for _, c := range []struct {
		kind  string
		fails error // of the home
		late  error // of the helper
		known uint64
	}{
		{kind: "pipe", known: 17},
		{kind: "socket", known: 17},
		{kind: "socket", late: context.DeadlineExceeded, known: 17},
		{kind: "pipe", fails: errors.New("events are lost")},
		{kind: "file"},
	} {
		t.Run(c.kind, func(t *testing.T) {
			r := newRig(t)
			near, far := ends(t, c.kind)
			asked := make(chan names.Host, 1)
			r.server.past = func(ctx context.Context, to names.Host) (uint64, error) {
				asked <- to
				return c.known, errors.Join(ctx.Err(), c.fails)
			}
			if far != near {
				if _, err := far.WriteString("file"); err != nil {
					t.Fatal(err)
				}
			}
			var known atomic.Uint64
			desc, _, err := r.server.Describe(0, 0, []int{0}, []*os.File{near})
			if err != nil {
				t.Fatal(err)
			}
			ds, err := Unmarshal(desc)
			if err != nil {
				t.Fatal(err)
			}
			o := newObject(newLine(r.conn, Options{AfterRead: func(_ context.Context, seq uint64) error {
				if len(asked) != 1 {
					t.Error("the home was not asked first")
				}
				known.Store(seq)
				return c.late
			}}), &r.client.seq, ds[0], t.Context())
			b, err := o.Read(t.Context(), 100)
			if err != nil || string(b) != "file" {
				t.Fatalf("%q, %v", b, err)
			}
			if known.Load() != c.known {
				t.Errorf("the reader knows %d, want %d", known.Load(), c.known)
			}
			if c.kind == "file" {
				if len(asked) > 0 {
					t.Error("a file tells of nothing")
				}
				return
			}
			if to := <-asked; to != 2 {
				t.Errorf("asked for host %d", to)
			}
			// The same operation once more, as after a loss of the connection that its answer came by.
			rep, err := r.conn.Call(t.Context(), readMethod, encode(ds[0].ID, 1, 100), nil)
			if r.server.dir != "" && (err != nil || string(rep.Body) != "file") {
				t.Fatalf("%q, %v", rep.Body, err)
			}
			if v, err := header(rep.Header, 1); err != nil || v[0] != c.known || len(asked) != 1 {
				t.Errorf("the answer given again: %v, %v", v, err)
			}
		})
	}
}

// TestFilesGoBeforeWhatIsWritten: what was written to files is brought home before anything goes into a stream, and not for a file.
func TestFilesGoBeforeWhatIsWritten(t *testing.T) {
	for _, kind := range []string{"pipe", "socket", "file"} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t)
			far, near := ends(t, kind)
			desc, _, err := r.server.Describe(0, 0, []int{0}, []*os.File{near})
			if err != nil {
				t.Fatal(err)
			}
			ds, err := Unmarshal(desc)
			if err != nil {
				t.Fatal(err)
			}
			brought := 0
			full := errors.New("the disk is full")
			var fails error
			o := newObject(newLine(r.conn, Options{BeforeForward: func(context.Context) error {
				brought++
				if n, err := unix.IoctlGetInt(int(far.Fd()), unix.TIOCINQ); err != nil || n > 0 {
					t.Errorf("%d bytes were there before, %v", n, err)
				}
				return fails
			}}), &r.client.seq, ds[0], t.Context())
			if n, err := o.Write(t.Context(), []byte("text")); n != 4 || err != nil {
				t.Fatalf("%d, %v", n, err)
			}
			want := 1
			if kind == "file" {
				want = 0
			}
			if brought != want {
				t.Errorf("files were brought %d times, want %d", brought, want)
			}
			b := make([]byte, 10)
			if kind == "file" {
				return
			}
			if n, err := far.Read(b); string(b[:n]) != "text" {
				t.Errorf("%q, %v", b[:n], err)
			}
			fails = full
			if n, err := o.Write(t.Context(), []byte("text")); n != 0 || !errors.Is(err, full) {
				t.Errorf("with what cannot be brought: %d, %v", n, err)
			}
		})
	}
}
