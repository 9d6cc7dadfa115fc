package netfs

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/netfs/fspb"
)

// forever is a cache time: what is kept is taken back by name.
const forever = 1000 * time.Hour

// rawFS answers the kernel.
//
// Lock order: node.w.mu, then node.rd.mu, then rawFS.mu, then cache.mu. No lock but node.w.mu and node.rd.mu is held across a call to the
// home, and none at all across a notify.
type rawFS struct {
	fuse.RawFileSystem
	m       *Mount
	cache   cache
	held    heldSet
	reads   readSet
	creds   credCache
	tasks   taskCache
	ships   ships
	own     ownFifos
	lockers lockers
	handles atomic.Uint64 // of open files, the last one

	mu    sync.Mutex
	next  uint64
	nodes map[uint64]*node
	byID  map[string]*node
	dirs  map[uint64]*dirHandle
	fifos map[uint64]uint64 // handle to the home's handle

	// Files that the home keeps for us and that nobody here knows yet, while some are being created.
	creating int
	orphans  map[string]struct{}
}

// node is a file that the kernel knows by nodeid and the home by id.
type node struct {
	nodeid uint64
	id     string
	fs     *rawFS

	typ      atomic.Uint32 // S_IFMT bits
	volatile bool          // the home hears of no changes: nothing is kept
	opens    atomic.Int32
	writers  atomic.Int32
	pinned   atomic.Bool  // the home keeps it alive for us
	locked   atomic.Bool  // somebody here has, or had, a lock on it
	size     atomic.Int64 // as the kernel was told
	special  atomic.Bool  // the kernel was told that it runs as another user or group
	fresh    atomic.Bool  // the home has told of no change since w.attr

	// guarded by rawFS.mu
	lookups  uint64
	edges    []edge
	was      edge // the last of them, if there are none
	children map[string]*node
	negative map[string]struct{}

	w  writeState
	rd readState
}

// edge is a name of a node that the kernel was told.
type edge struct {
	dir  *node
	name string
}

func newRawFS(m *Mount) *rawFS {
	fs := &rawFS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(), m: m, next: fuse.FUSE_ROOT_ID,
		nodes: make(map[uint64]*node), byID: make(map[string]*node), dirs: make(map[uint64]*dirHandle),
		fifos: make(map[uint64]uint64),
	}
	fs.cache.clear()
	fs.held.init()
	fs.creds.byPid = make(map[credKey]credEntry)
	fs.ships.init()
	fs.lockers.init()
	fs.own.all = make(map[string]ownFifo)
	return fs
}

// String names the file system.
func (fs *rawFS) String() string { return fsName }

// setRoot makes the root, and reports whether it is the one that was made before.
func (fs *rawFS) setRoot(e *fspb.Entry) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if n := fs.nodes[fuse.FUSE_ROOT_ID]; n != nil {
		return n.id == string(e.GetId())
	}
	n := &node{nodeid: fuse.FUSE_ROOT_ID, id: string(e.GetId()), fs: fs, lookups: 1, volatile: e.GetUncached()}
	n.typ.Store(unix.S_IFDIR)
	fs.nodes[n.nodeid], fs.byID[n.id] = n, n
	return true
}

// node gives the node the kernel speaks of. The kernel never names one that it has forgotten.
func (fs *rawFS) node(nodeid uint64) *node {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.nodes[nodeid]
}

// find gives the node of an id, nil if the kernel does not know it.
func (fs *rawFS) find(id string) *node {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.byID[id]
}

// intern gives the node of an entry that is about to be told to the kernel as dir/name, and counts that.
func (fs *rawFS) intern(dir *node, name string, e *fspb.Entry) *node {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.byID[string(e.Id)]
	if n == nil {
		fs.next++
		n = &node{nodeid: fs.next, id: string(e.Id), fs: fs, volatile: e.Uncached}
		fs.nodes[n.nodeid] = n
		fs.byID[n.id] = n
	}
	n.typ.Store(e.GetAttr().GetMode() & unix.S_IFMT)
	n.lookups++
	if dir != nil && dir.children[name] != n {
		fs.dropEdgeLocked(dir, name)
		if dir.children == nil {
			dir.children = make(map[string]*node)
		}
		dir.children[name] = n
		n.edges = append(n.edges, edge{dir, name})
	}
	return n
}

// missing notes that the kernel is told that dir/name does not exist.
func (fs *rawFS) missing(dir *node, name string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.dropEdgeLocked(dir, name)
	if dir.negative == nil {
		dir.negative = make(map[string]struct{})
	}
	dir.negative[name] = struct{}{}
}

// child gives the node the kernel was told dir/name is.
func (fs *rawFS) child(dir *node, name string) *node {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return dir.children[name]
}

