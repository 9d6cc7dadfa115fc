package netfs

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/netfs/fspb"
)

// writeState is what this mount holds back of a file. With the token of the home, writes stay here: as the whole file, for
// one that was made or emptied here, or as one run of bytes otherwise.
type writeState struct {
	mu     sync.Mutex
	active atomic.Bool // something below is in use; lets readers pass without the lock

	token bool                 // the home gave us the writes of this file
	epoch uint64               // by the connection of that number
	ample bool                 // and has so much room that they may stay here behind close
	task  atomic.Pointer[task] // that alone wrote what is held, and alone knows; nil: nobody in particular
	gone  bool                 // the file lost its last name: nobody but its open descriptors will read it

	whole  []byte // the whole file, if known
	known  bool
	lo, hi int64 // of whole, this is not at home yet

	uid    uint32 // whose the last writes are
	run    []byte // bytes not at home yet, at runOff, if whole is not known
	runOff int64

	attr  *fspb.Attr // as the home last said
	cred  *fspb.Cred // of who wrote some of what is held and may not keep a file's set-id bits; nil: nobody such
	stamp int64      // when it was last written here, by the home's clock; 0: all is at home

	err syscall.Errno // what went wrong when nobody was there to be told
}

// bounds of what is held back, in bytes.
type bounds struct {
	run   int64 // a run of that many is sent
	whole int64 // a file that grows beyond is not kept whole
	held  int64 // by a mount, all files together
}

var usualBounds = bounds{run: 1 << 20, whole: 32 << 20, held: 256 << 20}

// granted begins to hold back writes of a file, as the home allows. empty says that it has no content.
func (n *node) granted(res *fspb.Result, since uint64, empty bool) {
	w := &n.w
	w.mu.Lock()
	defer w.mu.Unlock()
	n.grantedLocked(res, since, empty)
}

func (n *node) grantedLocked(res *fspb.Result, since uint64, empty bool) {
	w := &n.w
	epoch := n.fs.m.epoch.Load() // before touched, see attached
	if !res.Write || n.fs.m.inval.touched(since, "", "", n.id) {
		return
	}
	w.token, w.epoch, w.ample = true, epoch, res.Ample
	n.fresh.Store(true)
	w.attr = res.GetEntry().GetAttr()
	w.active.Store(true)
	if empty {
		w.dropWhole(n)
		w.run, w.known = nil, true
	}
}

// maxHole is how much of what nobody has written may be held, and sent, as zeros: the home does better than that with larger holes, which take no room there.
const maxHole = 64 << 10

// write takes bytes of a program of the user uid. A cred is of one who may not keep the file's set-id bits.
func (n *node) write(uid uint32, off int64, data []byte, flags uint32, cred *fspb.Cred) syscall.Errno {
	w := &n.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active.Store(true)
	w.uid = uid
	n.checkLocked()
	if cred != nil {
		w.cred = cred
		defer n.despecial()
	}
	if flags&(unix.O_APPEND|unix.O_DSYNC) != 0 || n.volatile || n.fs.m.cfg.NoOpen {
		return n.writeThrough(off, data, flags&(unix.O_APPEND|unix.O_DSYNC|unix.O_SYNC))
	}
	if !w.token {
		since := n.fs.m.inval.mark()
		res, e := n.fs.m.send("fs.acquire", &fspb.Op{Id: []byte(n.id)})
		if e != 0 {
			return e
		}
		n.grantedLocked(res, since, w.clean() && res.GetEntry().GetAttr().GetSize() == 0)
		if !w.token { // taken away at once: somebody else wants it more
			_, e := n.callWrite(off, data, 0, 0)
			return e
		}
	}
	end := off + int64(len(data))
	if w.known && (end > n.fs.m.bounds.whole || off-int64(len(w.whole)) > maxHole || n.fs.held.bytes.Load() > n.fs.m.bounds.held) {
		if e := n.sendLocked(0); e != 0 {
			return e
		}
		w.dropWhole(n)
	}
	if !w.known && len(w.run) > 0 && off != w.runOff+int64(len(w.run)) {
		if e := n.sendLocked(0); e != 0 {
			return e
		}
	}
	w.stamp = nowAt(n.fs.m) // and not before what was held is sent, with which the stamp goes
	n.fs.held.add(n, true)
	if w.known {
		if grow := end - int64(len(w.whole)); grow > 0 {
			n.fs.held.bytes.Add(grow)
			w.whole = extend(w.whole, end)
		}
		copy(w.whole[off:], data)
		if w.lo == w.hi {
			w.lo, w.hi = off, end
		} else {
			w.lo, w.hi = min(w.lo, off), max(w.hi, end)
		}
		if !w.ample && !w.gone && w.hi-w.lo >= n.fs.m.bounds.run {
			return n.sendLocked(0)
		}
		return 0
	}
	if len(w.run) == 0 {
		w.runOff = off
	}
	w.run = append(w.run, data...)
	if int64(len(w.run)) >= n.fs.m.bounds.run {
		return n.sendLocked(0)
	}
	return 0
}

