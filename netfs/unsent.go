package netfs

import (
	"context"
	"errors"
	"maps"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
)

// unsent is the files that helpers made and have sent nothing of. What a helper holds back is lost with it; what was made for it
// would stay behind empty, and look to whoever comes next as if it had been written so. So it goes too.
type unsent struct {
	mu    sync.Mutex
	lives map[life]map[string]place
	ended map[names.Host]names.Incarnation // lives up to this are over
	wake  chan struct{}                    // closed and made anew when a life comes back or is over
}

// life is one life of a helper.
type life struct {
	host names.Host
	inc  names.Incarnation
}

// place is where a file was when last heard of.
type place struct{ dir, name string }

func newUnsent() unsent {
	return unsent{lives: make(map[life]map[string]place), ended: make(map[names.Host]names.Incarnation), wake: make(chan struct{})}
}

func (c *client) life() life { return life{c.peer.Number, c.peer.Incarnation} }

// made notes a file that did not exist before. It says no if that life is over already.
func (u *unsent) made(l life, id string, at place) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if l.inc <= u.ended[l.host] {
		return false
	}
	if u.lives[l] == nil {
		u.lives[l] = make(map[string]place)
	}
	u.lives[l][id] = at
	return true
}

// forget is after the home got something of a file, or was told that there is nothing to get.
func (u *unsent) forget(l life, id string) {
	u.mu.Lock()
	delete(u.lives[l], id)
	u.mu.Unlock()
}

// removed is after a file lost a name.
func (u *unsent) removed(id string) {
	u.mu.Lock()
	for _, files := range u.lives {
		delete(files, id)
	}
	u.mu.Unlock()
}

// moved is after a file got another name.
func (u *unsent) moved(id string, to place) {
	u.mu.Lock()
	for _, files := range u.lives {
		if _, ok := files[id]; ok {
			files[id] = to
		}
	}
	u.mu.Unlock()
}

// any reports whether there are files of a life, and gives a channel that is closed when that may have changed.
func (u *unsent) any(l life) (bool, <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.lives[l]) > 0, u.wake
}

func (u *unsent) changed() {
	u.mu.Lock()
	close(u.wake)
	u.wake = make(chan struct{})
	u.mu.Unlock()
}

// over gives the files of the lives of a host up to inc, and forgets them.
func (u *unsent) over(host names.Host, inc names.Incarnation) map[string]place {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended[host] = max(u.ended[host], inc)
	all := make(map[string]place)
	for l, files := range u.lives {
		if l.host == host && l.inc <= inc {
			maps.Copy(all, files)
			delete(u.lives, l)
		}
	}
	return all
}

// dropUnsent removes what the lives of a host up to inc made and never sent.
func (s *Server) dropUnsent(host names.Host, inc names.Incarnation) {
	for id, at := range s.unsent.over(host, inc) {
		if err := s.removeEmpty(id, at); err != nil && !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ESTALE) {
			s.log.Warn("a file that its writer's host took along stays behind empty", "file", at.name, "err", err)
		}
	}
	s.unsent.changed()
}

// removeEmpty removes a file if it is still where it was, and empty.
func (s *Server) removeEmpty(id string, at place) error {
	dir, err := s.files.get(at.dir)
	if err != nil {
		return err
	}
	defer s.files.put(dir)
	x, err := s.child(dir, []byte(at.name))
	if err != nil {
		return err
	}
	defer s.files.put(x)
	var st unix.Statx_t
	if err := statx(x.fd, &st); err != nil || x.id != id || st.Size > 0 {
		return err
	}
	return unix.Unlinkat(dir.fd, at.name, 0) // not by a worker: fanotify tells the others of it, as of any change at home
}

// lostTime bounds Lost: within it a host that crashed is known to have.
const lostTime = 3 * time.Second

// Lost is for when a helper was lost from sight: it returns when what that life of it made and never sent is gone, because the life is
// known to be over (DropClient), or is back and will send it. It waits 3 s at most, and not at all if there is nothing of the kind.
func (s *Server) Lost(ctx context.Context, host names.Host, inc names.Incarnation) {
	ctx, cancel := context.WithTimeout(ctx, lostTime)
	defer cancel()
	for {
		some, wake := s.unsent.any(life{host, inc})
		if !some || s.serves(host, inc) {
			return
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return
		}
	}
}

// serves reports whether that life of a host is attached.
func (s *Server) serves(host names.Host, inc names.Incarnation) bool {
	s.mu.Lock()
	c := s.clients[host]
	s.mu.Unlock()
	return c != nil && c.peer.Incarnation == inc && c.conn.Err() == nil
}
