package netfs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/netfs"
)

// cable is a connection that can be pulled, and comes back by itself.
type cable struct {
	*helper
	mu        sync.Mutex
	near, far *link.Conn
	life      names.Incarnation // of the home, as the next connection says
	pulled    bool              // and stays so
	connect   func() (near, far *link.Conn)
}

func (h *home) wire(t testing.TB, change ...func(*netfs.MountConfig)) *cable {
	c, num := &cable{life: 1}, h.nextHelper()
	var clients *netfs.Clients
	c.connect = func() (*link.Conn, *link.Conn) {
		r := link.NewRouter()
		clients.Register(r)
		return link.Pipe(link.Peer{Number: num, Name: "helper", Incarnation: 1},
			link.Peer{Number: homeHost, Name: "home", Incarnation: c.life}, r, h.r)
	}
	change = append(change, func(cfg *netfs.MountConfig) {
		clients = cfg.Clients
		cfg.Conn = func(context.Context) (*link.Conn, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.pulled {
				return nil, os.ErrDeadlineExceeded
			}
			if c.near == nil || c.near.Err() != nil {
				c.near, c.far = c.connect()
			}
			return c.near, nil
		}
	})
	c.helper = h.mountAs(t, num, change...)
	t.Cleanup(func() { c.pull(true) })
	return c
}

func (c *cable) pull(stay bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled = stay
	if c.near != nil {
		_, _ = c.near.Close(), c.far.Close()
	}
}

func (c *cable) plug() {
	c.mu.Lock()
	c.pulled = false
	c.mu.Unlock()
}

// TestReconnect loses the connection for a moment in the middle of things.
func TestReconnect(t *testing.T) {
	for name, f := range map[string]func(t *testing.T, h *home, c *cable){
		"nothing stale": func(t *testing.T, h *home, c *cable) {
			put(t, h.path("f"), "old")
			want(t, c.path("f"), "old")
			absent(t, c.path("new"))
			c.pull(false)
			put(t, h.path("f"), "changed") // nobody is told
			put(t, h.path("new"), "new")
			c.sync(t)
			want(t, c.path("f"), "changed")
			want(t, c.path("new"), "new")
		},
		"a change before the home sees the loss": func(t *testing.T, h *home, c *cable) {
			put(t, h.path("f"), "old")
			want(t, c.path("f"), "old")
			_ = c.near.Close() // c.far learns of it later
			put(t, h.path("f"), "changed")
			c.sync(t)
			want(t, c.path("f"), "changed")
		},
		"what is held back is written by the next connection": func(t *testing.T, h *home, c *cable) {
			put(t, c.path("f"), strings.Repeat("z", 3<<20))
			c.pull(false)
			want(t, c.path("f"), strings.Repeat("z", 3<<20))
			c.flush(t)
			want(t, h.path("f"), strings.Repeat("z", 3<<20))
		},
		"a home away for longer loses nothing": func(t *testing.T, h *home, c *cable) {
			put(t, c.path("f"), "kept")
			c.pull(true)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := c.Flush(ctx); err == nil {
				t.Fatal("a flush to nowhere says it is done")
			}
			c.plug()
			c.flush(t)
			want(t, h.path("f"), "kept")
		},
		"an open file is written on": func(t *testing.T, h *home, c *cable) {
			f, err := os.Create(c.path("f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for i := range 40 {
				if i%8 == 3 {
					c.pull(false)
				}
				if _, err := f.WriteString(strings.Repeat(string(rune('a'+i%26)), 100<<10)); err != nil {
					t.Fatal(err)
				}
			}
			c.flush(t)
			b, err := os.ReadFile(h.path("f"))
			if err != nil || len(b) != 4000<<10 {
				t.Fatal(len(b), err)
			}
			for i := range 40 {
				if b[i*100<<10] != byte('a'+i%26) || b[(i+1)*100<<10-1] != byte('a'+i%26) {
					t.Fatalf("piece %d is %q", i, b[i*100<<10])
				}
			}
		},
		"a home that was started again": func(t *testing.T, h *home, c *cable) {
			put(t, h.path("f"), "x")
			want(t, c.path("f"), "x")
			c.mu.Lock()
			c.life = 2
			c.mu.Unlock()
			c.pull(false)
			// Until the end of the connection is noticed, what is known of the directory answers; and what it has answered of
			// a name the kernel keeps.
			begin := time.Now()
			for i := 0; ; i++ {
				_, err := os.Stat(c.path(fmt.Sprint("other", i)))
				if errors.Is(err, syscall.EHOSTDOWN) {
					break
				}
				if time.Since(begin) > 10*time.Second {
					t.Fatalf("got %v, want EHOSTDOWN: its numbers of files mean something else", err)
				}
				<-time.After(time.Millisecond)
			}
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			h := newHome(t, t.TempDir())
			f(t, h, h.wire(t))
		})
	}
}

// TestMountedOn mounts on directories of a mount, and has their names become doubtful in each way there is.
func TestMountedOn(t *testing.T) {
	h := newHome(t, t.TempDir())
	for _, d := range []string{"dev", "sub/deep"} {
		if err := os.MkdirAll(h.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := h.wire(t, func(cfg *netfs.MountConfig) { cfg.Keep = []string{"dev"} })
	points := []string{c.path("dev"), c.path("sub", "deep")}
	for _, p := range points {
		if err := unix.Mount("tmpfs", p, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(p, unix.MNT_DETACH) })
		put(t, filepath.Join(p, "mine"), "here")
	}
	look := func(after string) {
		t.Helper()
		c.sync(t)
		for _, p := range points {
			if b, err := os.ReadFile(filepath.Join(p, "mine")); err != nil || string(b) != "here" {
				t.Fatalf("after %s: %s is not mounted any more: %v", after, p, err)
			}
		}
	}
	look("the start")
	c.pull(false)
	look("a lost connection")
	if err := os.Chmod(h.path("sub/deep"), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(h.path("dev"), 0o711); err != nil {
		t.Fatal(err)
	}
	look("a chmod")
	put(t, h.path("sub/deep/f"), "x")
	put(t, h.path("f"), "x")
	look("new files")
	if err := os.Rename(h.path("sub"), h.path("bus")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(h.path("bus"), h.path("sub")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(h.path("dev"), h.path("ved")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(h.path("ved"), h.path("dev")); err != nil {
		t.Fatal(err)
	}
	look("names that came back")
	if err := os.RemoveAll(h.path("dev")); err != nil {
		t.Fatal(err)
	}
	look("the removal of one that is to be kept")
	if err := os.RemoveAll(h.path("sub/deep")); err != nil {
		t.Fatal(err)
	}
	c.sync(t)
	absent(t, c.path("sub", "deep"))
}
