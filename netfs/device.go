package netfs

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// device is the mount's end of /dev/fuse, beside the one that the library reads requests from. It exists for one message
// that the library does not know.
type device struct {
	f      *os.File
	expire bool // the kernel knows the message
}

// openDevice mounts on dir, and gives the name that makes the library serve the mount.
func openDevice(dir, source string) (d *device, magic string, err error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", fmt.Errorf("/dev/fuse: %w: load the kernel module with 'modprobe fuse'", err)
	}
	opts := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,max_read=%d,default_permissions,allow_other", fd, unix.S_IFDIR, maxData)
	err = unix.Mount(source, dir, "fuse."+fsName, unix.MS_NODEV|unix.MS_NOATIME, opts)
	own := -1
	if err == nil {
		if own, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, "", err
	}
	return &device{f: os.NewFile(uintptr(own), "/dev/fuse")}, fmt.Sprintf("/dev/fd/%d", fd), nil
}

// served is after the library has greeted the kernel.
func (d *device) served(dir string, s *fuse.InitIn) {
	d.expire = s.Flags64()&capExpireOnly != 0
	// A Go program that opens files adds them to its poller, and the kernel asks the file system whether they are ready: if
	// that is this process, with all its threads waiting in the kernel for each other, it never answers. One refusal, and
	// the kernel does not ask again. The library answers for this name; see its package documentation.
	fd, err := unix.Open(filepath.Join(dir, ".go-fuse-epoll-hack"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	_ = unix.Close(fd)
}

// From the kernel's linux/fuse.h.
const (
	capExpireOnly    = 1 << 35 // FUSE_HAS_EXPIRE_ONLY, Linux 6.2
	notifyInvalEntry = 3       // FUSE_NOTIFY_INVAL_ENTRY
	expireOnly       = 1       // FUSE_EXPIRE_ONLY
	outHeader        = 16      // struct fuse_out_header
	invalEntryOut    = 16      // struct fuse_notify_inval_entry_out
)

// expireEntry makes the kernel ask again for a name before it uses it next. Unlike dropping the name, that leaves alone
// what is mounted on a directory that turns out to be the same. It waits for requests under way on the directory.
func (d *device) expireEntry(parent uint64, name string) error {
	b := make([]byte, outHeader+invalEntryOut+len(name)+1)
	e := binary.NativeEndian
	e.PutUint32(b, uint32(len(b)))
	e.PutUint32(b[4:], notifyInvalEntry)
	e.PutUint64(b[outHeader:], parent)
	e.PutUint32(b[outHeader+8:], uint32(len(name)))
	e.PutUint32(b[outHeader+12:], expireOnly)
	copy(b[outHeader+invalEntryOut:], name)
	_, err := d.f.Write(b)
	return err
}

func (d *device) close() { _ = d.f.Close() }
