package netfs

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Shipped is a file whose reads and writes are passed on one by one, for descriptors whose owner is elsewhere.
type Shipped interface {
	// Read waits for up to n bytes; none and no error is the end. ctx ends when the reader gets a signal.
	Read(ctx context.Context, n int) ([]byte, error)
	// Write writes p, or as much of it as goes; it may keep p only until it returns.
	Write(ctx context.Context, p []byte) (int, error)
	// Close is after the last descriptor is closed, or after release if it was never opened.
	Close() error
}

// ships is the hidden directory of shipped files. Its numbers have the top bit set, which the home's files never have.
type ships struct {
	mu    sync.Mutex
	next  uint64
	byKey map[string]*ship
	byNum map[uint64]*ship
}

type ship struct {
	num    uint64
	key    string
	s      Shipped
	opens  int
	closed bool
	gone   bool // released: it goes with its last close
}

const (
	shipDir = ".onehost"
	shipTop = uint64(1) << 63
	shipDev = shipTop | 1 // the directory's number
)

func (s *ships) init() {
	s.next, s.byKey, s.byNum = shipDev, make(map[string]*ship), make(map[uint64]*ship)
}

// Ship makes a file whose reads and writes go to s, and gives its path. It can be opened by root only, who passes the
// descriptor on. release takes the name away; descriptors that are open stay good.
func (m *Mount) Ship(s Shipped) (path string, release func(), err error) {
	if m.cfg.NoOpen {
		return "", nil, fmt.Errorf("ship: %w: a mount without opens cannot ship", syscall.EOPNOTSUPP)
	}
	if m.dead.Load() {
		return "", nil, fmt.Errorf("ship: %w", syscall.EHOSTDOWN)
	}
	t := &m.fs.ships
	x := &ship{key: rand.Text(), s: s}
	t.mu.Lock()
	t.next++
	x.num = t.next
	t.byKey[x.key], t.byNum[x.num] = x, x
	t.mu.Unlock()
	var once sync.Once
	return filepath.Join(m.cfg.Dir, shipDir, x.key), func() {
		once.Do(func() {
			t.mu.Lock()
			x.gone = true
			delete(t.byKey, x.key)
			last := t.endLocked(x)
			t.mu.Unlock()
			if last {
				_ = s.Close()
			}
		})
	}, nil
}

// endLocked reports whether the file is to be closed now.
func (s *ships) endLocked(x *ship) bool {
	if x.opens > 0 || !x.gone || x.closed {
		return false
	}
	x.closed = true
	delete(s.byNum, x.num)
	return true
}

func (s *ships) owns(nodeid uint64) bool { return nodeid&shipTop != 0 }

// lookup answers for the hidden directory and what is in it. Nothing is kept by the kernel: names are used once.
func (s *ships) lookup(parent uint64, name string, out *fuse.EntryOut) (fuse.Status, bool) {
	if parent == fuse.FUSE_ROOT_ID && name == shipDir {
		out.NodeId, out.Generation = shipDev, 1
		s.attr(shipDev, &out.Attr)
		out.SetAttrTimeout(forever)
		return fuse.OK, true
	}
	if parent != shipDev {
		return fuse.OK, false
	}
	s.mu.Lock()
	x := s.byKey[name]
	s.mu.Unlock()
	if x == nil {
		return fuse.ENOENT, true
	}
	out.NodeId, out.Generation = x.num, 1
	s.attr(x.num, &out.Attr)
	out.SetAttrTimeout(forever)
	return fuse.OK, true
}

func (s *ships) attr(nodeid uint64, out *fuse.Attr) bool {
	if !s.owns(nodeid) {
		return false
	}
	// Whoever holds one may open it again as /dev/stdout and the like; nobody gets at it by its name but root.
	*out = fuse.Attr{Ino: nodeid, Mode: unix.S_IFREG | 0o666, Nlink: 1, Blksize: 4096}
	if nodeid == shipDev {
		out.Mode, out.Nlink = unix.S_IFDIR|0o700, 2
	}
	return true
}

// opened reports whether a change of attributes is no more than the O_TRUNC of an open, as of a shell's "> /dev/stderr". It does
// nothing: the one who opens a shipped file again gets the descriptor that its owner has, with its offset, and what others wrote
// before that stays.
func (s *ships) opened(in *fuse.SetAttrIn, out *fuse.AttrOut) bool {
	size, sized := in.GetSize()
	if !sized || size != 0 || in.NodeId == shipDev || in.Valid&^(fuse.FATTR_SIZE|fuse.FATTR_LOCKOWNER|fuse.FATTR_KILL_SUIDGID) != 0 {
		return false
	}
	return s.attr(in.NodeId, &out.Attr)
}

func (s *ships) find(nodeid uint64) *ship {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byNum[nodeid]
}

func (s *ships) open(in *fuse.OpenIn, out *fuse.OpenOut) (fuse.Status, bool) {
	if !s.owns(in.NodeId) {
		return fuse.OK, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byNum[in.NodeId]
	if x == nil || x.closed {
		return fuse.ENOENT, true
	}
	x.opens++
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_STREAM | fuse.FOPEN_NONSEEKABLE | fuse.FOPEN_NOFLUSH
	return fuse.OK, true
}

func (s *ships) read(fs *rawFS, stop <-chan struct{}, in *fuse.ReadIn) (fuse.ReadResult, fuse.Status, bool) {
	if !s.owns(in.NodeId) {
		return nil, fuse.OK, false
	}
	x := s.find(in.NodeId)
	if x == nil {
		return nil, fuse.EBADF, true
	}
	b, err := x.s.Read(stopCtx{fs.m.ctx, stop}, int(in.Size))
	if len(b) > int(in.Size) {
		b, err = nil, syscall.EIO
	}
	if err != nil {
		return nil, fuse.Status(errno(err)), true
	}
	return fuse.ReadResultData(b), fuse.OK, true
}

func (s *ships) write(fs *rawFS, stop <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status, bool) {
	if !s.owns(in.NodeId) {
		return 0, fuse.OK, false
	}
	x := s.find(in.NodeId)
	if x == nil {
		return 0, fuse.EBADF, true
	}
	n, err := x.s.Write(stopCtx{fs.m.ctx, stop}, data)
	if err != nil && n <= 0 {
		return 0, fuse.Status(errno(err)), true
	}
	return uint32(n), fuse.OK, true
}

func (s *ships) release(in *fuse.ReleaseIn) bool {
	if !s.owns(in.NodeId) {
		return false
	}
	s.mu.Lock()
	x := s.byNum[in.NodeId]
	last := false
	if x != nil {
		x.opens--
		last = s.endLocked(x)
	}
	s.mu.Unlock()
	if last {
		_ = x.s.Close()
	}
	return true
}