func (fs *rawFS) dropEdge(dir *node, name string) {
	fs.mu.Lock()
	fs.dropEdgeLocked(dir, name)
	fs.mu.Unlock()
}

func (fs *rawFS) dropEdgeLocked(dir *node, name string) {
	delete(dir.negative, name)
	n := dir.children[name]
	if n == nil {
		return
	}
	delete(dir.children, name)
	for i, e := range n.edges {
		if e.dir == dir && e.name == name {
			n.edges, n.was = append(n.edges[:i], n.edges[i+1:]...), e
			return
		}
	}
}

func (fs *rawFS) edgesOf(n *node) []edge {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return append([]edge(nil), n.edges...)
}

// Forget is the kernel's word that it dropped so many of the references it was given.
func (fs *rawFS) Forget(nodeid, nlookup uint64) {
	fs.mu.Lock()
	n := fs.nodes[nodeid]
	if n == nil || nodeid == fuse.FUSE_ROOT_ID {
		fs.mu.Unlock()
		return
	}
	if n.lookups -= min(nlookup, n.lookups); n.lookups > 0 {
		fs.mu.Unlock()
		return
	}
	if fs.held.has(n) { // it lives until what was written to it is at home, or its token
		n.lookups = 0
		if !fs.held.owes(n) && n.pinned.Swap(false) {
			go fs.unpin(n.id)
		}
		fs.mu.Unlock()
		return
	}
	fs.removeLocked(n)
	fs.mu.Unlock()
	n.dropData()
	if n.pinned.Swap(false) {
		go fs.unpin(n.id)
	}
}

func (fs *rawFS) removeLocked(n *node) {
	for len(n.edges) > 0 {
		fs.dropEdgeLocked(n.edges[0].dir, n.edges[0].name)
	}
	for name := range n.children {
		fs.dropEdgeLocked(n, name)
	}
	delete(fs.nodes, n.nodeid)
	if fs.byID[n.id] == n {
		delete(fs.byID, n.id)
	}
}

// blockSize is what stat gives as the size for efficient reads and writes, as remote file systems do: programs take it for
// their buffers, and every full buffer is a request to this process.
const blockSize = 64 << 10

// fillAttr turns the home's attributes into the kernel's. A fifo is shown as a regular file, for only then do reads and
// writes come to us: the kernel would make a fifo of its own of it, and its users would wait for each other for ever.
func fillAttr(a *fspb.Attr, out *fuse.Attr) {
	if a == nil {
		a = &fspb.Attr{}
	}
	mode := a.Mode
	if mode&unix.S_IFMT == unix.S_IFIFO {
		mode = mode&^unix.S_IFMT | unix.S_IFREG
	}
	at, mt, ct := unix.NsecToTimespec(a.Atime), unix.NsecToTimespec(a.Mtime), unix.NsecToTimespec(a.Ctime)
	*out = fuse.Attr{
		Ino: a.Ino, Size: a.Size, Blocks: a.Blocks, Mode: mode, Nlink: a.Nlink, Rdev: a.Rdev, Blksize: blockSize,
		Owner: fuse.Owner{Uid: a.Uid, Gid: a.Gid},
		Atime: uint64(at.Sec), Atimensec: uint32(at.Nsec),
		Mtime: uint64(mt.Sec), Mtimensec: uint32(mt.Nsec),
		Ctime: uint64(ct.Sec), Ctimensec: uint32(ct.Nsec),
	}
}

// fill tells the kernel a file's attributes.
func (n *node) fill(a *fspb.Attr, out *fuse.Attr) {
	fillAttr(a, out)
	n.size.Store(int64(out.Size))
	n.special.Store(out.Mode&(unix.S_ISUID|unix.S_ISGID) != 0)
}

// enter answers with an entry. If something that concerns it became invalid since the question, the kernel may use the
// answer once, but not keep it.
func (fs *rawFS) enter(by caller, dir *node, name string, e *fspb.Entry, since uint64, out *fuse.EntryOut) *node {
	n := fs.intern(dir, name, e)
	out.NodeId, out.Generation = n.nodeid, 1
	a, err := n.local(by)
	if a == nil && err == 0 && fs.m.inval.touched(since, "", "", n.id) { // it may be from before something was written here
		a, _, _ = fs.attrOf(by, n)
	}
	if a == nil {
		a = n.ours(e.Attr)
	}
	n.settle(a)
	n.fill(a, &out.Attr)
	fs.own.show(n, &out.Attr)
	if !n.volatile && !fs.m.inval.touched(since, dir.id, name, n.id) {
		out.SetEntryTimeout(forever)
		out.SetAttrTimeout(forever)
	} else if fs.stays(dir, name) { // asked again, it could be another file, or an error: either takes what is mounted there away
		out.SetEntryTimeout(forever)
	}
	return n
}
