package netfs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/netfs/fspb"
)

// Access is never asked: the kernel checks by the attributes (default_permissions).
func (fs *rawFS) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.ENOSYS }

// dirHandle is an open directory: what it held when it was first read, so that offsets stay right.
type dirHandle struct{ list []*fspb.Entry }

// OpenDir opens a directory, in a mount without opens too. The kernel is not to keep listings: it puts one together of what several
// readers were given, whose offsets count the entries of one and not of the other.
func (fs *rawFS) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n := fs.node(in.NodeId)
	if n == nil && !fs.ships.owns(in.NodeId) {
		return fuse.Status(syscall.ESTALE)
	}
	fs.mu.Lock()
	fs.next++
	out.Fh = fs.next
	fs.dirs[out.Fh] = &dirHandle{}
	fs.mu.Unlock()
	return fuse.OK
}

// ReleaseDir closes a directory.
func (fs *rawFS) ReleaseDir(in *fuse.ReleaseIn) {
	fs.mu.Lock()
	delete(fs.dirs, in.Fh)
	fs.mu.Unlock()
}

// ReadDir lists a directory. Offsets count entries.
func (fs *rawFS) ReadDir(stop <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	n := fs.node(in.NodeId)
	if n == nil {
		return fuse.OK
	}
	fs.mu.Lock()
	d := fs.dirs[in.Fh]
	fs.mu.Unlock()
	if d == nil || d.list == nil || in.Offset == 0 {
		list, e := fs.list(callerOf(stop, &in.InHeader), n)
		if e != 0 {
			return fuse.Status(e)
		}
		d = &dirHandle{list: list}
		fs.mu.Lock()
		fs.dirs[in.Fh] = d
		fs.mu.Unlock()
	}
	for i := in.Offset; i < uint64(len(d.list)); i++ {
		e := d.list[i]
		typ := e.Type
		if typ == unix.S_IFIFO && !fs.own.has(e.Ino) { // as fillAttr and show do
			typ = unix.S_IFREG
		}
		if !out.AddDirEntry(fuse.DirEntry{Name: string(e.Name), Mode: typ, Ino: e.Ino, Off: i + 1}) {
			return fuse.OK
		}
	}
	return fuse.OK
}

func (fs *rawFS) list(by caller, n *node) ([]*fspb.Entry, syscall.Errno) {
	if all, ok := fs.cache.list(n.id); ok {
		return all, 0
	}
	since := fs.m.inval.mark()
	all := []*fspb.Entry{}
	for off := int64(0); ; {
		res, _, e := fs.m.ask(by, "fs.readdir", &fspb.Op{Id: []byte(n.id), Off: off})
		if e != 0 {
			return nil, e
		}
		all = append(all, res.Entries...)
		if res.Eof || len(res.Entries) == 0 {
			fs.cache.setList(n.id, all, func() bool { return fs.m.inval.touched(since, n.id, "", "") })
			return all, 0
		}
		off = int64(res.Next)
	}
}

// StatFs tells of the home's file system that the file is on.
func (fs *rawFS) StatFs(stop <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	n := fs.node(in.NodeId)
	if n == nil {
		n = fs.node(fuse.FUSE_ROOT_ID)
	}
	res, _, e := fs.m.ask(callerOf(stop, in), "fs.statfs", &fspb.Op{Id: []byte(n.id)})
	if e != 0 {
		return fuse.Status(e)
	}
	s := res.GetStatfs()
	out.Blocks, out.Bfree, out.Bavail = s.GetBlocks(), s.GetBfree(), s.GetBavail()
	out.Files, out.Ffree = s.GetFiles(), s.GetFfree()
	out.Bsize, out.Frsize, out.NameLen = s.GetBsize(), s.GetFrsize(), s.GetNamelen()
	return fuse.OK
}

func (fs *rawFS) xattr(stop <-chan struct{}, h *fuse.InHeader, op *fspb.Op, value []byte) ([]byte, fuse.Status) {
	n := fs.node(h.NodeId)
	if n == nil {
		return nil, fuse.ENODATA
	}
	if string(op.Name) == "security.capability" && op.Flags == xattrGet && n.w.active.Load() {
		return nil, fuse.ENODATA // the kernel asks before each write whether there is something to take away; new files have none
	}
	op.Id, op.Cred = []byte(n.id), fs.creds.of(h)
	by := callerOf(stop, h)
	if op.Flags != xattrGet && op.Flags != xattrList {
		_, e := fs.m.change(by, "fs.xattr", op, value)
		fs.changed(n.id)
		return nil, fuse.Status(e)
	}
	caps := op.Flags == xattrGet && string(op.Name) == "security.capability"
	if caps && fs.cache.hasNoCaps(n.id) {
		return nil, fuse.ENODATA
	}
	since := fs.m.inval.mark()
	_, b, e := fs.m.ask(by, "fs.xattr", op)
	if caps && e == syscall.ENODATA && !n.volatile {
		fs.cache.setNoCaps(n.id, func() bool { return fs.m.inval.touched(since, "", "", n.id) })
	}
	return b, fuse.Status(e)
}

func sized(b, dest []byte, st fuse.Status) (uint32, fuse.Status) {
	switch {
	case st != fuse.OK:
		return 0, st
	case len(dest) == 0:
		return uint32(len(b)), fuse.OK
	case len(b) > len(dest):
		return uint32(len(b)), fuse.ERANGE
	}
	return uint32(copy(dest, b)), fuse.OK
}

// GetXAttr reads an extended attribute.
func (fs *rawFS) GetXAttr(stop <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	b, st := fs.xattr(stop, h, &fspb.Op{Flags: xattrGet, Name: []byte(name)}, nil)
	return sized(b, dest, st)
}

