package dev

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a home and a helper joined in memory.
type rig struct {
	t      *testing.T
	server *Server
	client *Client
	conn   *link.Conn // the helper's end
	home   *link.Conn
}

func newRig(t *testing.T) *rig {
	t.Helper()
	server, err := NewServer(t.TempDir(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, server: server, client: NewClient(nil)}
	router := link.NewRouter()
	r.server.Register(router)
	home, helper := link.Peer{Number: 1, Name: "h1", Incarnation: 1}, link.Peer{Number: 2, Name: "h2", Incarnation: 1}
	r.conn, r.home = link.Pipe(helper, home, link.NewRouter(), router)
	t.Cleanup(func() {
		r.conn.Close()
		r.home.Close()
	})
	return r
}

// open ships files, numbered from first, to the helper.
func (r *rig) open(o Options, first int, files ...*os.File) ([]FD, *Set) {
	r.t.Helper()
	ns := make([]int, len(files))
	for i := range ns {
		ns[i] = first + i
	}
	desc, release, err := r.server.Describe(0, 0, ns, files)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(release)
	fds, set, err := r.client.Open(r.t.Context(), r.conn, desc, o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(set.Close)
	return fds, set
}

// start runs a shell script with what the helper was given as descriptors 0, 1 and 2; nought where nothing is.
func (r *rig) start(script string, fds []FD, set *Set) *exec.Cmd {
	r.t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	for _, fd := range fds {
		f := fd.File
		if f == nil {
			n, err := unix.Open(fd.Path, fd.Flags|unix.O_CLOEXEC, 0)
			if err != nil {
				r.t.Fatal(err)
			}
			f = os.NewFile(uintptr(n), fd.Path)
			defer f.Close()
		}
		switch fd.N {
		case 0:
			cmd.Stdin = f
		case 1:
			cmd.Stdout = f
		case 2:
			cmd.Stderr = f
		default:
			r.t.Fatalf("descriptor %d in a test of three", fd.N)
		}
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	set.Release()
	return cmd
}

// run runs a script to its end and drains.
func (r *rig) run(script string, fds []FD, set *Set) syscall.WaitStatus {
	r.t.Helper()
	cmd := r.start(script, fds, set)
	_ = cmd.Wait() // the status says it
	r.drain(set)
	return cmd.ProcessState.Sys().(syscall.WaitStatus)
}

func (r *rig) drain(set *Set) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	if err := set.Drain(ctx); err != nil {
		r.t.Fatal(err)
	}
}

// newPipe makes a blocking pipe, as a shell does; os.Pipe's is not.
func newPipe(t *testing.T) (rd, wr *os.File) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	rd, wr = os.NewFile(uintptr(p[0]), "read end"), os.NewFile(uintptr(p[1]), "write end")
	t.Cleanup(func() { rd.Close(); wr.Close() })
	return rd, wr
}

func write(t *testing.T, f *os.File, s string) {
	t.Helper()
	if _, err := io.WriteString(f, s); err != nil {
		t.Fatal(err)
	}
}

// available reads what is in a pipe now.
func available(t *testing.T, f *os.File) string {
	t.Helper()
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCINQ)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(f, buf); err != nil {
		t.Fatal(err)
	}
	return string(buf)
}

// fuseShipper gives each object a file of a FUSE mount: the least that a file server does for this room.
type fuseShipper struct {
	dir  string
	root *fs.Inode
	mu   sync.Mutex
	n    int
}

func newFuseShipper(t *testing.T) *fuseShipper {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts FUSE")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("needs /dev/fuse")
	}
	root := &fs.Inode{}
	s := &fuseShipper{dir: t.TempDir(), root: root}
	srv, err := fs.Mount(s.dir, root, &fs.Options{MountOptions: fuse.MountOptions{DirectMount: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *fuseShipper) Ship(o *Object) (string, func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	name := fmt.Sprint(s.n)
	node := s.root.NewPersistentInode(context.Background(), &shippedNode{o: o}, fs.StableAttr{Mode: unix.S_IFREG})
	s.root.AddChild(name, node, true)
	return filepath.Join(s.dir, name), func() {}, nil
}

type shippedNode struct {
	fs.Inode
	o *Object
}

func (n *shippedNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode = unix.S_IFREG | 0o666
	return 0
}

func (n *shippedNode) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return n, fuse.FOPEN_DIRECT_IO | fuse.FOPEN_STREAM, 0
}

func (n *shippedNode) Read(ctx context.Context, _ fs.FileHandle, dest []byte, _ int64) (fuse.ReadResult, syscall.Errno) {
	b, err := n.o.Read(ctx, len(dest))
	if err != nil {
		return nil, fs.ToErrno(err)
	}
	return fuse.ReadResultData(b), 0
}

func (n *shippedNode) Write(ctx context.Context, _ fs.FileHandle, p []byte, _ int64) (uint32, syscall.Errno) {
	k, err := n.o.Write(ctx, p)
	if k > 0 {
		err = nil
	}
	return uint32(k), fs.ToErrno(err)
}
