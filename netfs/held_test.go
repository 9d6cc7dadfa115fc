package netfs_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/netfs"
	"github.com/onehost/onehost/netfs/fspb"
)

// TestSizeOfPieces writes to a file that was there before in pieces that are apart, and asks for its size in between.
func TestSizeOfPieces(t *testing.T) {
	h := newHome(t, t.TempDir())
	put(t, h.path("f"), strings.Repeat("x", 100))
	x := h.mount(t)
	f, err := os.OpenFile(x.path("f"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, at := range []int64{0, 200, 50, 7000} {
		if _, err := f.WriteAt([]byte("piece"), at); err != nil {
			t.Fatal(err)
		}
		if st, err := f.Stat(); err != nil || st.Size() != max(100, at+5) && at != 50 {
			t.Errorf("after a piece at %d: %v, %d bytes", at, err, st.Size())
		}
		b := make([]byte, 10)
		if n, err := f.ReadAt(b, at); string(b[:min(n, 5)]) != "piece" {
			t.Errorf("of the piece at %d was read %q, %v", at, b[:n], err)
		}
	}
}

// TestHeldChangedAtHome has attributes of a file change at home while what a helper wrote to it is not there yet.
func TestHeldChangedAtHome(t *testing.T) {
	h := newHome(t, t.TempDir())
	x := h.mount(t)
	put(t, x.path("f"), "held back")
	if err := os.Chmod(h.path("f"), 0o751); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(h.path("f"), h.path("g")); err != nil {
		t.Fatal(err)
	}
	x.sync(t)
	var st unix.Stat_t
	if err := unix.Stat(x.path("f"), &st); err != nil || st.Mode&0o777 != 0o751 || st.Nlink != 2 || st.Size != 9 {
		t.Errorf("%v, mode %#o, %d names, %d bytes", err, st.Mode, st.Nlink, st.Size)
	}
	// With one of its names what is held must not go.
	if err := os.Remove(x.path("f")); err != nil {
		t.Fatal(err)
	}
	x.flush(t)
	want(t, h.path("g"), "held back")
}

// TestRewrittenAtHome has a native write to a file that a helper still has open for writing, though all of that is at home.
func TestRewrittenAtHome(t *testing.T) {
	h := newHome(t, t.TempDir())
	x := h.mount(t)
	f, err := os.Create(x.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("from the helper"); err != nil {
		t.Fatal(err)
	}
	x.flush(t)
	put(t, h.path("f"), "from home")
	x.sync(t)
	want(t, x.path("f"), "from home")
}

// TestAppendElsewhere appends from two hosts, each of which takes the file for as long as it left it.
func TestAppendElsewhere(t *testing.T) {
	for _, noOpen := range []bool{false, true} {
		h := newHome(t, t.TempDir())
		put(t, h.path("log"), "begin\n")
		mode := func(c *netfs.MountConfig) { c.NoOpen = noOpen }
		hosts := []*helper{h.mount(t, mode), h.mount(t, mode)}
		var files []*os.File
		for _, x := range hosts {
			f, err := os.OpenFile(x.path("log"), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			files = append(files, f)
		}
		text := "begin\n"
		for i := range 20 {
			line := strings.Repeat(string(rune('a'+i)), 500*i) + "\n"
			text += line
			if _, err := files[i%2].WriteString(line); err != nil {
				t.Fatal(err)
			}
			hosts[1-i%2].sync(t)
			if i%3 == 0 {
				want(t, hosts[i%2].path("log"), text)
			}
		}
		want(t, h.path("log"), text)
	}
}

// TestNoOpenKeepsNothing writes through a mount without opens, and then at home.
func TestNoOpenKeepsNothing(t *testing.T) {
	h := newHome(t, t.TempDir())
	x := h.mount(t, func(c *netfs.MountConfig) { c.NoOpen = true })
	put(t, x.path("f"), "from the helper")
	put(t, x.path("empty"), "")
	want(t, x.path("f"), "from the helper")
	put(t, h.path("f"), "from home")
	x.sync(t)
	want(t, x.path("f"), "from home")
	_ = x.far.Close()
	h.srv.DropClient(x.num, 1) // the empty file is no file that something was held back of
	want(t, h.path("empty"), "")
}

// TestCreateEmpties has a host that takes a name for free make the file, and empty it if it is there, after another wrote to it.
func TestCreateEmpties(t *testing.T) {
	h := newHome(t, t.TempDir())
	x := h.mount(t)
	f, err := os.Create(x.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("held back"); err != nil {
		t.Fatal(err)
	}
	near, far := link.Pipe(link.Peer{Number: 1500, Incarnation: 1}, link.Peer{Number: homeHost, Incarnation: 1}, link.NewRouter(), h.r)
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	call := func(method string, op *fspb.Op) *fspb.Result {
		b, err := proto.Marshal(op)
		if err != nil {
			t.Fatal(err)
		}
		rep, err := near.Call(t.Context(), method, b, nil)
		if err != nil {
			t.Fatal(err)
		}
		res := &fspb.Result{}
		if err := proto.Unmarshal(rep.Header, res); err != nil {
			t.Fatal(err)
		}
		return res
	}
	root := call("fs.attach", &fspb.Op{Mount: 1}).Entry.Id
	res := call("fs.create", &fspb.Op{Mount: 1, Id: root, Name: []byte("f"), Mode: 0o644, Flags: unix.O_WRONLY | unix.O_TRUNC})
	if res.Entry.Attr.Size != 0 {
		t.Errorf("the file that was emptied has %d bytes", res.Entry.Attr.Size)
	}
	want(t, h.path("f"), "")
}
