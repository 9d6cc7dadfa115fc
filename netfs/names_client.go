package netfs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/netfs/fspb"
)

// Lookup finds a name.
func (fs *rawFS) Lookup(stop <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if st, ok := fs.ships.lookup(h.NodeId, name, out); ok {
		return st
	}
	dir := fs.node(h.NodeId)
	if dir == nil {
		return fuse.Status(syscall.ESTALE)
	}
	if len(name) > 255 {
		return fuse.Status(syscall.ENAMETOOLONG)
	}
	by := callerOf(stop, h)
	for {
		since := fs.m.inval.mark()
		if e, known := fs.cache.lookup(dir.id, name); known {
			return fs.found(by, dir, name, e, since, out)
		}
		var listing bool
		var other <-chan struct{}
		if !dir.volatile {
			listing, other = fs.cache.fetch(dir.id)
		}
		if other != nil {
			e := fs.m.until(by, func() syscall.Errno { <-other; return 0 }) // he who fetches it ends in bounded time
			if e != 0 {
				return fuse.Status(e)
			}
			continue
		}
		since = fs.m.inval.mark()
		res, _, e := fs.m.ask(by, "fs.lookup", &fspb.Op{Id: []byte(dir.id), Name: []byte(name), Listing: listing})
		if e == 0 && listing {
			fs.cache.store(dir.id, res, func(d, id string) bool { return fs.m.inval.touched(since, d, "", id) })
		}
		if listing {
			fs.cache.fetched(dir.id)
		} else if e == 0 && !dir.volatile {
			fs.cache.learn(dir.id, name, res.GetEntry(), func(d, n, id string) bool { return fs.m.inval.touched(since, d, n, id) })
		}
		if e != 0 {
			return fuse.Status(e)
		}
		if len(res.GetEntry().GetId()) == 0 {
			if res.GetEntry().GetUncached() {
				return fuse.ENOENT
			}
			return fs.found(by, dir, name, nil, since, out)
		}
		return fs.found(by, dir, name, res.Entry, since, out)
	}
}

func (fs *rawFS) found(by caller, dir *node, name string, e *fspb.Entry, since uint64, out *fuse.EntryOut) fuse.Status {
	if e != nil {
		fs.enter(by, dir, name, e, since, out)
		return fuse.OK
	}
	fs.missing(dir, name)
	if fs.m.inval.touched(since, dir.id, name, "") {
		return fuse.ENOENT
	}
	out.NodeId = 0
	out.SetEntryTimeout(forever)
	return fuse.OK
}

// build makes something called dir/name at home.
func (fs *rawFS) build(method string, stop <-chan struct{}, h *fuse.InHeader, name string, op *fspb.Op, out *fuse.EntryOut) (*node, *fspb.Result, uint64, fuse.Status) {
	dir := fs.node(h.NodeId)
	if dir == nil || fs.ships.owns(h.NodeId) {
		return nil, nil, 0, fuse.EPERM
	}
	if op.Id == nil {
		op.Id = []byte(dir.id)
	}
	op.Name, op.Cred = []byte(name), fs.creds.of(h)
	since := fs.m.inval.mark()
	res, e := fs.m.change(callerOf(stop, h), method, op, nil)
	if e != 0 {
		return nil, nil, 0, fuse.Status(e)
	}
	if res.Entry == nil || len(res.Entry.Id) == 0 {
		return nil, nil, 0, fuse.EIO
	}
	n := fs.enter(callerOf(stop, h), dir, name, res.Entry, since, out)
	fs.cache.set(dir.id, name, res.Entry, fs.m.inval.mineSince(since, dir.id, name))
	fs.cache.forgetAttr(string(res.Entry.Id)) // and not changed, which would cast doubt on the grant that came with it
	fs.changedDir(dir, res.Dir, since)
	return n, res, since, fuse.OK
}

// changed is after this mount changed a file, and does not know what it looks like now.
func (fs *rawFS) changed(id string) {
	if n := fs.find(id); n != nil {
		n.fresh.Store(false)
	}
	fs.mine(id)
}

// mine casts doubt on answers under way that are about a file.
func (fs *rawFS) mine(id string) {
	fs.m.inval.mine("", "", id)
	fs.cache.forgetAttr(id)
}

// changedDir is after this mount changed a directory at home; a is what it looks like since.
func (fs *rawFS) changedDir(dir *node, a *fspb.Attr, since uint64) {
	fs.cache.changedDir(dir.id, a, func() bool { return fs.m.inval.touched(since, "", "", dir.id) })
}

// Mkdir makes a directory; the kernel has applied the umask.
func (fs *rawFS) Mkdir(stop <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	_, _, _, st := fs.build("fs.mkdir", stop, &in.InHeader, name, &fspb.Op{Mode: in.Mode}, out)
	return st
}

// Mknod makes a fifo, a socket, a device node or a regular file at home.
func (fs *rawFS) Mknod(stop <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	n, res, _, st := fs.build("fs.mknod", stop, &in.InHeader, name, &fspb.Op{Mode: in.Mode, Rdev: in.Rdev}, out)
	if st == fuse.OK && in.Mode&unix.S_IFMT == unix.S_IFIFO {
		fs.own.add(n.id, ownFifo{taskOf(in.Pid), res.Entry.Attr})
		fs.own.show(n, &out.Attr)
	}
	return st
}

// Symlink makes a symbolic link.
func (fs *rawFS) Symlink(stop <-chan struct{}, h *fuse.InHeader, to, name string, out *fuse.EntryOut) fuse.Status {
	_, _, _, st := fs.build("fs.symlink", stop, h, name, &fspb.Op{Name2: []byte(to)}, out)
	return st
}

