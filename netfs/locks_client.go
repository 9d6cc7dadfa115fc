package netfs

import (
	"maps"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/netfs/fspb"
)

// lockers is who has locks at home, as far as this mount has asked for them. The kernel tells us of the close of a descriptor that could write, at
// which a process gives its record locks back; and of the last close of an open file. Of that it does not say whose locks are given back by it: it
// would not know those of open files (F_OFD_SETLK), nor any of a process that only reads. So this is kept here.
type lockers struct {
	mu    sync.Mutex
	last  uint64 // numbers the requests
	all   map[locker]lastLock
	fewer chan struct{} // closed at the next end of one
}

type locker struct {
	nodeid, owner uint64
}

// lastLock is the last request of a locker: by which open file, and for which task. On a mount without opens there is no handle; locks last there until the
// task has ended.
type lastLock struct {
	handle, seq uint64
	task        task
	n           *node
	kept        bool // it was waited for in vain
}

func (l *lockers) init() { l.all, l.fewer = make(map[locker]lastLock), make(chan struct{}) }

// ask notes a request, and numbers it.
func (l *lockers) ask(k locker, at lastLock) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	at.seq = l.last
	if was, ok := l.all[k]; ok && was.handle == at.handle {
		at.kept = was.kept // it lives
	}
	l.all[k] = at
	return at.seq
}

// ended is when the locks are given back that an owner has asked for up to the request seq.
func (l *lockers) ended(k locker, seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, ok := l.all[k]; ok && at.seq == seq {
		delete(l.all, k)
		close(l.fewer)
		l.fewer = make(chan struct{})
	}
}

// which gives those for whom is says yes.
func (l *lockers) which(is func(locker, lastLock) bool) map[locker]lastLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		return nil
	}
	found := maps.Clone(l.all)
	maps.DeleteFunc(found, func(k locker, at lastLock) bool { return !is(k, at) })
	return found
}

// How long the kernel may take to tell us of the last close of an open file: it does so later than the program goes on that closes it, or whoever waits
// for that program's end. A locker that was waited for in vain lives, most likely, and is not waited for as long again.
const (
	closeTime = 25 * time.Millisecond
	keptTime  = 2 * time.Millisecond
)

// settle waits until none of the lockers is left for whom is says yes, but not long.
func (l *lockers) settle(is func(locker, lastLock) bool) {
	var limit <-chan time.Time
	for {
		l.mu.Lock()
		fewer := l.fewer
		l.mu.Unlock()
		left := l.which(is)
		if len(left) == 0 {
			return
		}
		if limit == nil {
			wait := keptTime
			for _, at := range left {
				if !at.kept {
					wait = closeTime
				}
			}
			limit = time.After(wait)
		}
		select {
		case <-fewer:
		case <-limit:
			l.mu.Lock()
			for k, at := range left {
				if now, ok := l.all[k]; ok && now.seq == at.seq {
					now.kept = true
					l.all[k] = now
				}
			}
			l.mu.Unlock()
			return
		}
	}
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
	res, e := fs.lockAgain(n, in.Owner, func() (*fspb.Result, syscall.Errno, bool) {
		res, _, e := fs.m.wait(stop, "fs.lock", lockOp(n, in, lockGet), nil)
		return res, e, e == 0 && res.GetLock().GetType() != unix.F_UNLCK
	})
	if l := res.GetLock(); l != nil {
		out.Lk = fuse.FileLock{Start: l.Start, End: l.End, Typ: l.Type, Pid: l.Pid}
	}
	return fuse.Status(e)
}

// lockAgain asks again, once, if somebody else's lock is in the way who has it by this mount: that may have been closed before.
func (fs *rawFS) lockAgain(n *node, owner uint64, ask func() (*fspb.Result, syscall.Errno, bool)) (*fspb.Result, syscall.Errno) {
	others := func(k locker, _ lastLock) bool { return k.nodeid == n.nodeid && k.owner != owner }
	were := n.locked.Load() && len(fs.lockers.which(others)) > 0
	res, e, busy := ask()
	if busy && were && !fs.m.cfg.NoOpen {
		fs.lockers.settle(others)
		res, e, _ = ask()
	}
	return res, e
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
	op := lockOp(n, in, how)
	res, e := fs.lockAgain(n, in.Owner, func() (*fspb.Result, syscall.Errno, bool) {
		n.locked.Store(true)
		op.Lock.Seq = fs.lockers.ask(locker{in.NodeId, in.Owner}, lastLock{handle: in.Fh, n: n, task: fs.tasks.of(in.Pid)})
		res, _, e := fs.m.wait(stop, "fs.lock", op, nil)
		return res, e, e == syscall.EAGAIN || e == syscall.EACCES
	})
	fs.m.hear(res)
	return fuse.Status(e)
}

// unlock gives back the locks of a process that closes the file.
func (fs *rawFS) unlock(n *node, owner uint64) {
	if n.locked.Load() {
		k := locker{n.nodeid, owner}
		at := fs.lockers.which(func(o locker, _ lastLock) bool { return o == k })[k]
		fs.drop(n, owner, 0)
		fs.lockers.ended(k, at.seq)
	}
}

// unlockAll gives back what was last asked for by an open file that nobody has any more.
func (fs *rawFS) unlockAll(n *node, handle uint64) {
	if n.locked.Load() {
		fs.giveBack(func(k locker, at lastLock) bool { return k.nodeid == n.nodeid && at.handle == handle })
	}
}

// unlockEnded sees that the tasks which have ended have no locks: on a mount without opens by giving them back, on others by waiting until the kernel
// has told of their last closes.
func (fs *rawFS) unlockEnded() {
	ended := func(_ locker, at lastLock) bool { return at.task.ended() }
	if fs.m.cfg.NoOpen {
		fs.giveBack(ended)
	} else {
		fs.lockers.settle(ended)
	}
}

func (fs *rawFS) giveBack(over func(locker, lastLock) bool) {
	for k, at := range fs.lockers.which(over) {
		fs.drop(at.n, k.owner, at.seq)
		fs.lockers.ended(k, at.seq)
	}
}

// drop gives back all locks of an owner, unless it has asked for one after the request seq; 0: in any case. An owner's number may be used again
// at once, and by then this is still on its way.
func (fs *rawFS) drop(n *node, owner, seq uint64) {
	fs.m.tell()
	_, _ = fs.m.send("fs.lock", &fspb.Op{Id: []byte(n.id), Flags: lockDrop, Lock: &fspb.Lock{Owner: owner, Seq: seq}})
}
