package procfs

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc"
)

// Names in the root. The first two are not listed.
const (
	nativeName = ".native"  // the native /proc is mounted on it, unless it is reached elsewhere
	pidMaxName = ".pid_max" // is mounted over sys/kernel/pid_max
	sysName    = "sys"      // the native one is mounted on it likewise: sysctl(8) follows no links
)

// fileSystem is what all nodes share.
type fileSystem struct {
	native string // where the native /proc is for readers
	sys    string // sysName if that is mounted on; else empty
	proc   int    // the native /proc, O_PATH
	client *client
	tables *tables
	firsts *prefetched
	absent absent
	turns  turns
	rights *proc.Caller // of this process
	boot   time.Time    // of this host
}

// root is the root directory.
type root struct {
	fs.Inode
	f *fileSystem
}

var (
	_ fs.NodeLookuper  = (*root)(nil)
	_ fs.NodeReaddirer = (*root)(nil)
	_ fs.NodeGetattrer = (*root)(nil)
)

// Getattr implements fs.NodeGetattrer.
func (*root) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	fill(&out.Attr, syscall.S_IFDIR|0o555, 0, 0)
	return 0
}

// Lookup implements fs.NodeLookuper.
func (r *root) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	switch name {
	case pidMaxName:
		fill(&out.Attr, syscall.S_IFREG|0o444, 0, 0)
		return node(ctx, &r.Inode, &pidMax{f: r.f}, out.Mode, name), 0
	case nativeName, r.f.sys:
		fill(&out.Attr, syscall.S_IFDIR|0o555, 0, 0)
		return node(ctx, &r.Inode, &empty{}, out.Mode, name), 0
	case "self", "thread-self":
		fill(&out.Attr, syscall.S_IFLNK|0o777, 0, 0)
		return node(ctx, &r.Inode, &self{f: r.f, thread: name != "self"}, out.Mode, name), 0
	}
	if pid, ok := number(name); ok {
		return r.process(ctx, pid, out)
	}
	return r.f.leave(ctx, &r.Inode, name, out)
}

// process finds the directory of a process. One that is not on the list may have begun since.
func (r *root) process(ctx context.Context, pid names.Pid, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	t := r.f.tables.get()
	at := t.place(pid)
	inode, errno := r.f.enter(ctx, &r.Inode, at, out)
	if errno != syscall.ENOENT || at.pid.Host() != names.Here {
		return inode, errno
	}
	// It has come home, or gone elsewhere.
	at.remote = !at.remote
	if moved, errno := r.f.enter(ctx, &r.Inode, at, out); errno == 0 {
		return moved, 0
	}
	return nil, syscall.ENOENT
}

// place says which process a number means: one that the native /proc shows, or a remote one.
func (t *table) place(pid names.Pid) place {
	if t.self != names.Here {
		pid = t.number(pid)
	}
	if pid.Host() != names.Here {
		return place{pid: pid, remote: true}
	}
	row := t.rows[t.own(pid.Local())]
	return place{pid: pid, remote: row != nil && !t.here(row)}
}

// number reads a name that is a pid.
func number(name string) (names.Pid, bool) {
	if name == "" || name[0] < '1' || name[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(name, 10, 32)
	return names.Pid(n), err == nil
}

// Readdir implements fs.NodeReaddirer. Processes come last, as in the kernel's, and by number.
func (r *root) Readdir(ctx context.Context) (fs.DirStream, syscall.Errno) {
	list, err := r.f.names(".")
	if err != nil {
		return nil, names.Errno(err)
	}
	t := r.f.tables.get()
	var all []fuse.DirEntry
	for _, e := range list {
		pid, is := number(e.Name)
		switch {
		case e.Name == r.f.sys:
			all = append(all, fuse.DirEntry{Name: e.Name, Mode: syscall.S_IFDIR})
		case !is:
			all = append(all, fuse.DirEntry{Name: e.Name, Mode: syscall.S_IFLNK})
		case t.shows(pid):
			all = append(all, fuse.DirEntry{Name: e.Name, Mode: syscall.S_IFDIR})
		}
	}
	var remote []names.Pid
	for pid, row := range t.rows {
		if !t.here(row) {
			remote = append(remote, t.number(pid))
		}
	}
	slices.Sort(remote)
	for _, pid := range remote {
		all = append(all, fuse.DirEntry{Name: pid.String(), Mode: syscall.S_IFDIR})
	}
	r.f.firsts.listed(reader(ctx), remote)
	return fs.NewListDirStream(all), 0
}

// shows reports whether a number of the native /proc is listed. What runs here in a nest is listed under the number that it has at home; of a job
// that is elsewhere the process and not the ghost.
func (t *table) shows(pid names.Pid) bool {
	if row := t.rows[t.own(int(pid))]; row != nil {
		return t.here(row)
	}
	if len(t.rows) == 0 {
		return true
	}
	views, err := proc.Here(int(pid)).Look(context.Background(), proc.Daemon, []proc.Look{{Kind: proc.LookRead, Path: "status", Size: 8 << 10}})
	v, errno := one(views, err)
	return errno == 0 && statusNumber(v.Data, "NSpid") == int(pid) // alone: no other name space has it
}

// statusNumber gives the number of a line of /proc/PID/status that has one only; else 0.
func statusNumber(status []byte, key string) int {
	for line := range bytes.Lines(status) {
		k, value, _ := bytes.Cut(line, []byte(":"))
		if string(k) == key {
			n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

// empty is a directory to mount on.
type empty struct{ fs.Inode }

var _ fs.NodeGetattrer = (*empty)(nil)

// Getattr implements fs.NodeGetattrer.
func (*empty) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	fill(&out.Attr, syscall.S_IFDIR|0o555, 0, 0)
	return 0
}
