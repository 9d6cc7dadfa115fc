package on

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// leftovers are the groups of commands that have ended, in which something lives on. Each is removed when it has ended too: the kernel
// says so by a change of cgroup.events.
type leftovers struct {
	log    *slog.Logger
	events *os.File // inotify
	done   chan struct{}

	mu     sync.Mutex // guards what follows
	groups map[int32]*group
	closed bool
}

func newLeftovers(log *slog.Logger) (*leftovers, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	l := &leftovers{log: log, events: os.NewFile(uintptr(fd), "inotify"), done: make(chan struct{}), groups: map[int32]*group{}}
	go l.watch()
	return l, nil
}

// keep takes over a group.
func (l *leftovers) keep(g *group) {
	l.mu.Lock()
	if !l.closed && g.populated() {
		var wd int
		var err error
		if cerr := withFD(l.events, func(fd int) {
			wd, err = unix.InotifyAddWatch(fd, filepath.Join(g.path, "cgroup.events"), unix.IN_MODIFY)
		}); cerr != nil {
			err = cerr
		}
		if err != nil {
			l.log.Warn("a group of background processes cannot be watched and will stay", "cgroup", g.path, "err", err)
		} else {
			l.groups[int32(wd)] = g
		}
		if g.populated() { // as it is from now on, a change is told
			l.mu.Unlock()
			return
		}
		delete(l.groups, int32(wd))
	}
	closed := l.closed
	l.mu.Unlock()
	if closed {
		unix.Close(g.fd) // the next daemon finds it
		return
	}
	l.remove(g)
}

func (l *leftovers) remove(g *group) {
	if err := g.remove(); err != nil {
		l.log.Warn("background processes have ended", "err", err)
	}
}

func (l *leftovers) watch() {
	defer close(l.done)
	buf := make([]byte, 4<<10)
	for {
		n, err := l.events.Read(buf)
		if err != nil {
			return // closed
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(b))
			b = b[unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])):]
			l.mu.Lock()
			g := l.groups[wd]
			if g != nil && g.populated() {
				g = nil
			}
			if g != nil {
				delete(l.groups, wd)
			}
			l.mu.Unlock()
			if g != nil {
				l.remove(g) // and the watch with it
			}
		}
	}
}

// close lets go of the groups, in which all lives on.
func (l *leftovers) close() {
	l.mu.Lock()
	l.closed = true
	for _, g := range l.groups {
		unix.Close(g.fd)
	}
	l.groups = nil
	l.mu.Unlock()
	l.events.Close()
	<-l.done
}