// writeThrough writes at the home, and holds nothing back.
func (n *node) writeThrough(off int64, data []byte, flags uint32) syscall.Errno {
	w := &n.w
	if e := n.sendLocked(0); e != 0 {
		return e
	}
	w.dropWhole(n)
	if n.fs.m.cfg.NoOpen { // nobody will say when it is closed
		flags |= writeDone
	}
	var e syscall.Errno
	for len(data) > 0 && e == 0 {
		k := min(len(data), maxData)
		var at int64
		at, e = n.callWrite(off, data[:k], flags, 0)
		if e == 0 && at != off {
			n.misplaced()
		}
		data, off = data[k:], off+int64(k)
	}
	w.active.Store(w.token || !w.clean() || n.writers.Load() > 0)
	return e
}

// misplaced is when the home has put what was appended elsewhere than where the kernel put it in its pages: others append too, or have cut the
// file. The pages go. It does not wait, for one of them is locked until the write is answered; whoever wants to read that waits, too.
func (n *node) misplaced() {
	n.fs.m.bg.Go(func() { _ = n.fs.m.srv.InodeNotify(n.nodeid, 0, 0) })
}

// extend makes b at least size long, with room to grow.
func extend(b []byte, size int64) []byte {
	if int64(cap(b)) >= size {
		return b[:size]
	}
	n := make([]byte, size, max(size, 2*int64(cap(b)), 4096))
	copy(n, b)
	return n
}

// dropWhole stops keeping the file whole; everything must be at home.
func (w *writeState) dropWhole(n *node) {
	if w.known {
		n.fs.held.bytes.Add(-int64(len(w.whole)))
		w.whole, w.known, w.lo, w.hi = nil, false, 0, 0
	}
}

// callWrite sends one piece, and gives where the home has put it.
func (n *node) callWrite(off int64, data []byte, flags uint32, stamp int64) (int64, syscall.Errno) {
	op := &fspb.Op{Id: []byte(n.id), Off: off, Flags: flags, Cred: &fspb.Cred{Uid: n.w.uid}}
	if stamp != 0 {
		op.Set = &fspb.Set{Mtime: proto.Int64(stamp)}
	}
	if n.w.cred != nil {
		op.Flags, op.Cred = op.Flags|writeKill, n.w.cred
	}
	tries := callTries
	if flags&unix.O_APPEND != 0 {
		tries = 1
	}
	ctx, cancel := context.WithTimeout(n.fs.m.ctx, callTime)
	defer cancel()
	n.fresh.Store(true)
	res, _, e := n.fs.m.call(ctx, "fs.write", op, data, tries)
	if e == 0 {
		n.w.attr = res.GetEntry().GetAttr()
	} else {
		n.fresh.Store(false)
	}
	if n.w.clean() { // it was not of what is held
		n.w.cred = nil
	}
	n.fs.mine(n.id)
	n.dropData()
	return res.GetN(), e
}

// sendLocked sends what is held. What a home refuses is not tried again: the error is the program's. What it was not there
// to take stays held.
func (n *node) sendLocked(flags uint32) syscall.Errno {
	w := &n.w
	if w.clean() {
		n.fs.held.del(n)
		if flags&writeDone != 0 && w.token {
			_, _ = n.fs.m.send("fs.release", &fspb.Op{Id: []byte(n.id)})
		}
		return 0
	}
	for {
		if e := n.sendPiece(flags, maxData); e != 0 || w.clean() {
			return e
		}
	}
}

// sendPiece sends up to size bytes of what is held.
func (n *node) sendPiece(flags uint32, size int) syscall.Errno {
	w := &n.w
	data, off := w.run, w.runOff
	if w.known {
		data, off = w.whole[w.lo:w.hi], w.lo
	}
	stamp := w.stamp
	if len(data) > size {
		data = data[:size]
		flags, stamp = flags&^writeDone, 0
	}
	_, e := n.callWrite(off, data, flags, stamp) // an empty one too, if all that is to be told is when the file was cut
	if e == syscall.EHOSTDOWN {
		return syscall.EHOSTDOWN
	}
	w.sent(int64(len(data)), e != 0)
	if w.clean() {
		n.fs.held.del(n)
	}
	if e == syscall.ESTALE {
		// The file was removed while its bytes were on the way: nobody can read them any more, and a program that
		// writes to a removed file is told of no error.
		return 0
	}
	return e
}

// clean reports whether the home has everything.
func (w *writeState) clean() bool { return len(w.run) == 0 && w.lo == w.hi && w.stamp == 0 }

// sent takes the first n bytes that are held, or all, for sent.
func (w *writeState) sent(n int64, all bool) {
	if w.known {
		w.lo += n
	} else {
		w.run, w.runOff = w.run[n:], w.runOff+n
	}
	if all || len(w.run) == 0 && w.lo == w.hi {
		w.run, w.lo, w.hi, w.stamp, w.cred = nil, 0, 0, 0, nil
	}
}

