package node

import (
	"context"
	"sync"
	"time"

	"github.com/onehost/onehost/member"
	"github.com/onehost/onehost/names"
)

// follow does what follows from each view: what a host that is gone held here is taken back, and what it ran here for its
// home ends.
func (n *Node) follow(ctx context.Context) {
	views, cancel := n.member.Subscribe()
	defer cancel()
	before := map[names.Host]member.Host{}
	var mine lives
	told := false // the carriers that an earlier daemon left have heard whether this host is drained
	mine.now(n.member.Self())
	for {
		select {
		case <-ctx.Done():
			return
		case v, ok := <-views:
			if !ok {
				return
			}
			n.gone.note(v, time.Now())
			self := mine.now(n.member.Self())
			own, _ := v.Host(self)
			if drained := own.State == member.Drained; n.drained.Swap(drained) != drained || !told {
				told = true
				n.wg.Go(func() { n.helper.SetDrained(n.drained.Load()) })
			}
			n.helper.Follow(v, self)
			for _, h := range v.Hosts {
				was, known := before[h.Number]
				before[h.Number] = h
				if !known || !was.State.Up() {
					continue
				}
				if h.Number == self {
					if mine.over(was, h) {
						n.died()
					}
					continue
				}
				if !h.State.Up() || h.Incarnation != was.Incarnation {
					if h.GoesOn(was.Incarnation) { // and so does what it runs for us
						n.cfg.Log.Info("the daemon of a host has been started again", "host", h.Name)
						continue
					}
					n.cfg.Log.Info("a host is gone", "host", h.Name, "state", string(h.State))
					n.files.DropClient(was.Number, was.Incarnation.Carrier(names.LastCarrier))
				}
			}
		}
	}
}

// goneTime is how long a host has been gone until nothing can be left of what it ran: it ends that itself within seconds of being cut off.
const goneTime = time.Minute

// gone keeps since when hosts are gone, by this host's clock.
type gone struct {
	mu    sync.Mutex
	seq   uint64 // of the view it is from; 0: none has come yet
	known map[names.Host]bool
	since map[names.Host]time.Time
}

func (g *gone) note(v member.View, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	since := map[names.Host]time.Time{}
	g.seq, g.known = v.Seq, map[names.Host]bool{}
	for _, h := range v.Hosts {
		g.known[h.Number] = true
		if h.State.Up() {
			continue
		}
		since[h.Number] = now
		if began, ok := g.since[h.Number]; ok {
			since[h.Number] = began
		}
	}
	g.since = since
}

// forGood reports whether nothing of a host's last life is left anywhere. A host that the registry has forgotten left long ago.
func (g *gone) forGood(h names.Host, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.seq == 0 {
		return false
	}
	began, ok := g.since[h]
	return !g.known[h] || ok && now.Sub(began) > goneTime
}

// lives tells this daemon's lives in a cluster from those that daemons before it had: the first views after a restart are
// of the last of these, and what follows from its end has been done by others.
type lives struct {
	host  names.Host
	first names.Incarnation
}

// now takes what Member.Self says, and gives the number, the last one between two lives.
func (l *lives) now(host names.Host, inc names.Incarnation, _ names.HostName, _ names.ClusterName) names.Host {
	if host != 0 && (host != l.host || inc < l.first) { // another cluster
		l.host, l.first = host, inc
	}
	return l.host
}

// over reports whether a life that this daemon has had has ended.
func (l *lives) over(was, is member.Host) bool {
	return was.Incarnation >= l.first && (!is.State.Up() || is.Incarnation != was.Incarnation)
}

// died is for a host that was declared failed, or taken out, while it lived: the others have given up what it ran for them
// and what they ran for it, so it does too.
func (n *Node) died() {
	n.cfg.Log.Warn("the others gave this host up: ending what it runs for them")
	n.wg.Go(func() { n.helper.EndAll("the others have given this host up") })
}

// warmTime bounds the making of nests that nobody waits for yet.
const warmTime = 30 * time.Second

// warm makes nests ready on hosts, in the background.
func (n *Node) warm(hosts []names.Host) {
	for _, h := range hosts {
		n.wg.Go(func() {
			ctx, cancel := context.WithTimeout(n.ctx, warmTime)
			defer cancel()
			if err := n.home.Warm(ctx, h); err != nil {
				n.cfg.Log.Debug("warming a nest", "host", h, "err", err)
			}
		})
	}
}
