package netfs

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/onehost/onehost/netfs/fspb"
)

// invalQueue holds invalidations between their arrival and the kernel's taking them. Receiving never waits; one goroutine
// applies in order, and may wait in the kernel for requests under way on the same directory.
type invalQueue struct {
	mu      sync.Mutex
	wake    *sync.Cond
	queue   []*fspb.Invals
	applied uint64
	last    uint64       // of what arrived
	base    uint64       // where the present connection began
	doubt   *fspb.Invals // stands for all that was lost before that; until it is applied, nothing counts as applied
	waiters map[chan struct{}]uint64
	closed  bool
	old     map[string]uint64 // files whose data became invalid, by the last note that said so, until that is applied; "*": all

	// The last things that became invalid, to tell a reply that was under way meanwhile.
	count  uint64
	recent [1024]recentInval
}

type recentInval struct{ dir, name, id string }

func (q *invalQueue) init() {
	q.wake = sync.NewCond(&q.mu)
	q.waiters, q.old = make(map[chan struct{}]uint64), make(map[string]uint64)
}

// pending reports whether the kernel may still have old data of a file because it has not been told yet.
func (q *invalQueue) pending(id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.doubt != nil || len(q.old) > 0 && (q.old[id] > 0 || q.old["*"] > 0)
}

// mark gives the point in time to ask touched about.
func (q *invalQueue) mark() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}

// touched reports whether since then something came that concerns the name in the directory, or the file. Empty strings
// concern nothing; an empty name with a directory concerns all its names.
func (q *invalQueue) touched(since uint64, dir, name, id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.touchedLocked(since, dir, name, id)
}

func (q *invalQueue) touchedLocked(since uint64, dir, name, id string) bool {
	if q.count-since > uint64(len(q.recent)) {
		return true
	}
	for i := since; i < q.count; i++ {
		r := &q.recent[i%uint64(len(q.recent))]
		if r.dir == "*" || id != "" && r.id == id || dir != "" && r.dir == dir && (name == "" || r.name == name) {
			return true
		}
	}
	return false
}

func (q *invalQueue) noteLocked(dir, name, id string) {
	q.recent[q.count%uint64(len(q.recent))] = recentInval{dir, name, id}
	q.count++
}

// mine says that this mount changed a name or a file, for answers under way that do not know it yet.
func (q *invalQueue) mine(dir, name, id string) {
	q.mu.Lock()
	q.noteLocked(dir, name, id)
	q.mu.Unlock()
}

// mineSince is mine of a change that was asked for at since. It gives a function that reports whether anything else has become of the name
// since then.
func (q *invalQueue) mineSince(since uint64, dir, name string) (touched func() bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	before := q.touchedLocked(since, dir, name, "")
	q.noteLocked(dir, name, "")
	after := q.count
	return func() bool { return before || q.touched(after, dir, name, "") }
}

// note says that a token on the file was taken away.
func (q *invalQueue) note(id string) {
	q.mu.Lock()
	q.noteLocked("", "", id)
	q.mu.Unlock()
}

// restart begins after seq, on a new connection. Notes that came by it may be here already, and even applied: the home's answer and
// what it sends to another mount of this host cross on their way.
func (q *invalQueue) restart(seq uint64, all bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.noteLocked("*", "", "")
	q.base = seq
	if all {
		clear(q.old) // doubt comprises them
		q.doubt = &fspb.Invals{Seq: max(seq, q.last), Inval: []*fspb.Inval{{All: true}}}
		q.queue = []*fspb.Invals{q.doubt}
		q.wake.Signal()
		return
	}
	q.reachedLocked(seq)
}

// add puts a note at the end.
func (q *invalQueue) add(inv *fspb.Invals) {
	q.mu.Lock()
	q.last = max(q.last, inv.Seq)
	q.queue = append(q.queue, inv)
	q.wake.Signal()
	q.mu.Unlock()
}

// take waits for notes and gives all there are; none: it is closed.
func (q *invalQueue) take() []*fspb.Invals {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.queue) == 0 && !q.closed {
		q.wake.Wait()
	}
	if q.closed {
		return nil
	}
	batch := q.queue
	q.queue = nil
	return batch
}

// done says that a note has been applied.
func (q *invalQueue) done(inv *fspb.Invals) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.old) > 0 {
		for _, i := range inv.Inval {
			id := string(i.Id)
			if i.All {
				id = "*"
			}
			if q.old[id] <= inv.Seq {
				delete(q.old, id)
			}
		}
	}
	if q.doubt != nil && q.doubt != inv {
		return
	}
	q.doubt = nil
	q.reachedLocked(inv.Seq)
}

// reached gives nil if everything up to seq has been applied, or a channel that is closed when it is.
func (q *invalQueue) reached(seq uint64) chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	seq = max(seq, q.base)
	if q.doubt == nil && q.applied >= seq {
		return nil
	}
	ch := make(chan struct{})
	q.waiters[ch] = seq
	return ch
}

func (q *invalQueue) reachedLocked(seq uint64) {
	q.applied = max(q.applied, seq)
	for ch, want := range q.waiters {
		if want <= q.applied {
			delete(q.waiters, ch)
			close(ch)
		}
	}
}

