package netfs

import (
	"container/list"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/netfs/fspb"
	"github.com/onehost/onehost/sys"
)

// A file id is opaque to clients: mount index (4 bytes), handle type (4 bytes), handle. The type pinnedType stands for a
// file system without handles, where the server keeps a descriptor for as long as it lives and the handle is a number.
const (
	idHead     = 8
	maxID      = idHead + 128 // MAX_HANDLE_SZ
	pinnedType = -2
	maxFDs     = 3000     // descriptors kept for speed
	maxPinned  = 16 << 10 // descriptors kept because there is no handle
)

// mnt is one mount of the home's tree.
type mnt struct {
	index    uint32
	id       int // the kernel's mount id
	fd       int // an open file on it, for open_by_handle_at
	fsid     [8]byte
	handles  bool // open_by_handle_at works
	volatile bool // changes are not reported, or content is made up when read: nothing of it may be kept
}

// obj is a file the server has a descriptor (O_PATH) of.
type obj struct {
	id     string
	m      *mnt
	fd     int
	refs   int // calls that use it now, and pins of clients
	pinned bool
	dead   bool // lost its last name: the descriptor must not keep the space in use
	el     *list.Element
}

// objects finds files by id. It never holds its lock across a system call that could wait for a network.
type objects struct {
	mu      sync.Mutex
	mounts  []*mnt
	byMount map[int]*mnt
	objs    map[string]*obj
	lru     *list.List // of *obj with refs == 0, oldest first
	pins    uint64
	path    string // where table is kept; empty: nowhere
	table   mountTable
	byFID   map[fid]string // pinned files by what fanotify calls them
	devs    map[uint64]uint64
}

func newObjects() *objects {
	return &objects{
		byMount: make(map[int]*mnt), objs: make(map[string]*obj), lru: list.New(),
		byFID: make(map[fid]string), devs: make(map[uint64]uint64),
		pins: uint64(time.Now().UnixNano()), // a number that an earlier daemon gave must not name another file
	}
}

func makeID(m *mnt, typ int32, handle []byte) string {
	b := make([]byte, idHead, idHead+len(handle))
	binary.BigEndian.PutUint32(b, m.index)
	binary.BigEndian.PutUint32(b[4:], uint32(typ))
	return string(append(b, handle...))
}

// get gives the file with this id; the caller must put it back.
func (o *objects) get(id string) (*obj, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if x := o.objs[id]; x != nil {
		o.use(x)
		return x, nil
	}
	if len(id) < idHead || len(id) > maxID {
		return nil, syscall.ESTALE
	}
	index, typ := binary.BigEndian.Uint32([]byte(id)), int32(binary.BigEndian.Uint32([]byte(id)[4:]))
	if int(index) >= len(o.mounts) || typ == pinnedType {
		return nil, syscall.ESTALE
	}
	m := o.mounts[index]
	fd, err := unix.OpenByHandleAt(m.fd, unix.NewFileHandle(typ, []byte(id[idHead:])), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	x := &obj{id: id, m: m, fd: fd, refs: 1, dead: nameless(fd)}
	o.objs[id] = x
	o.shrink()
	return x, nil
}

func (o *objects) use(x *obj) {
	if x.el != nil {
		o.lru.Remove(x.el)
		x.el = nil
	}
	x.refs++
}

// hold takes another reference.
func (o *objects) hold(x *obj) {
	o.mu.Lock()
	o.use(x)
	o.mu.Unlock()
}

// put gives a file back.
func (o *objects) put(x *obj) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if x.refs--; x.refs > 0 {
		return
	}
	if x.dead {
		o.closeLocked(x)
	} else if !x.pinned {
		x.el = o.lru.PushBack(x)
		o.shrink()
	}
}

// bury is for a file that lost a name. If it was the last, its descriptor goes when nobody uses it any more, and bury gives it, held, so that
// it can be kept; else nil.
func (o *objects) bury(id string) *obj {
	o.mu.Lock()
	defer o.mu.Unlock()
	x := o.objs[id]
	if x == nil {
		return nil
	}
	var st unix.Statx_t
	if err := statx(x.fd, &st); err == nil && st.Nlink > 0 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	x.dead = true
	o.use(x)
	return x
}

// orphans gives the ids of the files there are descriptors of that lost their last name unnoticed.
func (o *objects) orphans() (ids []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, x := range o.objs {
		if !x.dead && nameless(x.fd) {
			ids = append(ids, id)
		}
	}
	return ids
}

// nameless reports whether a file has lost its last name already: bury is not called for it again. What a network file system says of it may be old.
func nameless(fd int) bool {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_NLINK, &st)
	return err == nil && st.Mask&unix.STATX_NLINK != 0 && st.Nlink == 0
}

func (o *objects) closeLocked(x *obj) {
	if x.el != nil {
		o.lru.Remove(x.el)
		x.el = nil
	}
	if o.objs[x.id] == x {
		delete(o.objs, x.id)
	}
	for key, id := range o.byFID {
		if x.pinned && id == x.id {
			delete(o.byFID, key)
		}
	}
	_ = unix.Close(x.fd)
}

func (o *objects) shrink() {
	for len(o.objs) > maxFDs && o.lru.Len() > 0 {
		x := o.lru.Remove(o.lru.Front()).(*obj)
		delete(o.objs, x.id)
		_ = unix.Close(x.fd)
	}
}

