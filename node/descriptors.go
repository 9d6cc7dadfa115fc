package node

import (
	"context"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/dev"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/proc/jobs"
	"github.com/onehost/onehost/proc/nest"
)

// helperFiles is dev's client as jobs uses it.
type helperFiles struct{ client *dev.Client }

func (h helperFiles) Open(ctx context.Context, conn *link.Conn, desc []byte, t jobs.Tree, n *nest.Nest) ([]nest.FD, jobs.FileSet, error) {
	o := dev.Options{PTMX: n.PTMX, BeforeForward: t.Flush, AfterRead: t.Applied}
	if tr, ok := t.(*tree); ok {
		o.Ship, o.Find = shipper{tr}, tr.find
	}
	given, set, err := h.client.Open(ctx, conn, desc, o)
	if err != nil {
		return nil, nil, err
	}
	fds := make([]nest.FD, len(given))
	for i, g := range given {
		fds[i] = nest.FD{N: g.N, File: g.File, Path: g.Path, Flags: g.Flags, Ino: g.Ino}
	}
	return fds, set, nil
}

// shipper makes netfs's files out of dev's objects. The nest opens them, so their paths begin at its root.
type shipper struct{ t *tree }

func (s shipper) Ship(o *dev.Object) (string, func(), error) {
	path, release, err := s.t.full.Ship(shipped{o})
	return strings.TrimPrefix(path, s.t.Root()), release, err
}

// shipped is an object that ends with its job, not with its last close.
type shipped struct{ *dev.Object }

func (shipped) Close() error { return nil }

// find gives a file of the home by its name there, as a bare path.
func (t *tree) find(path string) (*os.File, error) {
	root, err := unix.Open(t.Root(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Openat2(root, path, &how)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}
