package sys

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// OpenFiles keeps open files: one descriptor for each, however many descriptors of it are to be kept. A make's thousand jobs have its
// standard output in common. The zero value is ready; the methods may be called by several goroutines.
type OpenFiles struct {
	mu   sync.Mutex // guards what follows, and OpenFile.refs
	byID map[fileID][]*OpenFile
}

// OpenFile is one that is kept.
type OpenFile struct {
	Fd   int // close-on-exec; nobody but its keeper may close it
	Stat unix.Stat_t

	of   *OpenFiles
	refs int
}

// fileID tells files apart, not how often they were opened.
type fileID struct{ dev, ino, rdev uint64 }

// Keep keeps the open file of a descriptor, which stays the caller's. Give it back by Drop, once for each Keep.
func (o *OpenFiles) Keep(fd int) (*OpenFile, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	id := fileID{st.Dev, st.Ino, st.Rdev}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.byID[id] {
		if SameOpenFile(f.Fd, fd) {
			f.refs++
			return f, nil
		}
	}
	kept, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	f := &OpenFile{Fd: kept, Stat: st, of: o, refs: 1}
	if o.byID == nil {
		o.byID = map[fileID][]*OpenFile{}
	}
	o.byID[id] = append(o.byID[id], f)
	return f, nil
}

// Drop gives the file back; the last one closes it.
func (f *OpenFile) Drop() {
	o := f.of
	o.mu.Lock()
	defer o.mu.Unlock()
	if f.refs--; f.refs > 0 {
		return
	}
	id := fileID{f.Stat.Dev, f.Stat.Ino, f.Stat.Rdev}
	rest := slices.DeleteFunc(o.byID[id], func(g *OpenFile) bool { return g == f })
	if o.byID[id] = rest; len(rest) == 0 {
		delete(o.byID, id)
	}
	unix.Close(f.Fd)
}

// SameOpenFile reports whether two descriptors of this process are of one open file, with one offset. A kernel that cannot tell says no.
func SameOpenFile(a, b int) bool {
	const kcmpFile = 0
	self := uintptr(unix.Getpid())
	r, _, errno := unix.RawSyscall6(unix.SYS_KCMP, self, self, kcmpFile, uintptr(a), uintptr(b), 0)
	return errno == 0 && r == 0
}
