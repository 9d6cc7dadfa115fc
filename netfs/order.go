package netfs

import (
	"context"
	"syscall"

	"github.com/onehost/onehost/netfs/fspb"
)

// Programs tell each other of what they have done by more than their end: by a byte in a fifo, or a lock that they give back. Whoever is told may
// rely on all that was done before. So what is held here is at home before others can hear anything of this mount (tell), and what happened at home
// is known here before a program does (hear).

// heard says in an answer up to which note its client must have come when a program gets the answer.
func (s *Server) heard(ctx context.Context, c viewer, res *fspb.Result) error {
	var err error
	res.Seq, err = s.Drain(context.WithoutCancel(ctx), c.peer.Number)
	if err != nil {
		s.log.Error("changes of files cannot be read", "err", err)
		return syscall.EIO
	}
	return nil
}

// hear waits until this host knows of all that happened at home before the answer. It ends early if the home is lost, of which what the program does
// next will tell it.
func (m *Mount) hear(res *fspb.Result) {
	if res.GetSeq() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(m.ctx, callTime)
	defer cancel()
	for _, o := range m.cfg.Clients.mountsOf(m.cfg.Home) {
		if err := o.Applied(ctx, res.Seq); err != nil {
			m.log.Debug("changes at home may not be seen", "home", m.cfg.Home, "err", err)
		}
	}
}

// tell brings home what is held. What cannot be brought is told to who closes the file.
func (m *Mount) tell() {
	for _, o := range m.cfg.Clients.mountsOf(m.cfg.Home) {
		_ = o.each(o.fs.held.of(nil), func(n *node) error { n.bring(); return nil })
	}
}

// bring sends what is held of a file, which stays its writers'.
func (n *node) bring() {
	w := &n.w
	if !w.active.Load() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n.checkLocked()
	if w.gone || w.clean() {
		return
	}
	if e := n.sendLocked(0); e != 0 {
		n.lateLocked(e)
	}
}
