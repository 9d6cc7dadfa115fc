package procfs

import (
	"context"
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc"
)

// leave gives a link to something of the native /proc that has nothing to do with processes.
func (f *fileSystem) leave(ctx context.Context, parent *fs.Inode, path string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	var st unix.Stat_t
	if err := unix.Fstatat(f.proc, path, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, names.Errno(err)
	}
	to := f.native + "/" + path
	if st.Mode&syscall.S_IFMT == syscall.S_IFLNK { // mounts, net: they lead to self
		b := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(f.proc, path, b)
		if err != nil {
			return nil, names.Errno(err)
		}
		to = string(b[:n])
	}
	fill(&out.Attr, syscall.S_IFLNK|0o777, st.Uid, st.Gid)
	return node(ctx, parent, &link{to: to, uid: st.Uid, gid: st.Gid}, out.Mode, path), 0
}

// names lists a directory of the native /proc.
func (f *fileSystem) names(path string) ([]proc.Entry, error) {
	fd, err := unix.Openat(f.proc, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return proc.ReadNames(fd)
}

// pidMax is what sys/kernel/pid_max says, by which ps and top know how wide a pid is: above every pid of the hosts that there are.
type pidMax struct {
	fs.Inode
	f *fileSystem
}

var (
	_ fs.NodeOpener    = (*pidMax)(nil)
	_ fs.NodeGetattrer = (*pidMax)(nil)
)

// Getattr implements fs.NodeGetattrer.
func (*pidMax) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	fill(&out.Attr, syscall.S_IFREG|0o444, 0, 0)
	return 0
}

// Open implements fs.NodeOpener.
func (p *pidMax) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return nil, 0, syscall.EROFS
	}
	last := names.Pid(names.MaxLease)
	for pid := range p.f.tables.get().rows {
		last = max(last, pid|names.MaxLease)
	}
	return text(strconv.FormatUint(uint64(last)+1, 10) + "\n"), fuse.FOPEN_DIRECT_IO, 0
}

// text is an open file that does not change.
type text string

var _ fs.FileReader = text("")

// Read implements fs.FileReader.
func (t text) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n := copy(dest, t[min(off, int64(len(t))):])
	return fuse.ReadResultData(dest[:n]), 0
}