// adopt gives the file that fd (O_PATH) is open on, and owns fd from then on, whatever happens. The caller must put the
// file back.
func (o *objects) adopt(fd int) (*obj, error) {
	h, mid, err := sys.NameToHandleFID(fd, true)
	none := errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.EOVERFLOW)
	if none {
		mid, err = mountID(fd)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	m, err := o.mountLocked(mid, fd)
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	var key fid
	var id string
	if none || !m.handles {
		key, id, err = o.pinLocked(m, fd)
		if err != nil {
			_ = unix.Close(fd)
			return nil, err
		}
	} else {
		id = makeID(m, h.Type(), h.Bytes())
	}
	if x := o.objs[id]; x != nil {
		_ = unix.Close(fd)
		o.use(x)
		return x, nil
	}
	x := &obj{id: id, m: m, fd: fd, refs: 1, pinned: key.handle != ""}
	x.dead = !x.pinned && nameless(fd)
	o.objs[id] = x
	o.shrink()
	return x, nil
}

// pinLocked names a file of a file system without handles.
func (o *objects) pinLocked(m *mnt, fd int) (fid, string, error) {
	key := fid{fsid: m.fsid, typ: pinnedType}
	if h, _, err := sys.NameToHandleFID(fd, false); err == nil {
		key.typ, key.handle = h.Type(), string(h.Bytes())
	} else {
		var st unix.Statx_t
		if err := statx(fd, &st); err != nil {
			return key, "", err
		}
		key.handle = fmt.Sprint(st.Dev_major, st.Dev_minor, st.Ino, st.Btime)
	}
	if id, ok := o.byFID[key]; ok {
		return key, id, nil
	}
	if len(o.byFID) >= maxPinned {
		return key, "", syscall.ENFILE
	}
	o.pins++
	id := makeID(m, pinnedType, binary.BigEndian.AppendUint64(nil, o.pins))
	o.byFID[key] = id
	return key, id, nil
}

// ids gives the ids clients may know a file by that fanotify reports: one for each mount of its file system.
func (o *objects) ids(f fid) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if id, ok := o.byFID[f]; ok {
		return []string{id}
	}
	var ids []string
	for _, m := range o.mounts {
		if m.fsid == f.fsid && m.handles {
			ids = append(ids, makeID(m, f.typ, []byte(f.handle)))
		}
	}
	return ids
}

// ino gives an inode number that is unique over the devices of the tree: the first device's are as they are.
func (o *objects) ino(st *unix.Statx_t) uint64 { return st.Ino ^ o.inoOf(st) }

// inoOf gives what makes the inode numbers of a file's device unique, to be xored to them.
func (o *objects) inoOf(st *unix.Statx_t) uint64 {
	dev := uint64(st.Dev_major)<<32 | uint64(st.Dev_minor)
	o.mu.Lock()
	n, ok := o.devs[dev]
	if !ok {
		n = uint64(len(o.devs))
		o.devs[dev] = n
		o.table.Devs = append(o.table.Devs, dev)
		_ = o.saveLocked() // without it, numbers of files may change when the daemon is started again
	}
	o.mu.Unlock()
	return n << 48
}

// inosIn is inoOf for the names in an open directory. What is mounted on one of them has another number by stat, natively as well.
func (o *objects) inosIn(fd int) (uint64, error) {
	var st unix.Statx_t
	if err := statx(fd, &st); err != nil {
		return 0, err
	}
	return o.inoOf(&st), nil
}

func (o *objects) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, x := range o.objs {
		_ = unix.Close(x.fd)
	}
	for _, m := range o.mounts {
		if m.fd >= 0 {
			_ = unix.Close(m.fd)
		}
	}
	o.objs, o.mounts = map[string]*obj{}, nil
	o.lru.Init()
}

func statx(fd int, st *unix.Statx_t) error {
	return unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_SYNC_AS_STAT, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, st)
}

func mountID(fd int) (int, error) {
	var st unix.Statx_t
	if err := statx(fd, &st); err != nil {
		return 0, err
	}
	return int(st.Mnt_id), nil
}

// nanoseconds gives a time as it goes over the wire; one outside of the years 1678 to 2261, to which 64 bits reach, is the nearest within.
func nanoseconds(sec int64, nsec uint32) int64 {
	const most = int64(math.MaxInt64/1_000_000_000 - 1)
	if sec < -most {
		return -most * 1_000_000_000
	}
	if sec > most {
		return most * 1_000_000_000
	}
	return sec*1e9 + int64(nsec)
}

// attr turns what statx says into what goes over the wire.
func (o *objects) attr(st *unix.Statx_t) *fspb.Attr {
	ns := func(t unix.StatxTimestamp) int64 { return nanoseconds(t.Sec, t.Nsec) }
	return &fspb.Attr{
		Ino: o.ino(st), Size: st.Size, Blocks: st.Blocks, Mode: uint32(st.Mode), Nlink: st.Nlink,
		Uid: st.Uid, Gid: st.Gid, Rdev: uint32(unix.Mkdev(st.Rdev_major, st.Rdev_minor)), Blksize: st.Blksize,
		Atime: ns(st.Atime), Mtime: ns(st.Mtime), Ctime: ns(st.Ctime),
	}
}
