package carrier

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/jobs"
)

// reachMethod is the call by which a home asks the daemon of another host for its carrier there, to be started if there is none and connected to
// the home. The header is the carrier's incarnation, a varint, if a certain one is meant, and 0 otherwise, and 1 if one may be started. So is that of
// the reply. ESRCH: there is none, or nothing is left of the one that was meant.
const reachMethod = "proc.reach"

// Register serves what homes ask of this host's daemon.
func (cs *Carriers) Register(r *link.Router) {
	r.HandleCall(reachMethod, cs.serveReach)
	jobs.HandleHeld(r, cs.Held)
	jobs.HandleOld(r)
}

func (cs *Carriers) serveReach(ctx context.Context, r *link.Request) (link.Reply, error) {
	want, n := binary.Uvarint(r.Header)
	if n <= 0 {
		return link.Reply{}, fmt.Errorf("bad reach message: %w", syscall.EBADMSG)
	}
	may, m := binary.Uvarint(r.Header[n:])
	if m <= 0 || n+m != len(r.Header) || r.From.Carrier != 0 {
		return link.Reply{}, fmt.Errorf("bad reach message: %w", syscall.EBADMSG)
	}
	c, err := cs.find(ctx, r.From, names.Incarnation(want), may != 0)
	if err != nil {
		return link.Reply{}, err
	}
	cs.heard(c, r.From)
	var none done
	if _, err := c.ask(ctx, opReach, reachRequest{r.From, cs.cfg.Addr(r.From.Number)}, &none); err != nil {
		if errors.Is(err, syscall.ESRCH) {
			err = fmt.Errorf("it is ending: %w", syscall.EAGAIN)
		}
		return link.Reply{}, err
	}
	return link.Reply{Header: binary.AppendUvarint(nil, uint64(c.inc))}, nil
}

// find gives the carrier of a home when it can be asked: the one that is meant, or any, which may be started.
func (cs *Carriers) find(ctx context.Context, home link.Peer, want names.Incarnation, may bool) (*carrier, error) {
	cs.mu.Lock()
	c := cs.homes[home.Number]
	var over *carrier // about to end
	if c != nil && !home.GoesOn(c.home.Incarnation) && home.Incarnation > c.home.Incarnation {
		over, c = c, nil
		delete(cs.homes, home.Number)
	}
	if want != 0 && (c == nil || c.inc != want) {
		c = nil
		for other := range cs.all {
			if other.inc == want && other.number == home.Number {
				over = other
			}
		}
	}
	start := c == nil && want == 0 && may && !cs.closed
	cs.mu.Unlock()
	if over != nil {
		cs.later(over, "its home has another life, or another carrier", endRequest{Gone: want == 0})
		if want != 0 {
			select {
			case <-over.gone:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	if start {
		var err error
		if c, err = cs.begin(home); err != nil {
			return nil, err
		}
	}
	if c == nil {
		return nil, fmt.Errorf("nothing of this home runs here: %w", syscall.ESRCH)
	}
	select {
	case <-c.ready:
		return c, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// begin starts a carrier, unless somebody else has meanwhile.
func (cs *Carriers) begin(home link.Peer) (*carrier, error) {
	cred, err := cs.cfg.Credentials()
	if err != nil {
		return nil, err
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := cs.homes[home.Number]; c != nil {
		return c, nil
	}
	if cs.closed {
		return nil, fmt.Errorf("this host's onehostd is stopping: %w", syscall.ESHUTDOWN)
	}
	if inc := cred.Hello.Incarnation; inc != cs.last {
		cs.last, cs.made = inc, 0
	}
	if cs.made >= names.LastCarrier {
		return nil, fmt.Errorf("%d carriers were started: restart onehostd: %w", cs.made, syscall.EOVERFLOW)
	}
	cs.made++
	number := cs.made
	c := cs.newCarrierLocked(home, cs.last.Carrier(number))
	cs.wg.Go(func() { cs.start(c, number, cred) })
	return c, nil
}

// Member is what a home's end needs to know of the cluster.
type Member interface {
	Conn(ctx context.Context, h names.Host) (*link.Conn, error) // of the host's daemon
	Carrier(h names.Host) *link.Conn                            // what a carrier of the host has made; nil: there is none
	AwaitCarrier(ctx context.Context, h names.Host, inc names.Incarnation) (*link.Conn, error)
}

// Reach gives a home the connections to its carriers on other hosts. It implements jobs.Carriers.
type Reach struct {
	Member Member
	Up     func(h names.Host) bool                       // a host has not failed, as far as this one knows
	Over   func(h names.Host, carrier names.Incarnation) // nothing is left of a carrier, whose host goes on
}

// Conn gives the connection of a host's carrier; there is one when it returns.
func (r *Reach) Conn(ctx context.Context, h names.Host) (*link.Conn, error) {
	if c := r.Member.Carrier(h); c != nil {
		return c, nil
	}
	return r.ask(ctx, h, 0, true)
}

// Find gives the connection of a host's carrier if it has one. ESRCH: it has none.
func (r *Reach) Find(ctx context.Context, h names.Host) (*link.Conn, error) {
	if c := r.Member.Carrier(h); c != nil {
		return c, nil
	}
	return r.ask(ctx, h, 0, false)
}

// Back gives another connection of the carrier whose connection was lost. ESRCH: nothing is left of it, or it is given up with its host.
func (r *Reach) Back(ctx context.Context, was *link.Conn) (*link.Conn, error) {
	h, inc := was.Peer().Number, was.Peer().Incarnation
	if c := r.Member.Carrier(h); c != nil && c.Peer().Incarnation == inc {
		return c, nil
	}
	if !r.Up(h) {
		return nil, fmt.Errorf("host %v has failed: %w", h, syscall.ESRCH)
	}
	c, err := r.ask(ctx, h, inc, false)
	if errors.Is(err, syscall.ESRCH) {
		r.Over(h, inc)
	}
	return c, err
}

// linkTime is how long the carrier's connection may take to be known here when its own end has it.
const linkTime = 2 * time.Second

func (r *Reach) ask(ctx context.Context, h names.Host, inc names.Incarnation, may bool) (*link.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, bootTime+reachTime)
	defer cancel()
	daemon, err := r.Member.Conn(ctx, h)
	if err != nil {
		return nil, err
	}
	header := binary.AppendUvarint(nil, uint64(inc))
	if may {
		header = append(header, 1)
	} else {
		header = append(header, 0)
	}
	reply, err := daemon.Call(ctx, reachMethod, header, nil)
	if err != nil {
		return nil, err
	}
	got, n := binary.Uvarint(reply.Header)
	if n <= 0 || n != len(reply.Header) {
		return nil, fmt.Errorf("bad reply to %s: %w", reachMethod, syscall.EBADMSG)
	}
	known, cancelKnown := context.WithTimeout(ctx, linkTime)
	defer cancelKnown()
	return r.Member.AwaitCarrier(known, h, names.Incarnation(got))
}
