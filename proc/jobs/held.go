package jobs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/jobs/jobspb"
	"github.com/onehost/onehost/proc/nest"
)

// The calls by which a host that was drained is found to have nothing of others any more: heldMethod asks that host what it has, placedMethod asks
// a home, whose number for the host is the header, a varint, what it has sent there and not heard the end of. The header of both replies is the
// number of jobs, a varint. EAGAIN: whoever was asked does not know yet that the host is drained, so that more may come.
const (
	heldMethod   = "proc.held"
	placedMethod = "proc.placed"
)

// errDrained refuses a job whose home did not know yet that this host takes no new ones. The home sends it elsewhere.
var errDrained = errors.New("it takes no new jobs")

// errTakes answers whoever believes a host to be drained of which this one does not know that.
var errTakes = fmt.Errorf("it takes jobs: %w", syscall.EAGAIN)

func (h *Helper) drained() bool { return h.cfg.Drained != nil && h.cfg.Drained() }

// Held says how many jobs of other homes would be lost if the daemon of this drained host ended now. Beside those that run they are those whose
// homes have not heard of their ends, and those that have left processes behind.
func (h *Helper) Held() (int, error) {
	if !h.drained() {
		return 0, errTakes
	}
	return h.has(), nil
}

// Idle reports whether nothing would be lost if this helper ended now.
func (h *Helper) Idle() bool { return h.has() == 0 }

// has is what Held says.
func (h *Helper) has() int {
	h.mu.Lock()
	held := h.starting + len(h.hosted)
	var left []*nest.Process
	for _, hm := range h.homes {
		for _, all := range hm.left {
			left = append(left, all...)
		}
	}
	h.mu.Unlock()
	for _, p := range left {
		if pids, err := p.Pids(); err == nil && len(pids) > 0 { // it is kept until its session ends, its processes may have ended before
			held++
		}
	}
	return held
}

// Placed says how many jobs of this home are on a drained host or on their way there. It sends none there afterwards.
func (b *Broker) Placed(host names.Host) (int, error) {
	drained := func(m MemberHost) bool { return m.Number == host && m.Drained }
	if !slices.ContainsFunc(b.cfg.Cluster.Members(), drained) {
		return 0, errTakes
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refreshed = time.Time{} // the table may be older than that
	b.refreshLocked(time.Now())
	n := 0
	for _, at := range b.placed {
		if at.ticket.Host == host {
			n++
		}
	}
	return n, nil
}

// HandleOld refuses on r, a daemon's, the jobs of homes that know of no carriers. They have never begun, so they go elsewhere.
func HandleOld(r *link.Router) {
	r.HandleStream(Method, func(ctx context.Context, _ *link.Request, s *link.Stream) error {
		return sender(ctx, s)(&jobspb.Event{Kind: jobspb.Event_REFUSED, Reason: "its release runs jobs in carriers: install the same release on both"})
	})
}

// HandleHeld answers on r what Held asks.
func HandleHeld(r *link.Router, held func() (int, error)) {
	r.HandleCall(heldMethod, func(context.Context, *link.Request) (link.Reply, error) { return numberReply(held()) })
}

// Register answers other hosts on r.
func (b *Broker) Register(r *link.Router) {
	r.HandleCall(placedMethod, func(_ context.Context, r *link.Request) (link.Reply, error) {
		host, n := binary.Uvarint(r.Header)
		if n <= 0 || n != len(r.Header) || host > uint64(names.MaxHost) {
			return link.Reply{}, fmt.Errorf("bad %s message: %w", placedMethod, syscall.EBADMSG)
		}
		return numberReply(b.Placed(names.Host(host)))
	})
}

func numberReply(n int, err error) (link.Reply, error) {
	if err != nil {
		return link.Reply{}, err
	}
	return link.Reply{Header: binary.AppendUvarint(nil, uint64(n))}, nil
}

// Held asks a drained host for what Helper.Held says there.
func Held(ctx context.Context, conn *link.Conn) (int, error) {
	return number(ctx, conn, heldMethod, nil)
}

// Placed asks a home for what Broker.Placed says there of a drained host.
func Placed(ctx context.Context, conn *link.Conn, host names.Host) (int, error) {
	return number(ctx, conn, placedMethod, binary.AppendUvarint(nil, uint64(host)))
}

// maxNumber is more jobs than a host can have: it has fewer processes.
const maxNumber = 1 << 22

func number(ctx context.Context, conn *link.Conn, method string, header []byte) (int, error) {
	r, err := conn.Call(ctx, method, header, nil)
	if err != nil {
		return 0, err
	}
	v, n := binary.Uvarint(r.Header)
	if n <= 0 || n != len(r.Header) || v > maxNumber {
		return 0, fmt.Errorf("bad reply to %s: %w", method, syscall.EBADMSG)
	}
	return int(v), nil
}
