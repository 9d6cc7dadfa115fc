package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/netfs"
	"github.com/onehost/onehost/proc/carrier"
	"github.com/onehost/onehost/proc/jobs"
	"github.com/onehost/onehost/proc/nest"
)

// mostlyRead are the trees of a home that programs open far more often than anyone writes to them. They are laid over the
// nest's root from a mount on which open and close never leave the kernel.
var mostlyRead = []string{"usr", "lib", "lib32", "lib64", "libx32", "bin", "sbin", "opt", "etc"}

// trees mounts the tree of a home for its nest.
type trees struct {
	dir     string // below which, and how their names begin
	links   jobs.Links
	clients *netfs.Clients
	log     *slog.Logger
	made    atomic.Uint64
}

func newTrees(p carrier.Parts) *trees {
	t := &trees{dir: filepath.Join(p.Setup.Trees, p.Setup.Prefix()), links: p.Links, clients: netfs.NewClients(), log: p.Log}
	t.clients.Register(p.Router)
	return t
}

// tree is the two mounts of one home. It is a jobs.Tree.
type tree struct {
	dir   string
	full  *netfs.Mount
	still *netfs.Mount // the no-open one
	binds []nest.Bind
	abort *os.File
}

// mount mounts the tree of a home, each time in a directory of its own: the last one's may not be unmounted yet,
// and unmounting takes away what is on top.
func (t *trees) mount(ctx context.Context, home link.Peer) (_ jobs.Tree, err error) {
	tr := &tree{dir: fmt.Sprintf("%s.%d", t.dir, t.made.Add(1))}
	defer func() {
		if err != nil {
			err = errors.Join(err, tr.Unmount(context.WithoutCancel(ctx)))
		}
	}()
	if tr.full, err = t.one(ctx, home.Number, tr.Root(), false); err != nil {
		return nil, err
	}
	still := filepath.Join(tr.dir, "still")
	if tr.still, err = t.one(ctx, home.Number, still, true); err != nil {
		return nil, err
	}
	for _, name := range mostlyRead {
		st, err := os.Lstat(filepath.Join(tr.Root(), name))
		if err == nil && st.IsDir() { // links into /usr need nothing
			tr.binds = append(tr.binds, nest.Bind{Source: filepath.Join(still, name), Target: "/" + name})
		}
	}
	path, err := netfs.AbortPath(tr.Root())
	if err != nil {
		return nil, err
	}
	tr.abort, err = os.OpenFile(path, os.O_WRONLY, 0)
	return tr, err
}

func (t *trees) one(ctx context.Context, home names.Host, dir string, noOpen bool) (*netfs.Mount, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return netfs.NewMount(ctx, netfs.MountConfig{
		Home: home, Dir: dir, NoOpen: noOpen, Clients: t.clients, Log: t.log, Keep: append([]string{"dev", "proc", "sys"}, mostlyRead...),
		Conn: func(ctx context.Context) (*link.Conn, error) { return t.links.Conn(ctx, home) },
	})
}

func (t *tree) Root() string        { return filepath.Join(t.dir, "root") }
func (t *tree) Binds() []nest.Bind  { return t.binds }
func (t *tree) AbortFile() *os.File { return t.abort }

// each does something to both mounts, those that are there.
func (t *tree) each(do func(*netfs.Mount) error) error {
	var errs []error
	for _, m := range []*netfs.Mount{t.full, t.still} {
		if m != nil {
			errs = append(errs, do(m))
		}
	}
	return errors.Join(errs...)
}

func (t *tree) Applied(ctx context.Context, seq uint64) error {
	return t.each(func(m *netfs.Mount) error { return m.Applied(ctx, seq) })
}

func (t *tree) Flush(ctx context.Context) error {
	return t.each(func(m *netfs.Mount) error { return m.Flush(ctx) })
}

func (t *tree) FlushEnded(ctx context.Context) error {
	return t.each(func(m *netfs.Mount) error { return m.FlushEnded(ctx) })
}

func (t *tree) Abort() {
	_ = t.each(func(m *netfs.Mount) error { m.Abort(); return nil })
}

// Unmount takes the mounts and their directories away.
func (t *tree) Unmount(ctx context.Context) error {
	err := t.each(func(m *netfs.Mount) error { return m.Unmount(ctx) })
	if t.abort != nil {
		t.abort.Close()
	}
	for _, dir := range []string{"root", "still", ""} {
		if rerr := os.Remove(filepath.Join(t.dir, dir)); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}
