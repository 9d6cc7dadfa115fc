package netfs

import (
	"maps"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/onehost/onehost/netfs/fspb"
)

// lockers is who has locks at home, as far as this mount has asked for them. The kernel tells us of the close of a descriptor that could write, at
// which a process gives its record locks back; and of the last close of an open file. Of that it does not say whose locks are given back by it: it
// would not know those of open files (F_OFD_SETLK), nor any of a process that only reads. So this is kept here.
type lockers struct {
	mu   sync.Mutex
	last uint64 // numbers the requests
	all  map[locker]lastLock
}

type locker struct {
	nodeid, owner uint64
}

// lastLock is the last request of a locker: by which open file, and who. On a mount without opens there is no handle; locks last there until the task
// has ended.
type lastLock struct {
	handle, seq uint64
	task        task
	n           *node
}

func (l *lockers) init() { l.all = make(map[locker]lastLock) }

// ask notes a request, and numbers it.
func (l *lockers) ask(k locker, at lastLock) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	at.seq = l.last
	l.all[k] = at
	return at.seq
}

// forget is when all locks of an owner are given back.
func (l *lockers) forget(k locker) {
	l.mu.Lock()
	delete(l.all, k)
	l.mu.Unlock()
}

// take gives those for whom over says yes, and forgets them.
func (l *lockers) take(over func(locker, lastLock) bool) map[locker]lastLock {
	taken := make(map[locker]lastLock)
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.all, func(k locker, at lastLock) bool {
		if !over(k, at) {
			return false
		}
		taken[k] = at
		return true
	})
	return taken
}

func lockOp(n *node, in *fuse.LkIn, how uint32) *fspb.Op {
	return &fspb.Op{Id: []byte(n.id), Flags: how, Lock: &fspb.Lock{
		Owner: in.Owner, Start: in.Lk.Start, End: in.Lk.End,
		Type: in.Lk.Typ, Pid: in.Lk.Pid, Flock: in.LkFlags&fuse.LK_FLOCK != 0,
	}}
}

// GetLk asks who holds a lock.
func (fs *rawFS) GetLk(stop <-chan struct{}, in *fuse.LkIn, out *fuse.LkOut) fuse.Status {
	n := fs.node(in.NodeId)
	if n == nil {
		return fuse.EINVAL
	}
	res, _, e := fs.m.wait(stop, "fs.lock", lockOp(n, in, lockGet), nil)
	if l := res.GetLock(); l != nil {
		out.Lk = fuse.FileLock{Start: l.Start, End: l.End, Typ: l.Type, Pid: l.Pid}
	}
	return fuse.Status(e)
}

// SetLk takes or gives back a lock. Whoever locks wants to see what the last holder wrote, and to be seen.
func (fs *rawFS) SetLk(stop <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return fs.setLock(stop, in, lockSet)
}

// SetLkw waits for a lock.
func (fs *rawFS) SetLkw(stop <-chan struct{}, in *fuse.LkIn) fuse.Status {
	return fs.setLock(stop, in, lockWait)
}

func (fs *rawFS) setLock(stop <-chan struct{}, in *fuse.LkIn, how uint32) fuse.Status {
	n := fs.node(in.NodeId)
	if n == nil {
		return fuse.EINVAL
	}
	if e := n.flush(false); e != 0 {
		return fuse.Status(e)
	}
	fs.m.tell()
	n.locked.Store(true)
	op := lockOp(n, in, how)
	at := lastLock{handle: in.Fh, n: n}
	if fs.m.cfg.NoOpen {
		at.task = fs.tasks.of(in.Pid)
	}
	op.Lock.Seq = fs.lockers.ask(locker{in.NodeId, in.Owner}, at)
	res, _, e := fs.m.wait(stop, "fs.lock", op, nil)
	fs.m.hear(res)
	return fuse.Status(e)
}

// unlock gives back the locks of a process that closes the file.
func (fs *rawFS) unlock(n *node, owner uint64) {
	if n.locked.Load() {
		fs.lockers.forget(locker{n.nodeid, owner})
		fs.drop(n, owner, 0)
	}
}

// unlockAll gives back what was last asked for by an open file that nobody has any more.
func (fs *rawFS) unlockAll(n *node, handle uint64) {
	if !n.locked.Load() {
		return
	}
	for k, at := range fs.lockers.take(func(k locker, at lastLock) bool { return k.nodeid == n.nodeid && at.handle == handle }) {
		fs.drop(n, k.owner, at.seq)
	}
}

// unlockEnded gives back, on a mount without opens, what tasks had that have ended.
func (fs *rawFS) unlockEnded() {
	if !fs.m.cfg.NoOpen {
		return
	}
	for k, at := range fs.lockers.take(func(_ locker, at lastLock) bool { return at.task.ended() }) {
		fs.drop(at.n, k.owner, at.seq)
	}
}

// drop gives back all locks of an owner, unless it has asked for one after the request seq; 0: in any case. An owner's number may be used again
// at once, and by then this is still on its way.
func (fs *rawFS) drop(n *node, owner, seq uint64) {
	fs.m.tell()
	_, _ = fs.m.send("fs.lock", &fspb.Op{Id: []byte(n.id), Flags: lockDrop, Lock: &fspb.Lock{Owner: owner, Seq: seq}})
}