func (q *invalQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.wake.Broadcast()
	q.mu.Unlock()
}

// concerns says whether an invalidation is for this mount.
func (m *Mount) concerns(i *fspb.Inval) bool { return i.Mount == 0 || i.Mount == m.num }

// received takes a note: the daemon's own caches forget at once, the kernel in turn. The order is what makes touched
// reliable: noted, forgotten, queued.
func (m *Mount) received(inv *fspb.Invals) {
	q := &m.inval
	q.mu.Lock()
	for _, i := range inv.Inval {
		switch {
		case !m.concerns(i):
		case i.All:
			q.noteLocked("*", "", "")
			q.old["*"] = inv.Seq
		case i.Entry:
			q.noteLocked(string(i.Dir), string(i.Name), string(i.Dir))
		default:
			q.noteLocked("", "", string(i.Id))
			if i.Data {
				q.old[string(i.Id)] = inv.Seq
			}
		}
	}
	q.mu.Unlock()
	for _, i := range inv.Inval {
		switch {
		case !m.concerns(i):
			continue
		case i.All:
			m.fs.cache.clear()
		case i.Entry:
			m.fs.cache.forgetName(string(i.Dir), string(i.Name))
			m.fs.cache.forgetAttr(string(i.Dir))
		}
		if i.Kept {
			m.fs.kept(string(i.Id))
		}
		if len(i.Id) > 0 {
			m.fs.cache.forgetAttr(string(i.Id))
			if n := m.fs.find(string(i.Id)); n != nil {
				n.fresh.Store(false)
			}
		}
	}
	q.add(inv)
}

// apply is the goroutine that tells the kernel.
func (m *Mount) apply() {
	for batch := m.inval.take(); batch != nil; batch = m.inval.take() {
		for _, n := range batch {
			for _, i := range n.Inval {
				if m.concerns(i) {
					m.fs.forget(m.srv, i)
				}
			}
			m.inval.done(n)
		}
	}
}

// forget makes the kernel forget. No lock is held across a notify: the kernel may wait in it for a request that needs us.
//
// The kernel closes most races itself: dropping a name waits for a lookup of it that is under way, and a GETATTR that
// began before its inode was invalidated is not believed. What it does not know is an inode that a LOOKUP under way is about
// to make; for that the names of the file are dropped too, which waits for the lookup.
func (fs *rawFS) forget(srv *fuse.Server, i *fspb.Inval) {
	if i.All {
		fs.forgetAll(srv)
		return
	}
	if i.Entry {
		if dir := fs.find(string(i.Dir)); dir != nil {
			fs.expire(srv, dir, string(i.Name))
			_ = srv.InodeNotify(dir.nodeid, -1, 0)
		}
	}
	if len(i.Id) == 0 {
		return
	}
	n := fs.find(string(i.Id))
	if n == nil {
		return
	}
	if i.Kept { // of what has become of it another note tells; the kernel is to let go of it when it is closed
		for _, e := range fs.namesOf(n) {
			if !fs.stays(e.dir, e.name) {
				_ = srv.EntryNotify(e.dir.nodeid, e.name)
			}
		}
		return
	}
	off := int64(-1)
	if i.Data {
		off = 0
		n.dropData()
		n.rewritten()
	}
	if st := srv.InodeNotify(n.nodeid, off, 0); st == fuse.ENOENT {
		for _, e := range fs.edgesOf(n) {
			fs.expire(srv, e.dir, e.name)
		}
	}
}

// expire makes the kernel ask again for a name before it uses it. A name that is dropped instead takes with it what is
// mounted on it, though it may name the same directory as before; the kernels that know no other way (before Linux 6.2) drop it.
func (fs *rawFS) expire(srv *fuse.Server, dir *node, name string) {
	if fs.stays(dir, name) {
		return
	}
	fs.dropEdge(dir, name)
	if fs.m.dev.expire {
		_ = fs.m.dev.expireEntry(dir.nodeid, name) // ENOENT: the kernel does not know it
		return
	}
	_ = srv.EntryNotify(dir.nodeid, name)
}

// stays reports whether a name must not be dropped, for the sake of what is mounted on it.
func (fs *rawFS) stays(dir *node, name string) bool {
	_, keep := fs.m.keep[name]
	return keep && dir.nodeid == fuse.FUSE_ROOT_ID
}

// forgetAll is for when events or notes were lost.
func (fs *rawFS) forgetAll(srv *fuse.Server) {
	fs.cache.clear()
	var all []*node
	var names []edge
	fs.mu.Lock()
	for _, n := range fs.nodes {
		all = append(all, n)
		for name := range n.children {
			names = append(names, edge{n, name})
		}
		for name := range n.negative {
			names = append(names, edge{n, name})
		}
	}
	fs.mu.Unlock()
	for _, e := range names {
		fs.expire(srv, e.dir, e.name)
	}
	for _, n := range all {
		n.fresh.Store(false)
		n.lost()
		_ = srv.InodeNotify(n.nodeid, 0, 0)
	}
}