// unlinked is after the file lost a name, and looks so at home. If it was the last, what is held needs no sending.
func (n *node) unlinked(a *fspb.Attr) {
	w := &n.w
	if !w.active.Load() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if a == nil || a.Nlink > 0 || !w.known || !w.token {
		return
	}
	w.gone, w.attr = true, a // nothing can change it any more
	n.fresh.Store(true)
	n.fs.held.del(n)
	if n.opens.Load() == 0 && n.writers.Load() == 0 {
		w.dropWhole(n)
		w.run, w.cred, w.token = nil, nil, false
		w.active.Store(false)
	}
}

// recall hands over what is held of a file because somebody else wants it.
func (fs *rawFS) recall(id string) {
	fs.m.inval.note(id)
	n := fs.find(id)
	if n == nil {
		return
	}
	w := &n.w
	w.mu.Lock()
	defer w.mu.Unlock()
	n.checkLocked()
	if !w.token {
		return
	}
	if e := n.sendLocked(0); e != 0 {
		n.lateLocked(e)
		fs.m.log.Warn("what was written here could not be handed over", "file", n.name(), "err", e)
	}
	w.keepRun(n)
	w.token = false
	w.active.Store(n.writers.Load() > 0 || !w.clean())
}

// ours puts what is held here over the home's attributes.
func (n *node) ours(a *fspb.Attr) *fspb.Attr {
	w := &n.w
	if !w.active.Load() {
		return a
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.over(a)
}

func (w *writeState) over(a *fspb.Attr) *fspb.Attr {
	if a == nil || w.clean() && !w.known {
		return a
	}
	a = proto.Clone(a).(*fspb.Attr)
	if w.cred != nil {
		a.Mode = dropped(a.Mode)
	}
	if w.known {
		a.Size = uint64(len(w.whole))
		a.Blocks = (a.Size + 511) / 512
	} else if end := w.runOff + int64(len(w.run)); len(w.run) > 0 && end > int64(a.Size) {
		a.Size = uint64(end)
	}
	if w.stamp != 0 {
		a.Mtime, a.Ctime = w.stamp, w.stamp
	}
	return a
}

// dropped is what is left of a mode when somebody writes to the file who may not keep its set-id bits.
func dropped(mode uint32) uint32 {
	if mode&unix.S_IXGRP != 0 {
		mode &^= unix.S_ISGID
	}
	return mode &^ unix.S_ISUID
}

// despecial makes the kernel ask again for the mode of a file whose set-id bits somebody's change takes away.
func (n *node) despecial() {
	if n.special.Swap(false) {
		_ = n.fs.m.srv.InodeNotify(n.nodeid, -1, 0) // of the attributes only, for which it takes no lock
	}
}

// local gives the attributes of a file whose writes are ours, nil for others. The home is asked only if somebody changed them there, and the
// lock is kept meanwhile: what is held must not reach the home between its answer and ours, or we would tell a size that the file
// had before it was written to. The kernel would cut off its pages there, and take the rest of the last one for zeros ever after.
func (n *node) local(by caller) (*fspb.Attr, syscall.Errno) {
	w := &n.w
	if !w.active.Load() {
		return nil, 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n.checkLocked()
	if !w.token {
		if w.clean() {
			return nil, 0
		}
		e := n.sendLocked(0)
		if e != 0 && e != syscall.EHOSTDOWN {
			w.err, e = e, 0
		}
		return nil, e
	}
	if !n.fresh.Swap(true) || w.attr == nil {
		res, e := n.fs.getattr(by, n)
		if e != 0 {
			n.fresh.Store(false)
			return nil, e
		}
		w.attr = res.GetEntry().GetAttr()
	}
	return w.over(w.attr), 0
}

// lost is after the connection to the home was: what is held can be written by the next, but all else is void.
func (n *node) lost() {
	n.dropData()
	w := &n.w
	if !w.active.Load() {
		return
	}
	w.mu.Lock()
	n.checkLocked()
	w.mu.Unlock()
}

// checkLocked gives up the token if the connection that it came by is gone: others may have written since, so nothing
// is known here but what is held back.
func (n *node) checkLocked() {
	w := &n.w
	if !w.token || w.epoch == n.fs.m.epoch.Load() {
		return
	}
	w.token = false
	if !w.known || w.gone { // what has no name is nobody else's
		return
	}
	w.keepRun(n)
}

// rewritten is after somebody who knows no tokens, a native of the home, changed the file: it is not kept whole any more. What was written here
// goes home as before.
func (n *node) rewritten() {
	w := &n.w
	if !w.active.Load() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.gone {
		w.keepRun(n)
	}
}

// keepRun stops keeping the file whole, but not what is not at home yet.
func (w *writeState) keepRun(n *node) {
	if !w.known {
		return
	}
	if w.lo < w.hi {
		w.run, w.runOff = w.whole[w.lo:w.hi:w.hi], w.lo
	}
	w.dropWhole(n)
}

// nowAt is the time by the home's clock.
func nowAt(m *Mount) int64 { return time.Now().UnixNano() + m.clock.Load() }
