package netfs

import (
	"bytes"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/netfs/fspb"
)

// readState is the head of a file, fetched whole if it is small, so that the pieces the kernel asks for cost one call.
type readState struct {
	mu   sync.Mutex
	data []byte
	eof  bool  // data ends where the file ends
	left int64 // bytes of data that nobody has read yet, if each is read once
}

// readSet bounds the memory of all readStates.
type readSet struct {
	mu    sync.Mutex
	line  []*node
	bytes int64
}

const maxReads = 64 << 20

func (s *readSet) add(n *node, size int) {
	s.mu.Lock()
	s.line = append(s.line, n)
	s.bytes += int64(size)
	var out []*node
	for s.bytes > maxReads && len(s.line) > 1 {
		o := s.line[0]
		s.line = s.line[1:]
		out = append(out, o)
		s.bytes -= maxReads / 64 // corrected when it is dropped
	}
	s.mu.Unlock()
	for _, o := range out {
		if o.rd.mu.TryLock() { // busy: it will be dropped when its end is read
			o.rd.data = nil
			o.rd.mu.Unlock()
		}
	}
}

// dropData forgets the data that the daemon keeps for reading.
func (n *node) dropData() {
	n.rd.mu.Lock()
	n.rd.data = nil
	n.rd.mu.Unlock()
}

