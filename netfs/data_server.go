package netfs

import (
	"context"
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/netfs/fspb"
	"github.com/onehost/onehost/token"
)

// maxData bounds the bytes of one read or write, well under what a message holds.
const maxData = 1 << 20

// writeDone in Op.flags of fs.write gives the writer's token back with the last piece.
const writeDone = 1 << 31

// writeKill in Op.flags of fs.write and fs.setattr says that the change takes away the bits that run the file as another
// user or group. The home's kernel does that by itself for those who may not keep them, as whom the change is made then.
const writeKill = 1 << 30

// Free space that makes it safe to hold writes back after close: nobody fills that much between two flushes unseen.
const ampleBytes = 2 << 30

// open gives the file of an op opened with flags by root; it must be a regular file. Nothing is kept open between calls: a
// descriptor kept for writing would make the file impossible to execute at home, and one kept for reading would show the
// old content of a file that an overlay has copied up since.
func (s *Server) open(id []byte, flags int) (*obj, int, error) {
	x, err := s.files.get(string(id))
	if err != nil {
		return nil, -1, err
	}
	var st unix.Statx_t
	if err = statx(x.fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = syscall.EACCES
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			err = syscall.EISDIR
		}
	}
	fd := -1
	if err == nil {
		fd, err = unix.Open(procFD(x.fd), flags|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if errors.Is(err, syscall.EPERM) && flags&unix.O_NOATIME != 0 {
			fd, err = unix.Open(procFD(x.fd), flags&^unix.O_NOATIME|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		}
	}
	if err != nil {
		s.files.put(x)
		return nil, -1, err
	}
	return x, fd, nil
}

func (s *Server) shut(x *obj, fd int) {
	_ = unix.Close(fd)
	s.files.put(x)
}

// read: id, off, len. The data is the body; eof if the file ends there.
func (s *Server) read(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	if op.Off < 0 || op.Len < 0 || op.Len > maxData {
		return nil, nil, syscall.EINVAL
	}
	if err := s.acquire(ctx, c, string(op.Id), token.DataRead); err != nil {
		return nil, nil, err
	}
	x, fd, err := s.open(op.Id, unix.O_RDONLY|unix.O_NOATIME)
	if err != nil {
		return nil, nil, err
	}
	defer s.shut(x, fd)
	size := op.Len
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil && !x.m.volatile {
		size = min(size, max(0, st.Size-op.Off)+1) // one more, to see the end
	}
	b := make([]byte, size)
	n := 0
	for n < len(b) {
		k, err := unix.Pread(fd, b[n:], op.Off+int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if k == 0 {
			return &fspb.Result{Eof: true}, b[:n], nil
		}
		n += k
	}
	return &fspb.Result{}, b[:n], nil
}

// grant gives c the writes of x.
func (s *Server) grant(ctx context.Context, c viewer, x *obj, res *fspb.Result) error {
	res.Now = time.Now().UnixNano()
	if x.m.volatile {
		return nil
	}
	if err := s.acquire(ctx, c, x.id, token.DataWrite); err != nil {
		return err
	}
	res.Write = true
	s.guard(c, x)
	var sf unix.Statfs_t
	if err := unix.Fstatfs(x.fd, &sf); err == nil {
		free := sf.Bavail * uint64(sf.Bsize)
		res.Ample = free > ampleBytes && sf.Ffree+sf.Files != 1 && (sf.Files == 0 || sf.Ffree > 10000)
	}
	return nil
}

// acquireOp: id. The caller is about to write; Result.write, ample, entry.
func (s *Server) acquireOp(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	x, err := s.files.get(string(op.Id))
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(x)
	res := &fspb.Result{}
	if err := s.grant(ctx, c, x, res); err != nil {
		return nil, nil, err
	}
	res.Entry, err = s.entry(ctx, c, x, nil)
	return res, nil, err
}

// release: id. The caller holds back nothing of it any more.
func (s *Server) release(_ context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	s.unsent.forget(c.life(), string(op.Id))
	s.released(c, string(op.Id))
	return &fspb.Result{}, nil, nil
}

// create: id, name, mode, flags (O_EXCL, O_TRUNC), cred. The caller gets the writes with it.
func (s *Server) create(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	flags := int(op.Flags&(unix.O_TRUNC|unix.O_ACCMODE)) | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	fd, old := -1, false // old: it was there
	res, x, err := s.buildAs(ctx, c, op, func(d int, n string) (err error) {
		fd, err = unix.Openat(d, n, flags|unix.O_EXCL, op.Mode&0o7777)
		if errors.Is(err, syscall.EEXIST) && op.Flags&unix.O_EXCL == 0 { // somebody else was quicker
			old = true
			fd, err = unix.Openat(d, n, flags&^unix.O_TRUNC, op.Mode&0o7777)
		}
		return err
	}, func() (*obj, error) {
		if fd < 0 { // it was created when this was asked for the first time
			return nil, nil
		}
		p, err := unix.Open(procFD(fd), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		if !old { // a file that may be executed at once must not be open for writing
			_ = unix.Close(fd)
			fd = -1
		}
		return s.files.adopt(p)
	})
	if fd >= 0 {
		defer unix.Close(fd)
	}
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(x)
	if at := (place{string(op.Id), string(op.Name)}); !old && !s.unsent.made(c.life(), x.id, at) {
		_ = s.removeEmpty(x.id, at)
		return nil, nil, errDetached
	}
	if res.Entry.Attr.Nlink == 0 { // removed already; the caller has it open all the same
		s.pin(c, x)
	}
	if res.Entry.Type != unix.S_IFREG {
		return res, nil, nil
	}
	if err = s.grant(ctx, c, x, res); err != nil || !old || flags&unix.O_TRUNC == 0 {
		return res, nil, err
	}
	// Not before: what another wrote, and hands over only now, is to go, too.
	err = s.workers.as(op.Cred, func() error {
		again, err := unix.Open(procFD(fd), flags&^(unix.O_CREAT|unix.O_NOFOLLOW), 0)
		if err == nil {
			err = unix.Close(again)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	s.told(c, &fspb.Inval{Id: res.Entry.Id, Data: true})
	res.Entry, err = s.entry(ctx, c, x, op.Name)
	return res, nil, err
}

// tmpfile: id (directory), mode, cred: a file without a name, kept until fs.unpin.
func (s *Server) tmpfile(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	dir, err := s.files.get(string(op.Id))
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(dir)
	fd := -1
	err = s.workers.as(op.Cred, func() (err error) {
		fd, err = unix.Open(procFD(dir.fd), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC|int(op.Flags&unix.O_EXCL), op.Mode&0o7777)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(fd)
	p, err := unix.Open(procFD(fd), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	x, err := s.files.adopt(p)
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(x)
	s.pin(c, x)
	res := &fspb.Result{}
	if err := s.grant(ctx, c, x, res); err != nil {
		return nil, nil, err
	}
	res.Entry, err = s.entry(ctx, c, x, nil)
	return res, nil, err
}

// spender gives who uses up room by an op: quotas and the file system's reserve are about him.
func spender(op *fspb.Op) *fspb.Cred {
	if op.Flags&writeKill != 0 {
		return op.Cred
	}
	return &fspb.Cred{Uid: op.GetCred().GetUid()}
}

// write: id, off, flags (O_APPEND, O_SYNC, writeDone, writeKill), set.mtime, cred (of the user only without writeKill), body. Result.entry is the file afterwards, Result.n where
// an append went.
func (s *Server) write(ctx context.Context, c viewer, op *fspb.Op, body []byte) (*fspb.Result, []byte, error) {
	if op.Off < 0 || len(body) > maxData {
		return nil, nil, syscall.EINVAL
	}
	if err := s.acquire(ctx, c, string(op.Id), token.DataWrite); err != nil {
		return nil, nil, err
	}
	x, fd, err := s.open(op.Id, unix.O_WRONLY|int(op.Flags&(unix.O_APPEND|unix.O_DSYNC|unix.O_SYNC)))
	if err != nil {
		return nil, nil, err
	}
	defer s.shut(x, fd)
	s.unsent.forget(c.life(), x.id)
	res := &fspb.Result{N: op.Off}
	err = s.workers.as(spender(op), func() error {
		for b, off := body, op.Off; len(b) > 0; {
			var n int
			var err error
			if op.Flags&unix.O_APPEND != 0 {
				n, err = unix.Write(fd, b)
			} else {
				n, err = unix.Pwrite(fd, b, off)
			}
			if err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
			b, off = b[max(n, 0):], off+int64(max(n, 0))
		}
		return nil
	})
	if t := op.GetSet().GetMtime(); t != 0 && err == nil {
		err = s.workers.as(nil, func() error {
			return unix.UtimesNanoAt(unix.AT_FDCWD, procFD(fd), []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(t)}, 0)
		})
	}
	s.told(c, &fspb.Inval{Id: op.Id, Data: true})
	if err != nil {
		return nil, nil, err
	}
	if op.Flags&unix.O_APPEND != 0 {
		end, _ := unix.Seek(fd, 0, unix.SEEK_CUR)
		res.N = end - int64(len(body))
	}
	res.Now = time.Now().UnixNano()
	if op.Flags&writeDone != 0 {
		s.released(c, x.id)
	}
	res.Entry, err = s.entry(ctx, c, x, nil)
	return res, nil, err
}

// setattr: id, set, flags (writeKill), cred. Size changes are checked by the caller's kernel, which knows what the file was opened for.
func (s *Server) setattr(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	set := op.GetSet()
	if set == nil {
		return nil, nil, syscall.EINVAL
	}
	mode := token.DataRead
	if set.Size != nil {
		mode = token.DataWrite
	}
	if err := s.acquire(ctx, c, string(op.Id), mode); err != nil {
		return nil, nil, err
	}
	x, err := s.files.get(string(op.Id))
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(x)
	if set.Size != nil {
		y, fd, err := s.open(op.Id, unix.O_WRONLY)
		if err != nil {
			return nil, nil, err
		}
		err = s.workers.as(spender(op), func() error { return unix.Ftruncate(fd, set.GetSize()) })
		s.shut(y, fd)
		if err != nil {
			return nil, nil, err
		}
	}
	if err := s.workers.as(op.Cred, func() error { return change(x.fd, set) }); err != nil {
		return nil, nil, err
	}
	s.told(c, &fspb.Inval{Id: op.Id, Attr: true, Data: set.Size != nil})
	e, err := s.entry(ctx, c, x, nil)
	return &fspb.Result{Entry: e, Now: time.Now().UnixNano()}, nil, err
}

// change does the owner's, mode's and times' part of setattr.
func change(fd int, set *fspb.Set) error {
	if set.Uid != nil || set.Gid != nil {
		uid, gid := -1, -1
		if set.Uid != nil {
			uid = int(set.GetUid())
		}
		if set.Gid != nil {
			gid = int(set.GetGid())
		}
		if err := unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	if set.Mode != nil {
		if err := unix.Fchmodat(unix.AT_FDCWD, procFD(fd), set.GetMode()&0o7777, 0); err != nil {
			return err
		}
	}
	stamp := func(t *int64, now bool) unix.Timespec {
		switch {
		case now:
			return unix.Timespec{Nsec: unix.UTIME_NOW}
		case t != nil:
			return unix.NsecToTimespec(*t)
		}
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	if set.Atime == nil && set.Mtime == nil && !set.AtimeNow && !set.MtimeNow {
		return nil
	}
	ts := []unix.Timespec{stamp(set.Atime, set.AtimeNow), stamp(set.Mtime, set.MtimeNow)}
	return unix.UtimesNanoAt(fd, "", ts, unix.AT_EMPTY_PATH)
}

// allocate: id, off, len, flags (the mode of fallocate), cred.
func (s *Server) allocate(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	return s.alter(ctx, c, op, op.Id, func(fd int) (int64, error) {
		return 0, unix.Fallocate(fd, op.Flags, op.Off, op.Len)
	})
}

// copyRange: id, off to id2, off2; len, cred. Result.n bytes were copied.
func (s *Server) copyRange(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	if err := s.acquire(ctx, c, string(op.Id), token.DataRead); err != nil {
		return nil, nil, err
	}
	x, in, err := s.open(op.Id, unix.O_RDONLY)
	if err != nil {
		return nil, nil, err
	}
	defer s.shut(x, in)
	return s.alter(ctx, c, op, op.Id2, func(fd int) (int64, error) {
		n, err := unix.CopyFileRange(in, &op.Off, fd, &op.Off2, int(min(op.Len, 1<<30)), 0)
		return int64(n), err
	})
}

// alter changes a file's data through an open descriptor, as the caller: see writeKill.
func (s *Server) alter(ctx context.Context, c viewer, op *fspb.Op, id []byte, do func(fd int) (int64, error)) (*fspb.Result, []byte, error) {
	if err := s.acquire(ctx, c, string(id), token.DataWrite); err != nil {
		return nil, nil, err
	}
	x, fd, err := s.open(id, unix.O_RDWR)
	if err != nil {
		return nil, nil, err
	}
	defer s.shut(x, fd)
	res := &fspb.Result{}
	err = s.workers.as(op.Cred, func() (err error) { res.N, err = do(fd); return err })
	s.told(c, &fspb.Inval{Id: id, Data: true})
	if err != nil {
		return nil, nil, err
	}
	res.Entry, err = s.entry(ctx, c, x, nil)
	return res, nil, err
}

// seek: id, off, flags (whence): SEEK_DATA and SEEK_HOLE.
func (s *Server) seek(ctx context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	if err := s.acquire(ctx, c, string(op.Id), token.DataRead); err != nil {
		return nil, nil, err
	}
	x, fd, err := s.open(op.Id, unix.O_RDONLY)
	if err != nil {
		return nil, nil, err
	}
	defer s.shut(x, fd)
	n, err := unix.Seek(fd, op.Off, int(op.Flags))
	return &fspb.Result{N: n}, nil, err
}

// sync: id, flags (1: data only). A directory will do.
func (s *Server) sync(_ context.Context, _ viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	x, err := s.files.get(string(op.Id))
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(x)
	fd, err := unix.Open(procFD(x.fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(fd)
	if op.Flags&1 != 0 {
		err = unix.Fdatasync(fd)
	} else {
		err = unix.Fsync(fd)
	}
	return &fspb.Result{}, nil, err
}

func (s *Server) statfs(_ context.Context, _ viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	x, err := s.files.get(string(op.Id))
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(x)
	var sf unix.Statfs_t
	if err := unix.Fstatfs(x.fd, &sf); err != nil {
		return nil, nil, err
	}
	return &fspb.Result{Statfs: &fspb.Statfs{
		Blocks: sf.Blocks, Bfree: sf.Bfree, Bavail: sf.Bavail, Files: sf.Files,
		Ffree: sf.Ffree, Bsize: uint32(sf.Bsize), Frsize: uint32(sf.Frsize), Namelen: uint32(sf.Namelen),
	}}, nil, nil
}

// xattr: id, name, flags (which call), mode (setxattr's flags), cred, body (the value). Sizes are the client's affair.
func (s *Server) xattr(_ context.Context, c viewer, op *fspb.Op, body []byte) (*fspb.Result, []byte, error) {
	x, err := s.files.get(string(op.Id))
	if err != nil {
		return nil, nil, err
	}
	defer s.files.put(x)
	path, name := procFD(x.fd), string(op.Name)
	buf := make([]byte, 64<<10) // XATTR_SIZE_MAX
	n := 0
	err = s.workers.as(op.Cred, func() (err error) {
		switch op.Flags {
		case xattrGet:
			n, err = unix.Getxattr(path, name, buf)
		case xattrList:
			n, err = unix.Listxattr(path, buf)
		case xattrSet:
			err = unix.Setxattr(path, name, body, int(op.Mode))
		case xattrRemove:
			err = unix.Removexattr(path, name)
		default:
			err = syscall.EINVAL
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if op.Flags == xattrSet || op.Flags == xattrRemove {
		s.told(c, &fspb.Inval{Id: op.Id, Attr: true})
	}
	return &fspb.Result{}, buf[:n], nil
}

// Which extended attribute call.
const (
	xattrGet = iota
	xattrList
	xattrSet
	xattrRemove
)
