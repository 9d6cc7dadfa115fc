package procfs

import (
	"context"
	"errors"
	"hash/fnv"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/proc"
)

// attrAge is how long the kernel need not ask for the mode and owner of a file again.
const attrAge = 50 * time.Millisecond

// nameAge is how long the kernel need not ask for a name again. That a process has ended shows when its files are opened.
const nameAge = 100 * time.Millisecond

// node gives the inode of something below parent. Its number is made of what it is, so that the same thing is the same inode.
func node(ctx context.Context, parent *fs.Inode, ops fs.InodeEmbedder, mode uint32, what string) *fs.Inode {
	h := fnv.New64a()
	h.Write([]byte(strconv.Itoa(int(mode&syscall.S_IFMT)) + ":" + what)) // it does not fail
	return parent.NewInode(ctx, ops, fs.StableAttr{Mode: mode & syscall.S_IFMT, Ino: h.Sum64()>>2 | 1<<32})
}

func fill(a *fuse.Attr, mode, uid, gid uint32) {
	a.Mode, a.Owner = mode, fuse.Owner{Uid: uid, Gid: gid}
	a.Nlink = 1
	now := time.Now()
	a.SetTimes(&now, &now, &now)
}

// link leads to what is the same for every reader.
type link struct {
	fs.Inode
	to       string
	uid, gid uint32
}

var (
	_ fs.NodeReadlinker = (*link)(nil)
	_ fs.NodeGetattrer  = (*link)(nil)
)

// Readlink implements fs.NodeReadlinker.
func (l *link) Readlink(context.Context) ([]byte, syscall.Errno) { return []byte(l.to), 0 }

// Getattr implements fs.NodeGetattrer.
func (l *link) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	fill(&out.Attr, syscall.S_IFLNK|0o777, l.uid, l.gid)
	return 0
}

// self leads to the directory of its reader.
type self struct {
	fs.Inode
	f      *fileSystem
	thread bool
}

var (
	_ fs.NodeReadlinker = (*self)(nil)
	_ fs.NodeGetattrer  = (*self)(nil)
)

// Readlink implements fs.NodeReadlinker.
func (s *self) Readlink(ctx context.Context) ([]byte, syscall.Errno) {
	tid := reader(ctx)
	tgid, err := leader(tid)
	if err != nil {
		return nil, syscall.ENOENT // as in a /proc of another pid name space
	}
	to := s.f.native + "/" + strconv.Itoa(tgid)
	if s.thread {
		to += "/task/" + strconv.Itoa(tid)
	}
	return []byte(to), 0
}

// Getattr implements fs.NodeGetattrer.
func (s *self) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	fill(&out.Attr, syscall.S_IFLNK|0o777, 0, 0)
	return 0
}

// dir is a directory of a process, or below one.
type dir struct {
	fs.Inode
	f  *fileSystem
	at place
}

var (
	_ fs.NodeLookuper       = (*dir)(nil)
	_ fs.NodeOpendirHandler = (*dir)(nil)
	_ fs.NodeGetattrer      = (*dir)(nil)
)

// Getattr implements fs.NodeGetattrer.
func (d *dir) Getattr(ctx context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return d.f.stat(ctx, d.at, &out.Attr)
}

func (f *fileSystem) stat(ctx context.Context, at place, a *fuse.Attr) syscall.Errno {
	v, errno := f.look(ctx, at, proc.Look{Kind: proc.LookStat})
	if errno == 0 {
		fill(a, v.Mode, v.UID, v.GID)
	}
	return errno
}

// Lookup implements fs.NodeLookuper.
func (d *dir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	inode, errno := d.f.enter(ctx, &d.Inode, d.at.below(name), out)
	if errno != syscall.ENOENT || d.at.remote || !strings.ContainsRune(name, ':') {
		return inode, errno
	}
	return d.nameless(ctx, name, out)
}

// nameless finds what one of the links in a native directory says, as pipe:[4711]: whoever follows the link comes here next.
func (d *dir) nameless(ctx context.Context, text string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	list, errno := d.list(ctx)
	if errno != 0 {
		return nil, errno
	}
	for _, e := range list {
		at := d.at.below(e.Name)
		v, errno := d.f.look(ctx, at, proc.Look{Kind: proc.LookLink})
		if errno == 0 && string(v.Data) == text {
			fill(&out.Attr, syscall.S_IFLNK|0o777, 0, 0)
			return node(ctx, &d.Inode, &link{to: d.f.nativePath(at)}, out.Mode, "to "+at.pid.String()+"/"+at.path), 0
		}
	}
	return nil, syscall.ENOENT
}