// Open opens a file. For reading only, nothing needs the home: who may is in the attributes, which are kept fresh.
func (fs *rawFS) Open(stop <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if st, ok := fs.ships.open(in, out); ok {
		return st
	}
	n := fs.node(in.NodeId)
	if n == nil {
		return fuse.Status(syscall.ESTALE)
	}
	switch n.typ.Load() {
	case unix.S_IFIFO:
		return fs.openFifo(stop, n, in, out)
	case unix.S_IFSOCK:
		return fuse.Status(syscall.ENXIO)
	}
	if fs.m.cfg.NoOpen {
		return fuse.ENOSYS
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	if n.volatile {
		out.OpenFlags = fuse.FOPEN_DIRECT_IO
	}
	out.Fh = fs.handles.Add(1)
	if in.Flags&unix.O_ACCMODE == unix.O_RDONLY {
		n.usedBy(in.Pid, false)
		n.opens.Add(1)
		out.OpenFlags |= fuse.FOPEN_NOFLUSH
		return fuse.OK
	}
	n.usedBy(in.Pid, true)
	n.writers.Add(1)
	return fuse.OK
}

// Create makes a file and opens it.
func (fs *rawFS) Create(stop <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	fs.creation()
	defer fs.creationOver()
	n, res, since, st := fs.build("fs.create", stop, &in.InHeader, name, &fspb.Op{Mode: in.Mode, Flags: in.Flags}, &out.EntryOut)
	if st != fuse.OK {
		return st
	}
	if n.typ.Load() != unix.S_IFREG {
		return fuse.Status(syscall.ENXIO) // somebody else was quicker, with something else
	}
	if res.Entry.GetAttr().GetNlink() == 0 { // removed already
		n.pinned.Store(true)
	}
	return fs.created(n, in, res, since, &out.OpenOut)
}

func (fs *rawFS) created(n *node, in *fuse.CreateIn, res *fspb.Result, since uint64, out *fuse.OpenOut) fuse.Status {
	n.usedBy(in.Pid, true)
	if fs.m.cfg.NoOpen { // which holds nothing back
		_, _ = fs.m.send("fs.release", &fspb.Op{Id: []byte(n.id)})
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE
		return fuse.OK
	}
	n.granted(res, since, res.Entry.GetAttr().GetSize() == 0)
	out.Fh = fs.handles.Add(1)
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	if n.volatile {
		out.OpenFlags = fuse.FOPEN_DIRECT_IO
	}
	if in.Flags&unix.O_ACCMODE == unix.O_RDONLY {
		n.opens.Add(1)
	} else {
		n.writers.Add(1)
	}
	return fuse.OK
}

// Tmpfile makes a file without a name.
func (fs *rawFS) Tmpfile(stop <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	dir := fs.node(in.NodeId)
	if dir == nil {
		return fuse.EPERM
	}
	since := fs.m.inval.mark()
	res, e := fs.m.change(callerOf(stop, &in.InHeader), "fs.tmpfile",
		&fspb.Op{Id: []byte(dir.id), Mode: in.Mode, Flags: in.Flags, Cred: fs.creds.of(&in.InHeader)}, nil)
	if e != 0 {
		return fuse.Status(e)
	}
	n := fs.intern(nil, "", res.Entry)
	n.pinned.Store(true)
	out.NodeId, out.Generation = n.nodeid, 1
	n.fill(res.Entry.Attr, &out.Attr)
	return fs.created(n, in, res, since, &out.OpenOut)
}

// Read gives bytes of a file.
func (fs *rawFS) Read(stop <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	if res, st, ok := fs.ships.read(fs, stop, in); ok {
		return res, st
	}
	if h, ok := fs.fifo(in.Fh); ok {
		return fs.readFifo(stop, h, in)
	}
	n := fs.node(in.NodeId)
	if n == nil {
		return nil, fuse.Status(syscall.ESTALE)
	}
	off, size := int64(in.Offset), int64(in.Size)
	if b, ok, e := n.readHeld(off, size); ok || e != 0 {
		return readResult(b, e)
	}
	return readResult(n.read(callerOf(stop, &in.InHeader), off, size))
}

// readResult is the answer to a READ: go-fuse sends data, if there is any, whatever the status says.
func readResult(b []byte, e syscall.Errno) (fuse.ReadResult, fuse.Status) {
	if e != 0 {
		return nil, fuse.Status(e)
	}
	return fuse.ReadResultData(b), fuse.OK
}

// readHeld reads what is held back here, or brings it home for the caller to read it there.
func (n *node) readHeld(off, size int64) ([]byte, bool, syscall.Errno) {
	w := &n.w
	if !w.active.Load() {
		return nil, false, 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n.checkLocked()
	if w.known {
		end := min(off+size, int64(len(w.whole)))
		if off >= end {
			return nil, true, 0
		}
		return append([]byte(nil), w.whole[off:end]...), true, 0
	}
	return nil, false, n.sendLocked(0)
}

func (n *node) read(by caller, off, size int64) ([]byte, syscall.Errno) {
	m := n.fs.m
	if n.volatile || n.w.active.Load() {
		_, b, e := m.ask(by, "fs.read", &fspb.Op{Id: []byte(n.id), Off: off, Len: size})
		return b, e
	}
	rd := &n.rd
	rd.mu.Lock()
	if rd.data != nil && !m.inval.pending(n.id) {
		if b, ok := rd.serve(off, size); ok {
			rd.mu.Unlock()
			return b, 0
		}
	}
	if off != 0 && (n.size.Load() > maxData || off >= n.size.Load()) { // not of a file that is fetched whole
		rd.mu.Unlock()
		_, b, e := m.ask(by, "fs.read", &fspb.Op{Id: []byte(n.id), Off: off, Len: size})
		return b, e
	}
	defer rd.mu.Unlock() // others that want the head wait for this one
	since := m.inval.mark()
	res, b, e := m.ask(by, "fs.read", &fspb.Op{Id: []byte(n.id), Len: maxData})
	if e != 0 {
		return nil, e
	}
	have := readState{data: b, eof: res.Eof, left: int64(len(b))}
	piece, ok := have.serve(off, size)
	if !ok { // it has grown
		_, b, e := m.ask(by, "fs.read", &fspb.Op{Id: []byte(n.id), Off: off, Len: size})
		return b, e
	}
	if have.data != nil && !m.inval.touched(since, "", "", n.id) {
		rd.data, rd.eof, rd.left = have.data, have.eof, have.left
		n.fs.reads.add(n, len(b))
	}
	return piece, 0
}

// serve gives a piece of the head; the head is dropped when as much as it holds has been read, for the kernel keeps the
// pages.
func (rd *readState) serve(off, size int64) ([]byte, bool) {
	have := int64(len(rd.data))
	end := off + size
	if end > have && !rd.eof {
		return nil, false
	}
	end = min(end, have)
	if off >= end {
		return nil, rd.eof
	}
	b := rd.data[off:end]
	if rd.left -= end - off; rd.left <= 0 {
		rd.data = nil
	}
	return b, true
}

// Write takes bytes.
func (fs *rawFS) Write(stop <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if n, st, ok := fs.ships.write(fs, stop, in, data); ok {
		return n, st
	}
	if h, ok := fs.fifo(in.Fh); ok {
		return fs.writeFifo(stop, h, in, data)
	}
	n, by := fs.node(in.NodeId), callerOf(stop, &in.InHeader)
	if n == nil {
		return 0, fuse.Status(syscall.ESTALE)
	}
	var cred *fspb.Cred
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		cred = fs.creds.of(&in.InHeader)
	}
	write := func() syscall.Errno { return n.write(in.Uid, int64(in.Offset), data, in.Flags, cred) }
	size := uint32(len(data))
	var e syscall.Errno
	if fs.m.cfg.NoOpen || in.Flags&(unix.O_APPEND|unix.O_DSYNC) != 0 { // it waits for the home
		off, flags := int64(in.Offset), in.Flags
		data, in = bytes.Clone(data), &fuse.WriteIn{InHeader: fuse.InHeader{Caller: in.Caller}, Offset: uint64(off), Flags: flags} // the request is gone when its caller is
		e = fs.m.until(by, write)
	} else {
		e = write()
	}
	if e != 0 {
		return 0, fuse.Status(e)
	}
	n.grown(int64(in.Offset) + int64(size))
	return size, fuse.OK
}

// grown notes that the kernel takes the file to be at least that long.
func (n *node) grown(size int64) {
	for old := n.size.Load(); size > old && !n.size.CompareAndSwap(old, size); old = n.size.Load() {
	}
}

// Writev leaves it to Write.
func (fs *rawFS) Writev(<-chan struct{}, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

// Flush is a close. Its error is the one that programs see.
func (fs *rawFS) Flush(stop <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	n := fs.node(in.NodeId)
	if n == nil || fs.ships.owns(in.NodeId) {
		return fuse.OK
	}
	if fs.m.cfg.NoOpen {
		return fuse.ENOSYS
	}
	owner := in.LockOwner
	if !n.locked.Load() && (!n.w.active.Load() || n.staysHere()) {
		return fuse.OK
	}
	return fuse.Status(fs.m.until(callerOf(stop, &in.InHeader), func() syscall.Errno {
		fs.unlock(n, owner)
		return n.closed()
	}))
}

// Fsync brings a file home and onto the home's disk.
func (fs *rawFS) Fsync(stop <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	n := fs.node(in.NodeId)
	if n == nil {
		return fuse.OK
	}
	if e := fs.m.until(callerOf(stop, &in.InHeader), func() syscall.Errno { return n.flush(false) }); e != 0 {
		return fuse.Status(e)
	}
	_, _, e := fs.m.ask(callerOf(stop, &in.InHeader), "fs.sync", &fspb.Op{Id: []byte(n.id), Flags: in.FsyncFlags})
	return fuse.Status(e)
}

// FsyncDir brings a directory onto the home's disk.
func (fs *rawFS) FsyncDir(stop <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return fs.Fsync(stop, in)
}

// Release is the last close of a descriptor.
func (fs *rawFS) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	if fs.ships.release(in) || fs.closeFifo(in.Fh) {
		return
	}
	n := fs.node(in.NodeId)
	if n == nil || fs.m.cfg.NoOpen {
		return
	}
	fs.unlockAll(n, in.Fh)
	var left int32
	if in.Flags&unix.O_ACCMODE == unix.O_RDONLY {
		left = n.opens.Add(-1) + n.writers.Load()
	} else {
		left = n.writers.Add(-1) + n.opens.Load()
	}
	if left <= 0 {
		n.lastClosed()
	}
}

// lastClosed is after nobody has the file open here any more.
func (n *node) lastClosed() {
	w := &n.w
	if w.active.Load() {
		w.mu.Lock()
		if w.gone {
			n.fs.held.del(n)
			w.dropWhole(n)
			w.cred, w.token = nil, false
			w.active.Store(false)
		} else if w.token {
			n.fs.held.add(n, !w.clean()) // Flush gives the token back
		}
		w.mu.Unlock()
	}
	if n.pinned.Swap(false) {
		n.fs.unpin(n.id)
	}
}

// GetAttr gives a file's attributes.
func (fs *rawFS) GetAttr(stop <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if fs.ships.attr(in.NodeId, &out.Attr) {
		out.SetTimeout(forever)
		return fuse.OK
	}
	n := fs.node(in.NodeId)
	if n == nil {
		return fuse.Status(syscall.ESTALE)
	}
	a, since, e := fs.attrOf(callerOf(stop, &in.InHeader), n)
	if e != 0 {
		return fuse.Status(e)
	}
	fs.attrOut(n, a, since, out)
	return fuse.OK
}

const attrTries = 4 // of questions for attributes, while the file changes

// attrOf gives a file's attributes, as of the time that comes with them.
func (fs *rawFS) attrOf(by caller, n *node) (a *fspb.Attr, since uint64, e syscall.Errno) {
	for try := 1; ; try++ {
		since = fs.m.inval.mark()
		if a, e = n.local(by); a != nil || e != 0 {
			return a, since, e
		}
		if a = fs.cache.attr(n.id); a == nil {
			res, e := fs.getattr(by, n)
			if e != 0 {
				return nil, since, e
			}
			a = res.GetEntry().GetAttr()
		}
		if try == attrTries || !fs.m.inval.touched(since, "", "", n.id) { // else it may be from before something was written here
			return n.ours(a), since, 0
		}
	}
}

// settle is before the kernel is told that a file has grown: if it does not know yet that its pages are old, they go now, for it takes the rest of
// the last one for zeros. It believes no answer then that was under way meanwhile, this one neither, and asks again the next time.
func (n *node) settle(a *fspb.Attr) {
	if n.typ.Load() == unix.S_IFREG && int64(a.GetSize()) > n.size.Load() && n.fs.m.inval.pending(n.id) {
		n.dropData()
		_ = n.fs.m.srv.InodeNotify(n.nodeid, 0, 0)
	}
}

func (fs *rawFS) attrOut(n *node, a *fspb.Attr, since uint64, out *fuse.AttrOut) {
	n.settle(a)
	n.fill(a, &out.Attr)
	n.fs.own.show(n, &out.Attr)
	if !n.volatile && !fs.m.inval.touched(since, "", "", n.id) {
		out.SetTimeout(forever)
	}
}
