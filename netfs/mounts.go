package netfs

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// mountTable is the numbers of mounts and devices, which are parts of file ids and inode numbers. Helpers go on using these when the home's daemon
// is started again, so the table outlives it, as long as the host is not.
type mountTable struct {
	Boot   string        `json:"boot"`
	Mounts []mountRecord `json:"mounts"` // by index
	Devs   []uint64      `json:"devs"`   // by number
}

// mountRecord tells a mount from others of the same id, before or after it.
type mountRecord struct {
	ID    int    `json:"id"` // as in mountinfo
	Dev   string `json:"dev"`
	Root  string `json:"root"`
	Point string `json:"point"`
}

// mountInfo is what the kernel says of a mount.
type mountInfo struct {
	mountRecord
	kind string // of file system
}

// mountsNow lists the mounts of this process's name space.
func mountsNow() (map[int]mountInfo, error) {
	b, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	all := map[int]mountInfo{}
	for line := range strings.Lines(string(b)) {
		head, tail, ok := strings.Cut(line, " - ")
		f := strings.Fields(head)
		if !ok || len(f) < 5 {
			continue
		}
		id, err := strconv.Atoi(f[0])
		if err != nil {
			continue
		}
		kind, _, _ := strings.Cut(tail, " ")
		all[id] = mountInfo{mountRecord{id, f[2], f[3], f[4]}, kind}
	}
	return all, nil
}

// restore takes up the table of an earlier daemon. A mount that is gone keeps its number, and nothing is found by it.
func (o *objects) restore(path, boot string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.path, o.table.Boot = path, boot
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var was mountTable
	if err == nil {
		err = json.Unmarshal(data, &was)
	}
	if err != nil {
		return fmt.Errorf("numbers of mounts: %w: restart this host, or remove %s when no process of it runs elsewhere", err, path)
	}
	if was.Boot != boot {
		return nil
	}
	now, err := mountsNow()
	if err != nil {
		return err
	}
	for _, r := range was.Mounts {
		m := &mnt{index: uint32(len(o.mounts)), id: -1, fd: -1}
		if is := now[r.ID]; is.mountRecord == r {
			if fd, err := unix.Open(sys.Unescape(r.Point), unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
				if id, err := mountID(fd); err == nil && id == r.ID { // not hidden by another
					if err := o.describe(m, fd, is.kind); err == nil {
						m.id = r.ID
						o.byMount[r.ID] = m
					}
				}
				_ = unix.Close(fd)
			}
		}
		o.mounts = append(o.mounts, m)
	}
	o.table = was
	for n, dev := range was.Devs {
		o.devs[dev] = uint64(n)
	}
	return nil
}

// saveLocked keeps the table, before anybody hears of a new number.
func (o *objects) saveLocked() error {
	if o.path == "" {
		return nil
	}
	data, err := json.Marshal(o.table)
	if err == nil {
		err = os.WriteFile(o.path+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(o.path+".new", o.path)
	}
	if err != nil {
		return fmt.Errorf("numbers of mounts: %w", err)
	}
	return nil
}

func (o *objects) mountLocked(mid, fd int) (*mnt, error) {
	if m := o.byMount[mid]; m != nil {
		return m, nil
	}
	now, err := mountsNow()
	if err != nil {
		return nil, err
	}
	is, ok := now[mid]
	if !ok {
		return nil, syscall.ESTALE
	}
	m := &mnt{index: uint32(len(o.mounts)), id: mid}
	if err := o.describe(m, fd, is.kind); err != nil {
		return nil, err
	}
	was := o.table.Mounts
	o.table.Mounts = append(was, is.mountRecord)
	if err := o.saveLocked(); err != nil {
		o.table.Mounts = was
		_ = unix.Close(m.fd)
		return nil, err
	}
	o.mounts = append(o.mounts, m)
	o.byMount[mid] = m
	return m, nil
}

// describe finds out what can be done with a mount, by a descriptor of a file on it.
func (o *objects) describe(m *mnt, fd int, kind string) error {
	if kind == "fuse."+fsName {
		return syscall.ELOOP // a tree of another host, mounted here: ask that host
	}
	switch kind {
	case "proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "devpts", "securityfs", "bpf", "nfs", "nfs4", "cifs", "9p", "ceph":
		m.volatile = true
	}
	m.volatile = m.volatile || strings.HasPrefix(kind, "fuse")
	var sf unix.Statfs_t
	if err := unix.Fstatfs(fd, &sf); err != nil {
		return err
	}
	binary.NativeEndian.PutUint32(m.fsid[:], uint32(sf.Fsid.Val[0]))
	binary.NativeEndian.PutUint32(m.fsid[4:], uint32(sf.Fsid.Val[1]))
	var err error
	m.fd, err = unix.Open(procFD(fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		m.fd = -1
	} else if h, _, err := sys.NameToHandleFID(fd, true); err == nil {
		if t, err := unix.OpenByHandleAt(m.fd, h, unix.O_PATH|unix.O_CLOEXEC); err == nil {
			m.handles = true
			_ = unix.Close(t)
		}
	}
	return nil
}
