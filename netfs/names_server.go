package netfs

import (
	"context"
	"errors"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/netfs/fspb"
	"github.com/onehost/onehost/token"
)

// Bounds of listings.
const (
	smallDir = 160     // entries of a directory that is given away whole, with attributes
	namesDir = 4096    // entries of a directory whose names are given away with the first lookup
	pageSize = 1 << 20 // bytes of names in one reply
)

// checkName refuses what is not the name of a directory's entry.
func checkName(name []byte) error {
	if len(name) > 255 {
		return syscall.ENAMETOOLONG
	}
	if len(name) == 0 || string(name) == "." || string(name) == ".." || strings.ContainsAny(string(name), "/\x00") {
		return syscall.EINVAL
	}
	return nil
}

// child opens dir/name as an object.
func (s *Server) child(dir *obj, name []byte) (*obj, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	fd, err := unix.Openat(dir.fd, string(name), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return s.files.adopt(fd)
}

// entry stats a file and lets c keep what it is told. The token comes first, so that a change after the stat finds it.
func (s *Server) entry(ctx context.Context, c viewer, x *obj, name []byte) (*fspb.Entry, error) {
	if err := s.acquire(ctx, c, x.id, token.DataRead); err != nil {
		return nil, err
	}
	var st unix.Statx_t
	if err := statx(x.fd, &st); err != nil {
		return nil, err
	}
	if st.Nlink > 1 && st.Mode&unix.S_IFMT == unix.S_IFREG {
		s.watchFile(x, watchData) // a write through its other name is reported to the file only
	}
	return &fspb.Entry{Name: name, Id: []byte(x.id), Attr: s.files.attr(&st), Type: uint32(st.Mode) & unix.S_IFMT, Uncached: x.m.volatile}, nil
}

// attachOp: Result.seq, and the root as entry.
func (s *Server) attachOp(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	x, err := s.files.get(s.root)
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(x)
	for part := range strings.SplitSeq(string(op.Name2), "/") { // a subtree
		if part == "" {
			continue
		}
		y, err := s.child(x, []byte(part))
		if err != nil {
			return nil, nil, err
		}
		s.files.put(x)
		x = y
	}
	s.watchDir(x)
	e, err := s.entry(ctx, c, x, nil)
	return &fspb.Result{Entry: e}, nil, err
}

// lookup: id, name, listing. ENOENT comes as a result without an entry, for the listing that may be with it.
func (s *Server) lookup(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	dir, err := s.files.get(string(op.Id))
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(dir)
	if err := s.acquire(ctx, c, dir.id, token.NamesRead); err != nil {
		return nil, nil, err
	}
	s.watchDir(dir)
	res := &fspb.Result{}
	x, err := s.child(dir, op.Name)
	switch {
	case err == nil:
		res.Entry, err = s.entry(ctx, c, x, op.Name)
		s.files.put(x)
		if err != nil {
			return nil, nil, err
		}
	case errors.Is(err, syscall.ENOENT):
		res.Entry = &fspb.Entry{Uncached: dir.m.volatile}
	default:
		return nil, nil, err
	}
	if op.Listing && !dir.m.volatile {
		s.listing(c, dir, res)
	}
	return res, nil, nil
}

// listing adds the whole directory to res if it is small enough; failing is no error, it is only not there then.
func (s *Server) listing(c viewer, dir *obj, res *fspb.Result) {
	fd, err := unix.Open(procFD(dir.fd), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var all []*fspb.Entry
	d := dirReader{fd: fd}
	of, err := s.files.inosIn(fd)
	if err != nil {
		return
	}
	for {
		name, typ, ino, _, err := d.next()
		if err != nil || len(all) > namesDir {
			return
		}
		if name == nil {
			break
		}
		all = append(all, &fspb.Entry{Name: name, Type: typ, Ino: ino ^ of})
	}
	if len(all) <= smallDir {
		for _, e := range all {
			if name := string(e.Name); name != "." && name != ".." {
				s.fill(c, dir, e)
			}
		}
	}
	res.Entries, res.Listed = all, true
}

// fill adds id and attributes to an entry of a listing, if that can be done without asking anybody. It takes two system
// calls and no descriptor.
func (s *Server) fill(c viewer, dir *obj, e *fspb.Entry) {
	h, mid, err := unix.NameToHandleAt(dir.fd, string(e.Name), 0)
	if err != nil || !dir.m.handles || mid != dir.m.id {
		return
	}
	id := makeID(dir.m, h.Type(), h.Bytes())
	s.mu.Lock()
	if w, ok := s.tokens.Writer(token.Object(id)); ok && w != c.holder() {
		s.mu.Unlock()
		return
	}
	s.stepLocked(token.Message{Kind: token.Acquire, Object: token.Object(id), Holder: c.holder(), Mode: token.DataRead})
	s.unlock()
	var st unix.Statx_t
	if err := unix.Statx(dir.fd, string(e.Name), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st); err != nil {
		return
	}
	if st.Mnt_id != uint64(mid) || st.Nlink > 1 && st.Mode&unix.S_IFMT == unix.S_IFREG {
		return // something is mounted there, or it needs a watch of its own
	}
	e.Id, e.Attr, e.Type = []byte(id), s.files.attr(&st), uint32(st.Mode)&unix.S_IFMT
	e.Ino = e.Attr.Ino
}

// readdir: id, off (from Result.next). Result.entries, names only, with eof at the end.
func (s *Server) readdir(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	dir, err := s.files.get(string(op.Id))
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(dir)
	if err := s.acquire(ctx, c, dir.id, token.NamesRead); err != nil {
		return nil, nil, err
	}
	s.watchDir(dir)
	fd, err := unix.Open(procFD(dir.fd), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(fd)
	if op.Off != 0 {
		if _, err := unix.Seek(fd, op.Off, unix.SEEK_SET); err != nil {
			return nil, nil, err
		}
	}
	res := &fspb.Result{}
	d := dirReader{fd: fd}
	of, err := s.files.inosIn(fd)
	if err != nil {
		return nil, nil, err
	}
	for size := 0; size < pageSize; {
		name, typ, ino, next, err := d.next()
		if err != nil {
			return nil, nil, err
		}
		if name == nil {
			res.Eof = true
			break
		}
		res.Entries = append(res.Entries, &fspb.Entry{Name: name, Type: typ, Ino: ino ^ of, Uncached: dir.m.volatile})
		res.Next = uint64(next)
		size += len(name) + 32
	}
	return res, nil, nil
}

// getattr: id.
func (s *Server) getattr(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	x, err := s.files.get(string(op.Id))
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(x)
	e, err := s.entry(ctx, c, x, nil)
	return &fspb.Result{Entry: e}, nil, err
}

func (s *Server) readlink(_ context.Context, _ viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	x, err := s.files.get(string(op.Id))
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(x)
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(x.fd, "", b)
	if err != nil {
		return nil, nil, err
	}
	return &fspb.Result{}, b[:n], nil
}

// build: id, name, mode, rdev, cred, flags; kind by method. The result's entry is what was made.
func (s *Server) build(ctx context.Context, c viewer, op *fspb.Op, do func(dirfd int, name string) error) (*fspb.Result, []byte, error) {
	res, x, err := s.buildAs(ctx, c, op, do, func() (*obj, error) { return nil, nil })
	if err != nil {
		return nil, nil, err
	}
	s.files.put(x)
	return res, nil, nil
}

// buildAs is build of something that need not be found by its name, which others may have taken from it by now: what gives it after do, or nil,
// held. The caller must put it back.
func (s *Server) buildAs(ctx context.Context, c viewer, op *fspb.Op, do func(dirfd int, name string) error, what func() (*obj, error)) (*fspb.Result, *obj, error) {
	if err := checkName(op.Name); err != nil {
		return nil, nil, err
	}
	dir, err := s.files.get(string(op.Id))
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(dir)
	s.watchDir(dir)
	if err := s.once(c, op, func() error { return do(dir.fd, string(op.Name)) }); err != nil {
		return nil, nil, err
	}
	x, err := what()
	if err != nil {
		return nil, nil, err
	}
	return s.made(ctx, c, dir, op.Name, x)
}

// made tells the others of a new name and gives its entry. x is what has got the name, held, or nil if only the name is known; it is held
// still when it is given back.
func (s *Server) made(ctx context.Context, c viewer, dir *obj, name []byte, x *obj) (*fspb.Result, *obj, error) {
	s.mu.Lock()
	s.nameChangedLocked(c.holder(), dir.id, string(name))
	s.stepLocked(token.Message{Kind: token.Acquire, Object: token.Object(dir.id), Holder: c.holder(), Mode: token.NamesRead})
	after := s.dirLocked(c, dir)
	s.unlock()
	switch there, err := s.child(dir, name); {
	case x == nil && err != nil:
		return nil, nil, err
	case x == nil:
		x = there
	default:
		if there != x { // it has lost the name already, perhaps before c was among those who hear of it
			s.mu.Lock()
			s.noteLocked(c.holder(), &fspb.Inval{Dir: []byte(dir.id), Name: name, Entry: true})
			s.unlock()
		}
		if err == nil {
			s.files.put(there)
		}
	}
	e, err := s.entry(ctx, c, x, name)
	if err != nil {
		s.files.put(x)
		return nil, nil, err
	}
	return &fspb.Result{Entry: e, Dir: after}, x, nil
}

// dirLocked gives the attributes that a change left a directory with, nil if they may not be kept. Its author would ask for
// them next.
func (s *Server) dirLocked(c viewer, dir *obj) *fspb.Attr {
	if dir.m.volatile {
		return nil
	}
	s.stepLocked(token.Message{Kind: token.Acquire, Object: token.Object(dir.id), Holder: c.holder(), Mode: token.DataRead})
	var st unix.Statx_t
	if err := statx(dir.fd, &st); err != nil {
		return nil
	}
	return s.files.attr(&st)
}

func (s *Server) mkdir(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	return s.build(ctx, c, op, func(d int, n string) error { return unix.Mkdirat(d, n, op.Mode) })
}

// mknod makes a device node under the caller's own capabilities: setfsuid leaves a non-root user none of CAP_MKNOD.
func (s *Server) mknod(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	return s.build(ctx, c, op, func(d int, n string) error { return unix.Mknodat(d, n, op.Mode, int(op.Rdev)) })
}

func (s *Server) symlink(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	return s.build(ctx, c, op, func(d int, n string) error { return unix.Symlinkat(string(op.Name2), d, n) })
}

// link: id is the file, id2 and name the new name.
func (s *Server) link(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	x, err := s.files.get(string(op.Id))
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(x)
	if err := s.acquire(ctx, c, x.id, token.DataRead); err != nil {
		return nil, nil, err
	}
	s.watchFile(x, watchData)
	op.Id = op.Id2
	res, _, err := s.buildAs(ctx, c, op, func(d int, n string) error {
		return unix.Linkat(unix.AT_FDCWD, procFD(x.fd), d, n, unix.AT_SYMLINK_FOLLOW)
	}, func() (*obj, error) {
		s.files.hold(x)
		return x, nil
	})
	if err != nil {
		return nil, nil, err
	}
	s.files.put(x)
	s.told(c, &fspb.Inval{Id: []byte(x.id), Attr: true})
	return res, nil, nil
}

// told tells the others that a file changed.
func (s *Server) told(c viewer, inv *fspb.Inval) {
	s.mu.Lock()
	s.objChangedLocked(c.holder(), string(inv.Id), inv)
	s.unlock()
}

// unlink: id, name, flags (AT_REMOVEDIR), pin. Result.entry is the file that lost the name.
func (s *Server) unlink(_ context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	if err := checkName(op.Name); err != nil {
		return nil, nil, err
	}
	dir, err := s.files.get(string(op.Id))
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(dir)
	var x *obj
	if (op.Pin || op.Flags&unix.AT_REMOVEDIR == 0) && !s.deeds.has(c, op) {
		if x, err = s.child(dir, op.Name); err != nil {
			return nil, nil, err
		}
		defer s.files.put(x)
	}
	if op.Pin && x != nil {
		s.pin(c, x)
	}
	err = s.once(c, op, func() error {
		return unix.Unlinkat(dir.fd, string(op.Name), int(op.Flags&unix.AT_REMOVEDIR))
	})
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.unlock()
	if x != nil { // first: who knows the file is to drop its name
		s.lostNameLocked(c.holder(), x.id)
	}
	s.nameChangedLocked(c.holder(), dir.id, string(op.Name))
	if x != nil {
		s.unsent.removed(x.id)
		s.objChangedLocked(c.holder(), x.id, &fspb.Inval{Id: []byte(x.id), Attr: true})
	}
	return &fspb.Result{Dir: s.dirLocked(c, dir), Entry: s.left(x)}, nil, nil
}

// rename: id, name, id2, name2, flags; pin for what is at the target. Result.entry is what was there.
func (s *Server) rename(_ context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	if err := checkName(op.Name); err != nil {
		return nil, nil, err
	}
	if err := checkName(op.Name2); err != nil {
		return nil, nil, err
	}
	from, err := s.files.get(string(op.Id))
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(from)
	to, err := s.files.get(string(op.Id2))
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(to)
	var victim *obj
	if !s.deeds.has(c, op) {
		victim, _ = s.child(to, op.Name2) // there may be none
	}
	if victim != nil {
		defer s.files.put(victim)
		if op.Pin {
			s.pin(c, victim)
		}
	}
	s.watchDir(to)
	err = s.once(c, op, func() error {
		return unix.Renameat2(from.fd, string(op.Name), to.fd, string(op.Name2), uint(op.Flags))
	})
	if err != nil {
		return nil, nil, err
	}
	moved, err := s.child(to, op.Name2)
	s.mu.Lock()
	defer s.unlock()
	if victim != nil { // first, as in unlink
		s.lostNameLocked(c.holder(), victim.id)
	}
	s.nameChangedLocked(c.holder(), from.id, string(op.Name))
	s.nameChangedLocked(c.holder(), to.id, string(op.Name2))
	if err == nil {
		s.unsent.moved(moved.id, place{to.id, string(op.Name2)})
		s.objChangedLocked(c.holder(), moved.id, &fspb.Inval{Id: []byte(moved.id), Attr: true})
		defer s.files.put(moved)
	}
	if victim != nil {
		if op.Flags&unix.RENAME_EXCHANGE == 0 {
			s.unsent.removed(victim.id)
		}
		s.objChangedLocked(c.holder(), victim.id, &fspb.Inval{Id: []byte(victim.id), Attr: true})
	}
	res := &fspb.Result{Dir: s.dirLocked(c, from), Dir2: s.dirLocked(c, to)}
	if victim != nil && op.Flags&unix.RENAME_EXCHANGE == 0 && (moved == nil || victim.id != moved.id) {
		res.Entry = s.left(victim)
	}
	return res, nil, nil
}

// left is what a file looks like that lost a name, for one who may hold back some of it.
func (s *Server) left(x *obj) *fspb.Entry {
	if x == nil {
		return nil
	}
	var st unix.Statx_t
	if err := statx(x.fd, &st); err != nil {
		return nil
	}
	return &fspb.Entry{Id: []byte(x.id), Attr: s.files.attr(&st)}
}