// enter finds a file of a process.
func (f *fileSystem) enter(ctx context.Context, parent *fs.Inode, at place, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := f.stat(ctx, at, &out.Attr); errno != 0 {
		return nil, errno
	}
	out.SetAttrTimeout(attrAge)
	if !guarded(proc.Look{Kind: proc.LookStat, Path: at.path}) && (at.remote || out.Mode&syscall.S_IFMT == syscall.S_IFREG) {
		out.SetEntryTimeout(nameAge) // not that of a native directory: whoever opens one looks twice, see turns
	}
	what := at.pid.String() + "/" + at.path
	switch out.Mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		if !at.remote && f.turns.told(reader(ctx), at) {
			break
		}
		return node(ctx, parent, &dir{f: f, at: at}, out.Mode, what), 0
	case syscall.S_IFLNK:
		return node(ctx, parent, &kernelLink{f: f, at: at}, out.Mode, what), 0
	}
	if at.remote {
		return node(ctx, parent, &file{f: f, at: at}, out.Mode, what), 0
	}
	out.Mode = syscall.S_IFLNK | 0o777
	return node(ctx, parent, &link{to: f.nativePath(at), uid: out.Uid, gid: out.Gid}, out.Mode, what), 0
}

// OpendirHandle implements fs.NodeOpendirHandler. The names are read now, so that whoever may not do that cannot open it.
func (d *dir) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if !d.at.remote && flags&syscall.O_NOFOLLOW == 0 && d.f.turns.tell(reader(ctx), d.at) {
		return nil, 0, syscall.ESTALE
	}
	all, errno := d.list(ctx)
	return fs.NewListDirStream(all), 0, errno
}

func (d *dir) list(ctx context.Context) ([]fuse.DirEntry, syscall.Errno) {
	var all []fuse.DirEntry
	for {
		v, errno := d.f.look(ctx, d.at, proc.Look{Kind: proc.LookList, Offset: int64(len(all))})
		if errno != 0 {
			return nil, errno
		}
		for _, e := range v.Entries {
			typ := e.Type
			if !d.at.remote && typ != unix.DT_DIR {
				typ = unix.DT_LNK
			}
			all = append(all, fuse.DirEntry{Name: d.at.shown(e.Name), Mode: typ << 12})
		}
		if !v.More || len(v.Entries) == 0 {
			return all, 0
		}
	}
}

// kernelLink is one of the kernel's own links, such as exe.
type kernelLink struct {
	fs.Inode
	f  *fileSystem
	at place
}

var (
	_ fs.NodeReadlinker = (*kernelLink)(nil)
	_ fs.NodeGetattrer  = (*kernelLink)(nil)
)

// Readlink implements fs.NodeReadlinker. A native one has a path only if that leads to where the link does.
func (k *kernelLink) Readlink(ctx context.Context) ([]byte, syscall.Errno) {
	v, errno := k.f.look(ctx, k.at, proc.Look{Kind: proc.LookLink})
	text := string(v.Data)
	if errno != 0 || k.at.remote || !path.IsAbs(text) { // what has no path is found by dir.nameless
		return v.Data, errno
	}
	var by, to unix.Stat_t
	if unix.Stat(text, &by) != nil || unix.Stat("/proc/"+k.at.pid.String()+"/"+k.at.path, &to) != nil || by.Dev != to.Dev || by.Ino != to.Ino {
		text = k.f.nativePath(k.at)
	}
	return []byte(text), 0
}

// Getattr implements fs.NodeGetattrer.
func (k *kernelLink) Getattr(ctx context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return k.f.stat(ctx, k.at, &out.Attr)
}

// nativePath is where the native /proc has a file.
func (f *fileSystem) nativePath(at place) string {
	return path.Join(f.native, at.pid.String(), at.path)
}

// leader gives the process that a thread of this host is of.
func leader(tid int) (int, error) {
	if tid <= 0 {
		return 0, syscall.ESRCH
	}
	if !errors.Is(unix.Tgkill(tid, tid, 0), syscall.ESRCH) { // it leads one, whether we may send to it or not
		return tid, nil
	}
	views, err := proc.Here(tid).Look(context.Background(), proc.Daemon, []proc.Look{{Kind: proc.LookRead, Path: "status", Size: 8 << 10}})
	if v, errno := one(views, err); errno == 0 {
		if n := statusNumber(v.Data, "Tgid"); n > 0 {
			return n, nil
		}
	}
	return 0, syscall.ESRCH
}