// Link gives a file another name.
func (fs *rawFS) Link(stop <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	n, dir := fs.node(in.Oldnodeid), fs.node(in.NodeId)
	if n == nil || dir == nil {
		return fuse.EPERM
	}
	if e := n.flush(false); e != 0 {
		return fuse.Status(e)
	}
	n.fresh.Store(false)
	_, _, _, st := fs.build("fs.link", stop, &in.InHeader, name, &fspb.Op{Id: []byte(n.id), Id2: []byte(dir.id)}, out)
	return st
}

// Readlink gives where a symbolic link points.
func (fs *rawFS) Readlink(stop <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	n := fs.node(h.NodeId)
	if n == nil {
		return nil, fuse.Status(syscall.ESTALE)
	}
	_, b, e := fs.m.ask(callerOf(stop, h), "fs.readlink", &fspb.Op{Id: []byte(n.id)})
	return b, fuse.Status(e)
}

// victim says how a file that loses its name is to be treated: whether the home must keep it alive.
func (n *node) pin() bool {
	if n == nil || n.opens.Load() == 0 && n.writers.Load() == 0 {
		return false
	}
	return !n.pinned.Swap(true)
}

// Unlink removes a name. What was written to a file that goes with its last name never crosses the link.
func (fs *rawFS) Unlink(stop <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return fs.remove(stop, h, name, 0)
}

// Rmdir removes a directory.
func (fs *rawFS) Rmdir(stop <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return fs.remove(stop, h, name, unix.AT_REMOVEDIR)
}

func (fs *rawFS) remove(stop <-chan struct{}, h *fuse.InHeader, name string, flags uint32) fuse.Status {
	dir := fs.node(h.NodeId)
	if dir == nil {
		return fuse.EPERM
	}
	v := fs.child(dir, name)
	op := &fspb.Op{Id: []byte(dir.id), Name: []byte(name), Flags: flags, Cred: fs.creds.of(h)}
	if flags == 0 {
		op.Pin = v.pin()
	}
	since := fs.m.inval.mark()
	res, e := fs.m.change(callerOf(stop, h), "fs.unlink", op, nil)
	if e != 0 {
		if op.Pin {
			v.pinned.Store(false)
		}
		return fuse.Status(e)
	}
	fs.cache.set(dir.id, name, nil, fs.m.inval.mineSince(since, dir.id, name))
	fs.changedDir(dir, res.Dir, since)
	fs.dropEdge(dir, name)
	fs.unlinked(v, op.Pin, res)
	return fuse.OK
}

// unlinked is after a file lost a name that the kernel was told is v's. What lost it the home says: if that was somebody else, v must not be
// taken for removed, with all that is held of it.
func (fs *rawFS) unlinked(v *node, pinned bool, res *fspb.Result) {
	if v != nil {
		fs.changed(v.id)
	}
	gone := res.GetEntry()
	if gone == nil {
		return
	}
	n := fs.find(string(gone.Id))
	if pinned && n != v {
		v.pinned.Store(false)
	}
	if pinned && !v.pinned.Load() { // closed meanwhile, and the home may have heard of that before it pinned the file
		go fs.unpin(string(gone.Id))
	}
	if n != nil {
		fs.changed(n.id)
		n.unlinked(gone.Attr)
	}
}

// Rename moves a name, with the flags of renameat2.
func (fs *rawFS) Rename(stop <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	dir, dir2 := fs.node(in.NodeId), fs.node(in.Newdir)
	if dir == nil || dir2 == nil {
		return fuse.EPERM
	}
	n, v := fs.child(dir, from), fs.child(dir2, to)
	op := &fspb.Op{
		Id: []byte(dir.id), Name: []byte(from), Id2: []byte(dir2.id), Name2: []byte(to), Flags: in.Flags,
		Cred: fs.creds.of(&in.InHeader),
	}
	if in.Flags&unix.RENAME_EXCHANGE == 0 {
		op.Pin = v.pin()
	}
	since := fs.m.inval.mark()
	res, e := fs.m.change(callerOf(stop, &in.InHeader), "fs.rename", op, nil)
	if e != 0 {
		if op.Pin {
			v.pinned.Store(false)
		}
		return fuse.Status(e)
	}
	fs.m.inval.mine(dir.id, from, "")
	fs.m.inval.mine(dir2.id, to, "")
	fs.cache.forgetName(dir.id, from)
	fs.cache.forgetName(dir2.id, to)
	fs.changedDir(dir, res.Dir, since)
	fs.changedDir(dir2, res.Dir2, since)
	fs.mu.Lock()
	fs.dropEdgeLocked(dir, from)
	if n != v {
		fs.dropEdgeLocked(dir2, to)
	}
	if n != nil {
		fs.edgeLocked(dir2, to, n)
	}
	if v != nil && in.Flags&unix.RENAME_EXCHANGE != 0 {
		fs.edgeLocked(dir, from, v)
	}
	fs.mu.Unlock()
	if n != nil {
		fs.changed(n.id)
		n.usedBy(in.Pid, false)
	}
	fs.unlinked(v, op.Pin, res)
	return fuse.OK
}

func (fs *rawFS) edgeLocked(dir *node, name string, n *node) {
	if dir.children == nil {
		dir.children = make(map[string]*node)
	}
	delete(dir.negative, name)
	dir.children[name] = n
	n.edges = append(n.edges, edge{dir, name})
}
