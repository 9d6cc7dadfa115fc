package node

import (
	"context"
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
	mine.now(n.member.Self())
	for {
		select {
		case <-ctx.Done():
			return
		case v, ok := <-views:
			if !ok {
				return
			}
			self := mine.now(n.member.Self())
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
					n.files.DropClient(was.Number, was.Incarnation) // its daemon had what it held of ours
					if h.GoesOn(was.Incarnation) {
						n.cfg.Log.Info("the daemon of a host has been started again", "host", h.Name)
						n.helper.Restarted(h.Number, h.Incarnation)
						continue
					}
					n.cfg.Log.Info("a host is gone", "host", h.Name, "state", string(h.State))
					// Ending a nest may take seconds; the next view must not wait for it.
					n.wg.Go(func() { n.helper.LifeGone(was.Number, was.Incarnation) })
				}
			}
		}
	}
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
	n.wg.Go(n.helper.EndAll)
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
