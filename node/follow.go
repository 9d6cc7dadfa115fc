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
	for {
		select {
		case <-ctx.Done():
			return
		case v, ok := <-views:
			if !ok {
				return
			}
			self, _, _, _ := n.member.Self()
			for _, h := range v.Hosts {
				was, known := before[h.Number]
				before[h.Number] = h
				if !known || !was.State.Up() {
					continue
				}
				if h.Number == self {
					if !h.State.Up() || h.Incarnation != was.Incarnation {
						n.died()
					}
					continue
				}
				if !h.State.Up() || h.Incarnation != was.Incarnation {
					n.cfg.Log.Info("a host is gone", "host", h.Name, "state", string(h.State))
					n.files.DropClient(was.Number, was.Incarnation)
					// Ending a nest may take seconds; the next view must not wait for it.
					n.wg.Go(func() { n.helper.LifeGone(was.Number, was.Incarnation) })
				}
			}
		}
	}
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
