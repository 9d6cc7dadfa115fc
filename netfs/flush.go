package netfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// heldSet is the files that have something to send, or a token to give back.
type heldSet struct {
	mu    sync.Mutex
	nodes map[*node]time.Time // since when there is something to send; zero: there is nothing
	bytes atomic.Int64
	some  chan struct{} // has one when there may be something to send
}

func (s *heldSet) init() {
	s.nodes, s.some = make(map[*node]time.Time), make(chan struct{}, 1)
}

// add puts a file in, if it is not there. Something says that there is something to send.
func (s *heldSet) add(n *node, something bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.nodes[n]
	switch {
	case something && old.IsZero():
		s.nodes[n] = time.Now()
		select {
		case s.some <- struct{}{}:
		default:
		}
	case !ok:
		s.nodes[n] = time.Time{}
	}
}

// due gives the files that have had something to send since before, and since when the oldest of the others has, zero if there is none.
func (s *heldSet) due(before time.Time) (list []*node, oldest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, since := range s.nodes {
		switch {
		case since.IsZero():
		case since.Before(before):
			list = append(list, n)
		case oldest.IsZero() || since.Before(oldest):
			oldest = since
		}
	}
	return list, oldest
}

func (s *heldSet) del(n *node) {
	s.mu.Lock()
	delete(s.nodes, n)
	s.mu.Unlock()
}

// of gives the files that some tasks wrote, nil for all, and those that are nobody's in particular.
func (s *heldSet) of(want func(task) bool) []*node {
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.nodes))
	s.mu.Unlock()
	if want == nil {
		return all
	}
	return slices.DeleteFunc(all, func(n *node) bool {
		t := n.w.task.Load() // without the lock, which is held while a file is on its way
		return t != nil && !want(*t)
	})
}

// owes reports whether there is something to send of a file.
func (s *heldSet) owes(n *node) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.nodes[n].IsZero()
}

func (s *heldSet) has(n *node) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.nodes[n]
	return ok
}

// Flush writes back everything that is held, and says what could not be written, once. When it returns nil, all that was
// written through this mount before the call is at home.
func (m *Mount) Flush(ctx context.Context) error {
	return m.flush(ctx, nil)
}

// flush writes back what some tasks wrote, nil for all.
func (m *Mount) flush(ctx context.Context, want func(task) bool) error {
	return m.each(m.fs.held.of(want), func(n *node) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if e := n.flush(true); e != 0 {
			return fmt.Errorf("%s: %w", n.name(), e)
		}
		return nil
	})
}

// each does something that waits for the home to some files, several at a time.
func (m *Mount) each(all []*node, do func(*node) error) error {
	if len(all) == 0 {
		return nil
	}
	const parallel = 8
	next := make(chan *node, len(all))
	for _, n := range all {
		next <- n
	}
	close(next)
	errs := make(chan error, len(all))
	var wg sync.WaitGroup
	for range min(parallel, len(all)) {
		wg.Go(func() {
			for n := range next {
				if err := do(n); err != nil {
					errs <- err
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	var list []error
	for e := range errs {
		list = append(list, e)
	}
	if err := errors.Join(list...); err != nil {
		return fmt.Errorf("write back to host %s: %w", m.cfg.Home, err)
	}
	return nil
}

// name is for messages.
func (n *node) name() string {
	if e := n.fs.edgesOf(n); len(e) > 0 {
		return e[0].name
	}
	return "a file without a name"
}

// flush brings the file home. With done, and nobody writing any more, the token goes back and nothing is kept.
func (n *node) flush(done bool) syscall.Errno {
	w := &n.w
	if !w.active.Load() {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n.checkLocked()
	if w.gone {
		n.fs.held.del(n)
		return 0
	}
	if !done || n.writers.Load() > 0 {
		return w.told(n.sendLocked(0))
	}
	e := n.sendLocked(writeDone)
	if e == syscall.EHOSTDOWN {
		return e
	}
	e = w.told(e)
	w.dropWhole(n)
	w.token = false
	w.active.Store(false)
	n.fs.reap(n)
	return e
}

// reap removes a node that the kernel forgot while it held something.
func (fs *rawFS) reap(n *node) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if n.lookups == 0 && fs.nodes[n.nodeid] == n {
		fs.removeLocked(n)
		if n.pinned.Swap(false) {
			go fs.unpin(n.id)
		}
	}
}

// staysHere reports whether a close has nothing to do, if that is known at once.
func (n *node) staysHere() bool {
	w := &n.w
	if !w.mu.TryLock() {
		return false
	}
	defer w.mu.Unlock()
	return w.gone || w.ample && w.known && w.err == 0
}

// closed is the close of a descriptor that could write. Its errors are the last a program asks for.
func (n *node) closed() syscall.Errno {
	w := &n.w
	if !w.active.Load() {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone || w.ample && w.known && w.err == 0 {
		return 0
	}
	return w.told(n.sendLocked(0))
}

// lateLocked keeps an error for whoever closes the file next, and has Flush find it.
func (n *node) lateLocked(e syscall.Errno) {
	if e != syscall.EHOSTDOWN { // else it is tried again
		n.w.err = e
	}
	n.fs.held.add(n, !n.w.clean())
}

// told gives an error once, an earlier one first.
func (w *writeState) told(e syscall.Errno) syscall.Errno {
	if w.err != 0 {
		e, w.err = w.err, 0
	}
	return e
}
