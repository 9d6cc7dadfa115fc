package netfs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/netfs/fspb"
)

// SetAttr changes attributes. Cutting a file that is held here whole, and of which the home has nothing yet, stays here.
func (fs *rawFS) SetAttr(stop <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if fs.ships.opened(in, out) {
		return fuse.OK
	}
	n := fs.node(in.NodeId)
	if n == nil {
		return fuse.EPERM
	}
	set := setOf(in)
	size, sized := in.GetSize()
	var flags uint32
	var cred *fspb.Cred
	if in.Valid&fuse.FATTR_KILL_SUIDGID != 0 {
		flags, cred = writeKill, fs.creds.of(&in.InHeader)
	}
	if n.typ.Load() != unix.S_IFREG {
		set.Size = nil // a fifo, shown as a file, opened with O_TRUNC
	} else if sized && in.Valid&^(fuse.FATTR_FH|fuse.FATTR_LOCKOWNER|fuse.FATTR_KILL_SUIDGID) == fuse.FATTR_SIZE {
		if a := n.cut(int64(size), cred); a != nil {
			n.fill(a, &out.Attr)
			out.SetTimeout(forever)
			return fuse.OK
		}
	}
	since := fs.m.inval.mark()
	w := &n.w
	w.mu.Lock()
	n.checkLocked()
	if w.active.Load() && !(sized && size == 0) {
		if e := n.sendLocked(0); e != 0 {
			w.mu.Unlock()
			return fuse.Status(e)
		}
	}
	n.fresh.Store(true)
	res, _, e := fs.m.ask(callerOf(stop, &in.InHeader), "fs.setattr", &fspb.Op{Id: []byte(n.id), Set: set, Flags: flags, Cred: fs.creds.of(&in.InHeader)})
	var a *fspb.Attr
	if e == 0 {
		if sized && w.active.Load() {
			w.dropWhole(n)
			w.run, w.lo, w.hi, w.stamp, w.cred = nil, 0, 0, 0, nil
			w.known = size == 0 && w.token
		}
		if w.attr != nil {
			w.attr = res.GetEntry().GetAttr()
		}
		a = w.over(res.GetEntry().GetAttr())
	} else {
		n.fresh.Store(false)
	}
	w.mu.Unlock()
	n.dropData()
	if e == 0 {
		fs.attrOut(n, a, since, out)
	}
	fs.mine(n.id)
	if e != 0 {
		return fuse.Status(e)
	}
	return fuse.OK
}

// cut sets the size of a file without asking the home, and gives its attributes; nil: the home has to be asked. For cred see write.
func (n *node) cut(size int64, cred *fspb.Cred) *fspb.Attr {
	w := &n.w
	if !w.active.Load() {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n.checkLocked()
	if !w.token || !w.known || !w.ample || w.attr == nil || w.attr.Size != 0 || size > n.fs.m.bounds.whole || !n.fresh.Load() || size-int64(len(w.whole)) > maxHole {
		return nil
	}
	if cred != nil {
		if n.special.Load() {
			return nil
		}
		w.cred = cred
	}
	w.stamp = nowAt(n.fs.m)
	n.fs.held.bytes.Add(size - int64(len(w.whole)))
	old := int64(len(w.whole))
	if size < old {
		w.whole = w.whole[:size]
		clear(w.whole[size:old])
	} else if size > old { // the new part is zeros, all of it sent
		w.whole = extend(w.whole, size)
		clear(w.whole[old:])
	}
	w.lo, w.hi = 0, size
	n.fs.held.add(n, true)
	return w.over(w.attr)
}

// setOf turns the kernel's wish into the wire's.
func setOf(in *fuse.SetAttrIn) *fspb.Set {
	s := &fspb.Set{}
	if v, ok := in.GetMode(); ok {
		s.Mode = &v
	}
	if v, ok := in.GetUID(); ok {
		s.Uid = &v
	}
	if v, ok := in.GetGID(); ok {
		s.Gid = &v
	}
	if v, ok := in.GetSize(); ok {
		s.Size = proto.Int64(int64(v))
	}
	s.AtimeNow, s.MtimeNow = in.Valid&fuse.FATTR_ATIME_NOW != 0, in.Valid&fuse.FATTR_MTIME_NOW != 0
	if in.Valid&fuse.FATTR_ATIME != 0 && !s.AtimeNow {
		s.Atime = proto.Int64(nanoseconds(int64(in.Atime), in.Atimensec))
	}
	if in.Valid&fuse.FATTR_MTIME != 0 && !s.MtimeNow {
		s.Mtime = proto.Int64(nanoseconds(int64(in.Mtime), in.Mtimensec))
	}
	return s
}
