package netfs

import (
	"syscall"
	"time"
)

// holdTime is how long writes are held back if nobody asks for them. A temporary file that is removed within it never crosses the link; and so
// late does who reads a log at home see what a program elsewhere wrote to it.
const holdTime = 5 * time.Second

// trickleSize is how much a program that uses the file waits for, if it comes while the file goes home by itself.
const trickleSize = 128 << 10

// writeBack brings home what has been held for long, one file after the other. It wakes up only if something is held.
func (m *Mount) writeBack() {
	hold := m.cfg.Hold
	timer := time.NewTimer(hold)
	defer timer.Stop()
	for {
		select {
		case <-m.fs.held.some:
		case <-m.ctx.Done():
			return
		}
		for oldest := time.Now(); !oldest.IsZero(); {
			// Not for each file by itself: what was written at about the same time goes at the same time.
			timer.Reset(max(time.Until(oldest)+hold, hold/8))
			select {
			case <-timer.C:
			case <-m.ctx.Done():
				return
			}
			if c := m.conn.Load(); c == nil || c.Err() != nil { // it would only wait for a connection, and let programs wait for it
				oldest = time.Now()
				continue
			}
			var list []*node
			list, oldest = m.fs.held.due(time.Now().Add(-hold))
			for _, n := range list {
				if m.ctx.Err() != nil {
					return
				}
				if since := n.trickle(); oldest.IsZero() {
					oldest = since
				}
			}
		}
	}
}

// trickle sends what is held of a file in small pieces, between which others get at it. It gives when there is more to be sent than there was; zero
// if there is not.
func (n *node) trickle() time.Time {
	w := &n.w
	for budget, first := int64(0), true; ; first = false {
		w.mu.Lock()
		n.checkLocked()
		if w.gone || w.clean() || !w.active.Load() {
			w.mu.Unlock()
			return time.Time{}
		}
		if first {
			budget = int64(len(w.run)) + w.hi - w.lo
		}
		done := n.writers.Load() == 0
		var flags uint32
		if done {
			flags = writeDone
		}
		e := n.sendPiece(flags, trickleSize)
		switch {
		case e == syscall.EHOSTDOWN:
			w.mu.Unlock()
			return n.fs.held.again(n)
		case e != 0:
			w.err = e // for who closes it, or for Flush
			n.fs.held.add(n, false)
			n.fs.m.log.Warn("what was written here could not be brought home", "file", n.name(), "err", e)
		case done && w.clean():
			w.dropWhole(n)
			w.token = false
			w.active.Store(false)
			n.fs.reap(n)
		}
		clean := w.clean()
		w.mu.Unlock()
		if budget -= trickleSize; clean || budget <= 0 { // somebody writes as fast as it goes
			if clean {
				return time.Time{}
			}
			return n.fs.held.again(n)
		}
	}
}

// again has a file wait once more.
func (s *heldSet) again(n *node) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.nodes[n]; ok {
		s.nodes[n] = time.Now()
	}
	return s.nodes[n]
}
