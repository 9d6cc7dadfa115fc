package dev

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// holder says who holds the descriptors of a job besides the job itself: run, the pid of the session's supervisor, and other
// processes of the same program, its keeper. They never read them.
type holder struct{ job, run int }

// alone reports whether nobody but the job can read what link, as /proc/PID/fd shows it, names: an unnamed pipe, or a socket. Then
// nobody misses what is read ahead. Processes of outer pid name spaces cannot be seen.
func (h holder) alone(link string) bool {
	if h.job == 0 || !strings.HasPrefix(link, "pipe:[") && !strings.HasPrefix(link, "socket:[") {
		return false
	}
	run, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", h.run))
	if err != nil {
		return false
	}
	proc, err := os.ReadDir("/proc")
	if err != nil {
		return false
	}
	for _, e := range proc {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == h.job || pid == os.Getpid() || !reads("/proc/"+e.Name()+"/fd", link) {
			continue
		}
		if exe, err := os.Readlink("/proc/" + e.Name() + "/exe"); err != nil || exe != run {
			return false
		}
	}
	return true
}

// reads reports whether a process, whose descriptors are in dir, has the reading side of link.
func reads(dir, link string) bool {
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false // it has ended
	}
	for _, fd := range fds {
		path := filepath.Join(dir, fd.Name())
		if to, err := os.Readlink(path); err != nil || to != link {
			continue
		}
		if info, err := os.Lstat(path); err == nil && info.Mode()&0o400 != 0 { // the bits of the link are those of the open file
			return true
		}
	}
	return false
}

// feed fills a local pipe with what the home's has, ahead of its reader.
type feed struct {
	near *os.File // non-blocking write end
	obj  *Object
	done chan struct{}
}

func (s *Set) input(obj *Object) (*os.File, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(p[1], true); err != nil {
		unix.Close(p[0])
		unix.Close(p[1])
		return nil, err
	}
	far := os.NewFile(uintptr(p[0]), "input")
	s.given = append(s.given, far)
	s.feeds = append(s.feeds, &feed{near: os.NewFile(uintptr(p[1]), "input"), obj: obj, done: make(chan struct{})})
	return far, nil
}

// run feeds until the home has no more, nobody reads, or ctx, the job, ends.
func (f *feed) run(ctx context.Context) {
	defer close(f.done)
	defer f.near.Close()
	for {
		b, err := f.obj.Read(ctx, maxPiece)
		if err != nil || len(b) == 0 {
			return
		}
		if _, err := f.near.Write(b); err != nil {
			return
		}
	}
}

// opened is a file of the home that the process reads through its tree, at an offset of its own until the job's end.
type opened struct {
	fd  int // shares the process's open file
	at  int64
	obj *Object
}

// open gives the process a file that can be mapped, measured and sought. nil if it is not, or no longer, the file that the home
// described; then its reads are shipped. The file is found with our own rights, not the process's, whose user may have put another in
// its place: so it must be the one, before it is opened.
func (s *Set) open(d Desc, obj *Object, o Options) *os.File {
	if d.Path == "" || d.Ino == 0 || o.Find == nil {
		return nil
	}
	bare, err := o.Find(d.Path)
	if err != nil {
		return nil
	}
	defer bare.Close()
	n := -1
	_ = control(bare, func(fd int) {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != d.Size || (st.Ino^d.Ino)&sys.InoBits != 0 {
			return
		}
		n, _ = unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), d.Flags&(unix.O_ACCMODE|unix.O_NONBLOCK)|unix.O_CLOEXEC|unix.O_NOCTTY, 0) // -1 if it fails
	})
	if n < 0 {
		return nil
	}
	f := os.NewFile(uintptr(n), d.Path)
	own := -1
	err = control(f, func(fd int) {
		if _, err := unix.Seek(fd, d.At, unix.SEEK_SET); err == nil {
			own, _ = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3) // -1 if it fails
		}
	})
	if err != nil || own < 0 {
		f.Close()
		return nil
	}
	s.given = append(s.given, f)
	s.opened = append(s.opened, &opened{fd: own, at: d.At, obj: obj})
	return f
}

// settle moves the home's offset to where the process left its own.
func (f *opened) settle(ctx context.Context) error {
	at, err := unix.Seek(f.fd, 0, unix.SEEK_CUR)
	if err != nil || at == f.at {
		return err
	}
	f.at = at
	_, err = f.obj.Seek(ctx, at, unix.SEEK_SET)
	return err
}
