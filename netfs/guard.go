package netfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/token"
)

// guard is about the files whose newest content is at some helper: a native that opens one waits until it is here. The kernel asks for
// permission (FAN_OPEN_PERM), which is given when the helper has handed over; always, and within recallTime. Opens of this process
// are permitted at once, as it makes them to write that content. If this process ends, the kernel lets all go.
type guard struct {
	fd   int
	file *os.File // fd's owner
	conn syscall.RawConn
	pid  int32

	mu     sync.Mutex // held while a mark is made or taken away; Server.mu is taken inside it
	files  map[string]inodeKey
	ids    map[inodeKey]string
	closed bool
	warned sync.Once
}

// inodeKey is a file while it is marked: the mark keeps its inode from being used again.
type inodeKey struct {
	dev uint64
	ino uint64
}

func newGuard() (*guard, error) {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|unix.FAN_UNLIMITED_QUEUE|unix.FAN_UNLIMITED_MARKS,
		unix.O_RDONLY|unix.O_CLOEXEC|unix.O_LARGEFILE)
	if err != nil {
		return nil, fmt.Errorf("fanotify for permissions: %w", err)
	}
	g := &guard{fd: fd, file: os.NewFile(uintptr(fd), "fanotify"), pid: int32(os.Getpid()), files: make(map[string]inodeKey), ids: make(map[inodeKey]string)}
	if g.conn, err = g.file.SyscallConn(); err == nil {
		err = g.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		_ = g.file.Close()
		return nil, fmt.Errorf("fanotify for permissions: %w", err)
	}
	return g, nil
}

// guard makes natives that open a file wait for its writer c. Where that cannot be done they see what is here.
func (s *Server) guard(c viewer, x *obj) {
	g := s.natives
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.files[x.id]; ok || g.closed {
		return
	}
	s.mu.Lock()
	w, ok := s.tokens.Writer(token.Object(x.id))
	s.mu.Unlock()
	if !ok || w != c.holder() {
		return
	}
	var st unix.Statx_t
	if err := statx(x.fd, &st); err != nil || st.Nlink == 0 {
		return
	}
	if err := unix.FanotifyMark(g.fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM, unix.AT_FDCWD, procFD(x.fd)); err != nil {
		g.warned.Do(func() {
			s.log.Warn("programs at home do not wait for what is written elsewhere: does the kernel lack CONFIG_FANOTIFY_ACCESS_PERMISSIONS?", "err", err)
		})
		return
	}
	key := keyOf(&st)
	g.files[x.id], g.ids[key] = key, x.id
}

func keyOf(st *unix.Statx_t) inodeKey {
	return inodeKey{uint64(st.Dev_major)<<32 | uint64(st.Dev_minor), st.Ino}
}

// unguard is after a writer gave a file up. It must not be called under mu.
func (s *Server) unguard(ids ...string) {
	g := s.natives
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range ids {
		key, ok := g.files[id]
		if !ok || g.closed {
			continue
		}
		s.mu.Lock()
		_, written := s.tokens.Writer(token.Object(id))
		s.mu.Unlock()
		if !written {
			g.forget(s, id, key)
		}
	}
}

// forget takes a mark away. That of a removed file is gone already.
func (g *guard) forget(s *Server, id string, key inodeKey) {
	delete(g.files, id)
	delete(g.ids, key)
	x, err := s.files.get(id)
	if err != nil {
		return
	}
	_ = unix.FanotifyMark(g.fd, unix.FAN_MARK_REMOVE, unix.FAN_OPEN_PERM, unix.AT_FDCWD, procFD(x.fd))
	s.files.put(x)
}

// guarded gives all files that natives would wait for.
func (g *guard) guarded() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]string, 0, len(g.files))
	for id := range g.files {
		all = append(all, id)
	}
	return all
}

// watchOpens answers the kernel. It waits for nobody itself: this process's own opens wait for it.
func (s *Server) watchOpens() {
	defer s.bg.Done()
	g := s.natives
	buf := make([]byte, 64<<10)
	for {
		var n int
		var err error
		if e := g.conn.Read(func(fd uintptr) bool {
			n, err = unix.Read(int(fd), buf)
			return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
		}); e != nil {
			return // closed
		}
		if err != nil {
			s.log.Error("programs at home do not wait any more for what is written elsewhere", "err", err)
			g.close() // or they would wait for ever
			return
		}
		e := binary.NativeEndian
		for b := buf[:n]; len(b) >= eventHeader; {
			size, fd, pid := int(e.Uint32(b)), int(int32(e.Uint32(b[16:]))), int32(e.Uint32(b[20:]))
			if size < eventHeader || size > len(b) {
				break
			}
			b = b[size:]
			if fd < 0 {
				continue
			}
			if pid == g.pid {
				g.permit(fd)
				continue
			}
			s.bg.Go(func() {
				if id, ok := g.find(fd); ok {
					s.bringHome(id)
				}
				g.permit(fd)
			})
		}
	}
}

func (g *guard) find(fd int) (string, bool) {
	var st unix.Statx_t
	if err := statx(fd, &st); err != nil {
		return "", false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	id, ok := g.ids[keyOf(&st)]
	return id, ok
}

func (g *guard) permit(fd int) {
	var b [8]byte
	binary.NativeEndian.PutUint32(b[:], uint32(fd))
	binary.NativeEndian.PutUint32(b[4:], unix.FAN_ALLOW)
	_, _ = g.file.Write(b[:]) // fails if who opens was killed
	_ = unix.Close(fd)
}

// bringHome waits until no helper holds anything back of a file, or has lost its claim.
func (s *Server) bringHome(id string) {
	s.mu.Lock()
	if _, ok := s.tokens.Writer(token.Object(id)); !ok || s.closed {
		s.mu.Unlock()
		return
	}
	s.reqs++
	req, ch := s.reqs, make(chan struct{})
	s.waiting[req] = ch
	s.stepLocked(token.Message{Kind: token.Acquire, Object: token.Object(id), Holder: token.Home, Mode: token.DataRead, Req: req})
	s.unlock()
	select {
	case <-ch:
	case <-s.ctx.Done():
	}
}

// close lets all go.
func (g *guard) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	_ = g.file.Close()
}
