package procfs

import (
	"context"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc"
)

// file is a file of a remote process.
type file struct {
	fs.Inode
	f  *fileSystem
	at place
}

var (
	_ fs.NodeOpener    = (*file)(nil)
	_ fs.NodeGetattrer = (*file)(nil)
)

// Getattr implements fs.NodeGetattrer.
func (n *file) Getattr(ctx context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return n.f.stat(ctx, n.at, &out.Attr)
}

// Open implements fs.NodeOpener. Whatever is wrong with the reader's rights shows now.
func (n *file) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return nil, 0, syscall.EROFS
	}
	h := &handle{f: n.f, at: n.at, opened: fuse.NewContext(context.Background(), &fuse.Caller{Pid: uint32(reader(ctx))})}
	if errno := h.fetch(ctx, 0); errno != 0 {
		return nil, 0, errno
	}
	return h, fuse.FOPEN_DIRECT_IO, 0
}

// handle is an open file: a piece of it, as it was when that was fetched.
type handle struct {
	f  *fileSystem
	at place
	// opened is who opened it: whoever else it is given to reads with those rights, as of most files in /proc.
	opened context.Context //nolint:containedctx // it names the reader

	mu    sync.Mutex // guards what follows, also while it is fetched
	start int64
	data  []byte
	more  bool // behind data
	read  bool // from the start, since it was fetched
}

var _ fs.FileReader = (*handle)(nil)

// fetch reads a piece of the file.
func (h *handle) fetch(ctx context.Context, offset int64) syscall.Errno {
	size := proc.MaxView
	v, errno := h.f.look(ctx, h.at, proc.Look{Kind: proc.LookRead, Offset: offset, Size: size})
	if errno != 0 {
		return errno
	}
	h.start, h.data, h.more, h.read = offset, v.Data, v.More, false
	if translated(h.at.path) && offset == 0 {
		h.data = h.f.viewOf(h.at.pid).translate(h.at.path, h.data)
		h.more = false // such a file is small
	}
	return 0
}

// Read implements fs.FileReader. What is read from the start a second time is fetched again, as the kernel makes it anew.
func (h *handle) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	h.mu.Lock()
	defer h.mu.Unlock()
	again := off == 0 && (h.read || h.start != 0)
	if again || off < h.start || h.more && off >= h.start+int64(len(h.data)) {
		if errno := h.fetch(h.opened, off); errno != 0 {
			return nil, errno
		}
	}
	h.read = h.read || off == 0
	from := min(off-h.start, int64(len(h.data)))
	n := copy(dest, h.data[from:])
	return fuse.ReadResultData(dest[:n]), 0
}

// viewOf says how the numbers of a remote process look from here.
func (f *fileSystem) viewOf(pid names.Pid) *view {
	t := f.tables.get()
	v := &view{host: pid.Host(), self: t.self, boot: f.boot}
	if pid.Host() == names.Here {
		pid = t.own(pid.Local())
	}
	v.row = t.rows[pid]
	return v
}
