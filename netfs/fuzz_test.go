package netfs

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/netfs/fspb"
)

// FuzzEvent wants any answer of parseEvent but a panic, and progress.
func FuzzEvent(f *testing.F) {
	event := make([]byte, eventHeader, 80)
	event = append(event, unix.FAN_EVENT_INFO_TYPE_DFID_NAME, 0, 32, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 'a', '.', 'c', 0)
	event[0], event[6], event[8] = byte(len(event)), eventHeader, unix.FAN_MODIFY
	f.Add(event)
	f.Add(event[:eventHeader-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			_, rest, err := parseEvent(b)
			if err != nil {
				return
			}
			if len(rest) >= len(b) {
				t.Fatalf("no progress at %d bytes", len(b))
			}
			b = rest
		}
	})
}

// FuzzStatus reads whatever /proc may say.
func FuzzStatus(f *testing.F) {
	for _, name := range []string{"/proc/self/status", "/proc/self/stat", "/proc/1/status"} {
		if b, err := os.ReadFile(name); err == nil {
			f.Add(b)
		}
	}
	f.Add([]byte("Groups:\t4 4294967296 x 7 \nSigPnd:\tfffffffffffffffff\nNStgid:\n"))
	f.Add([]byte("1 (a) b) Z"))
	f.Fuzz(func(t *testing.T, b []byte) {
		groups := parseGroups(b)
		if len(groups) > len(b) {
			t.Fatal("more groups than bytes")
		}
		_ = parseStatus(b)
		_ = killed(b)
	})
}

func TestKilled(t *testing.T) {
	for _, c := range []struct {
		name, status string
		want         bool
	}{
		{"nothing", "SigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\nSigBlk:\t0\nSigIgn:\t0\nSigCgt:\t0\n", false},
		{"SIGKILL", "SigPnd:\t0000000000000100\nShdPnd:\t0\n", true},
		{"SIGTERM to the process", "SigPnd:\t0\nShdPnd:\t0000000000004000\nSigCgt:\t0\n", true},
		{"SIGTERM that is caught", "ShdPnd:\t0000000000004000\nSigCgt:\t0000000000004000\n", false},
		{"SIGTERM that is ignored", "ShdPnd:\t0000000000004000\nSigIgn:\t0000000000004000\n", false},
		{"SIGTERM that is blocked", "ShdPnd:\t0000000000004000\nSigBlk:\t0000000000004000\n", false},
		{"SIGCHLD", "ShdPnd:\t0000000000010000\n", false},
	} {
		if got := killed([]byte(c.status)); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

// FuzzRequest sends whatever a broken client could to each method. The server is on a file system of its own, for a made-up
// handle may name any file of it.
func FuzzRequest(f *testing.F) {
	dir := f.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,nr_inodes=100"); err != nil {
		f.Skip("a file system to break needs root: ", err)
	}
	f.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	s, err := NewServer(ServerConfig{Root: dir})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	if err := os.WriteFile(dir+"/file", bytes.Repeat([]byte("x"), 5000), 0o644); err != nil {
		f.Fatal(err)
	}
	router := link.NewRouter()
	s.Register(router)
	near, far := link.Pipe(link.Peer{Number: 2, Incarnation: 1}, link.Peer{Number: 1, Incarnation: 1}, link.NewRouter(), router)
	f.Cleanup(func() { _, _ = near.Close(), far.Close() })
	attach, err := proto.Marshal(&fspb.Op{Mount: 1})
	if err != nil {
		f.Fatal(err)
	}
	if _, err := near.Call(f.Context(), "fs.attach", attach, nil); err != nil {
		f.Fatal(err)
	}
	methods := []string{
		"fs.attach", "fs.lookup", "fs.readdir", "fs.getattr", "fs.readlink", "fs.mkdir", "fs.mknod", "fs.symlink", "fs.link",
		"fs.unlink", "fs.rename", "fs.unpin", "fs.read", "fs.create", "fs.tmpfile", "fs.acquire", "fs.release", "fs.write", "fs.setattr",
		"fs.allocate", "fs.copy", "fs.seek", "fs.sync", "fs.statfs", "fs.xattr", "fs.lock", "fs.fifo.open", "fs.fifo.read", "fs.fifo.write", "fs.fifo.close",
	}
	x, err := s.child(mustGet(f, s, s.root), []byte("file"))
	if err != nil {
		f.Fatal(err)
	}
	for i := range methods {
		for _, op := range []*fspb.Op{
			{},
			{Mount: 1, Id: []byte(s.root), Name: []byte("new")},
			{Mount: 1, Id: []byte(x.id), Off: -1, Len: 1 << 62},
			{Mount: 1, Id: []byte(x.id), Id2: []byte(s.root), Name: []byte("../x"), Name2: []byte("n"), Flags: ^uint32(0), Set: &fspb.Set{Size: proto.Int64(-1)}},
			{Mount: 9, Id: []byte("short"), Lock: &fspb.Lock{Start: ^uint64(0), Type: 99}},
		} {
			b, err := proto.Marshal(op)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(byte(i), b, []byte("body"))
		}
	}
	f.Fuzz(func(t *testing.T, which byte, header, body []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // locks and fifos wait
		defer cancel()
		_, _ = near.Call(ctx, methods[int(which)%len(methods)], header, body)
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := near.Call(ctx, "fs.attach", attach, nil); err != nil {
			t.Fatalf("the server does not serve any more: %v", err)
		}
	})
}

func mustGet(f *testing.F, s *Server, id string) *obj {
	x, err := s.files.get(id)
	if err != nil {
		f.Fatal(err)
	}
	return x
}