// ListXAttr lists extended attributes.
func (fs *rawFS) ListXAttr(stop <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	b, st := fs.xattr(stop, h, &fspb.Op{Flags: xattrList}, nil)
	return sized(b, dest, st)
}

// SetXAttr sets an extended attribute.
func (fs *rawFS) SetXAttr(stop <-chan struct{}, in *fuse.SetXAttrIn, name string, value []byte) fuse.Status {
	_, st := fs.xattr(stop, &in.InHeader, &fspb.Op{Flags: xattrSet, Name: []byte(name), Mode: in.Flags}, value)
	return st
}

// RemoveXAttr removes an extended attribute.
func (fs *rawFS) RemoveXAttr(stop <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	_, st := fs.xattr(stop, h, &fspb.Op{Flags: xattrRemove, Name: []byte(name)}, nil)
	return st
}

// Fallocate gives a file room, or takes it.
func (fs *rawFS) Fallocate(stop <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	n := fs.node(in.NodeId)
	if n == nil {
		return fuse.EPERM
	}
	return fuse.Status(n.atHome(func() syscall.Errno {
		_, e := fs.m.change(callerOf(stop, &in.InHeader), "fs.allocate", &fspb.Op{
			Id: []byte(n.id), Off: int64(in.Offset),
			Len: int64(in.Length), Flags: in.Mode, Cred: fs.creds.of(&in.InHeader),
		}, nil)
		n.despecial()
		return e
	}))
}

// atHome changes a file's data at home: everything held goes there first, and nothing is known of it here afterwards.
func (n *node) atHome(do func() syscall.Errno) syscall.Errno {
	w := &n.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.active.Load() {
		if e := n.sendLocked(0); e != 0 {
			return e
		}
		w.dropWhole(n)
	}
	e := do()
	n.fs.changed(n.id)
	n.dropData()
	return e
}

// CopyFileRange copies at home.
func (fs *rawFS) CopyFileRange(stop <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	from, to := fs.node(in.NodeId), fs.node(in.NodeIdOut)
	if from == nil || to == nil {
		return 0, fuse.EINVAL
	}
	if e := from.flush(false); e != 0 {
		return 0, fuse.Status(e)
	}
	var done int64
	e := to.atHome(func() syscall.Errno {
		res, e := fs.m.change(callerOf(stop, &in.InHeader), "fs.copy", &fspb.Op{
			Id: []byte(from.id), Id2: []byte(to.id), Off: int64(in.OffIn),
			Off2: int64(in.OffOut), Len: int64(in.Len), Cred: fs.creds.of(&in.InHeader),
		}, nil)
		done = res.GetN()
		to.despecial()
		return e
	})
	return uint32(done), fuse.Status(e)
}

// Lseek finds data and holes.
func (fs *rawFS) Lseek(stop <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	n := fs.node(in.NodeId)
	if n == nil {
		return fuse.EINVAL
	}
	if e := n.flush(false); e != 0 {
		return fuse.Status(e)
	}
	res, _, e := fs.m.ask(callerOf(stop, &in.InHeader), "fs.seek", &fspb.Op{Id: []byte(n.id), Off: int64(in.Offset), Flags: in.Whence})
	out.Offset = uint64(res.GetN())
	return fuse.Status(e)
}

// openFifo opens a fifo of the home.
func (fs *rawFS) openFifo(stop <-chan struct{}, n *node, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if fs.m.cfg.NoOpen {
		return fuse.Status(syscall.ENXIO) // a mount without opens cannot tell its readers apart
	}
	fs.m.tell()
	res, _, e := fs.m.wait(stop, "fs.fifo.open", &fspb.Op{Id: []byte(n.id), Flags: in.Flags, Cred: fs.creds.of(&in.InHeader)}, nil)
	if e != 0 {
		return fuse.Status(e)
	}
	fs.mu.Lock()
	fs.next++
	out.Fh = fs.next | fifoHandle
	fs.fifos[out.Fh] = uint64(res.N)
	fs.mu.Unlock()
	fs.m.hear(res)
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_STREAM | fuse.FOPEN_NONSEEKABLE | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

// fifoHandle tells the handle of an open fifo from those of other files.
const fifoHandle = 1 << 63

func (fs *rawFS) fifo(fh uint64) (uint64, bool) {
	if fh&fifoHandle == 0 {
		return 0, false
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	h, ok := fs.fifos[fh]
	return h, ok
}

func (fs *rawFS) readFifo(stop <-chan struct{}, h uint64, in *fuse.ReadIn) (fuse.ReadResult, fuse.Status) {
	res, b, e := fs.m.wait(stop, "fs.fifo.read", &fspb.Op{Handle: h, Len: int64(in.Size), Flags: in.Flags}, nil)
	fs.m.hear(res)
	return readResult(b, e)
}

func (fs *rawFS) writeFifo(stop <-chan struct{}, h uint64, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	fs.m.tell()
	res, _, e := fs.m.wait(stop, "fs.fifo.write", &fspb.Op{Handle: h, Flags: in.Flags}, data)
	return uint32(res.GetN()), fuse.Status(e)
}

func (fs *rawFS) closeFifo(fh uint64) bool {
	h, ok := fs.fifo(fh)
	if !ok {
		return false
	}
	fs.mu.Lock()
	delete(fs.fifos, fh)
	fs.mu.Unlock()
	fs.m.tell()
	_, _ = fs.m.send("fs.fifo.close", &fspb.Op{Handle: h})
	return true
}
