package netfs_test

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/netfs"
)

// home is a served directory.
type home struct {
	dir string
	srv *netfs.Server
	r   *link.Router
}

const homeHost names.Host = 1

func newHome(t testing.TB, dir string) *home {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("serving and mounting a tree needs root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("no /dev/fuse: the kernel lacks FUSE")
	}
	srv, err := netfs.NewServer(netfs.ServerConfig{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	h := &home{dir: dir, srv: srv, r: link.NewRouter()}
	srv.Register(h.r)
	t.Cleanup(func() { _ = srv.Close() })
	return h
}

// helper is a host that mounts the home's tree.
type helper struct {
	*netfs.Mount
	num  names.Host
	dir  string
	home *home
	conn *link.Conn
	far  *link.Conn
}

var helperNumbers atomic.Uint32

// mount gives the home's tree on a new helper.
func (h *home) mount(t testing.TB, change ...func(*netfs.MountConfig)) *helper {
	t.Helper()
	return h.mountAs(t, h.nextHelper(), change...)
}

func (h *home) nextHelper() names.Host { return names.Host(helperNumbers.Add(1)%1000 + 2) }

func (h *home) mountAs(t testing.TB, num names.Host, change ...func(*netfs.MountConfig)) *helper {
	t.Helper()
	clients := netfs.NewClients()
	r := link.NewRouter()
	clients.Register(r)
	near, far := link.Pipe(link.Peer{Number: num, Name: "helper", Incarnation: 1},
		link.Peer{Number: homeHost, Name: "home", Incarnation: 1}, r, h.r)
	x := &helper{num: num, dir: t.TempDir(), home: h, conn: near, far: far}
	cfg := netfs.MountConfig{
		Home: homeHost, Dir: x.dir, Clients: clients,
		Conn: func(context.Context) (*link.Conn, error) {
			if err := near.Err(); err != nil {
				return nil, err
			}
			return near, nil
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	m, err := netfs.NewMount(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	x.Mount = m
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = m.Unmount(ctx)
		_ = near.Close()
		_ = far.Close()
	})
	return x
}

// sync makes what happened at home so far seen at the helper, as an exec does.
func (x *helper) sync(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	seq, err := x.home.srv.Drain(ctx, x.num)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Applied(ctx, seq); err != nil {
		t.Fatal(err)
	}
}

// flush makes what was written at the helper seen at home, as an exit does.
func (x *helper) flush(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := x.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

func (x *helper) path(p ...string) string { return filepath.Join(append([]string{x.dir}, p...)...) }
func (h *home) path(p ...string) string   { return filepath.Join(append([]string{h.dir}, p...)...) }

func put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, path, text string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != text {
		t.Fatalf("%s: got %.80q, want %.80q", path, b, text)
	}
}

func absent(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Fatalf("%s: got %v, want that it does not exist", path, err)
	}
}
