package jobs

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/nest"
)

// endMethod is the call by which a home tells a helper that a session has ended: what its jobs left behind there, daemons
// and background processes, ends too, as at home. The header is the session's number, a varint.
const endMethod = "proc.end"

// Bounds of a call to a helper and of one to a home. Who does not answer is being found dead, and the nest with him.
const (
	endTime   = 5 * time.Second
	leaseTime = 5 * time.Second
)

// rememberOver is how many ended sessions of a home a helper remembers. Their jobs end within seconds of them.
const rememberOver = 1000

// leave keeps a job whose process has ended and whose descendants have not, until its session ends.
func (h *Helper) leave(hm *home, session uint64, p *nest.Process) {
	h.mu.Lock()
	over := slices.Contains(hm.over, session) || hm.judged && !hm.claimed[session]
	if !over {
		if hm.left == nil {
			hm.left = map[uint64][]*nest.Process{}
		}
		hm.left[session] = append(hm.left[session], p)
	}
	h.mu.Unlock()
	if over {
		h.kill(p)
	}
}

func (h *Helper) serveEnd(_ context.Context, r *link.Request) (link.Reply, error) {
	session, n := binary.Uvarint(r.Header)
	if n <= 0 || n != len(r.Header) {
		return link.Reply{}, fmt.Errorf("bad end message: %w", syscall.EBADMSG)
	}
	h.mu.Lock()
	var left []*nest.Process
	if hm := h.homes[r.From.Number]; hm != nil && hm.goesOnLocked(r.From) {
		left = hm.left[session]
		delete(hm.left, session)
		delete(hm.claimed, session)
		if hm.over = append(hm.over, session); len(hm.over) > rememberOver {
			hm.over = slices.Delete(hm.over, 0, 1)
		}
	}
	h.mu.Unlock()
	for _, p := range left {
		h.kill(p)
	}
	return link.Reply{}, nil
}

// claimMethod is the call by which a home tells a helper that a session has outlived the home's daemon, and what it left behind there is to stay.
// The header is the session's number, a varint.
const claimMethod = "proc.claim"

func (h *Helper) serveClaim(_ context.Context, r *link.Request) (link.Reply, error) {
	session, n := binary.Uvarint(r.Header)
	if n <= 0 || n != len(r.Header) {
		return link.Reply{}, fmt.Errorf("bad claim message: %w", syscall.EBADMSG)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if hm := h.homes[r.From.Number]; hm != nil && hm.goesOnLocked(r.From) {
		h.heardLocked(hm, r.From)
		if hm.claimed != nil {
			hm.claimed[session] = true
		}
	}
	return link.Reply{}, nil
}

// openSession is what a home knows of a session.
type openSession struct {
	uid   uint32
	hosts map[names.Host]bool // that jobs of it were sent to
}

// sent notes that a job of the session goes to the host.
func (h *Home) sent(session uint64, to names.Host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.sessions[session]; s != nil {
		s.hosts[to] = true
	}
}

// tellElsewhere tells the hosts that had jobs of a session what has become of it. It waits for them.
func (h *Home) tellElsewhere(method string, session uint64, hosts []names.Host) {
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	var told sync.WaitGroup
	for _, host := range hosts {
		told.Go(func() {
			if c, err := h.cfg.Carriers.Find(ctx, host); err == nil {
				_, _ = c.Call(ctx, method, binary.AppendUvarint(nil, session), nil) // a host that is gone took its processes along
			}
		})
	}
	told.Wait()
}
