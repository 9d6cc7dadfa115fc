package node

import (
	"context"

	"github.com/onehost/onehost/dev"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/member"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/carrier"
	"github.com/onehost/onehost/proc/jobs"
	"github.com/onehost/onehost/sys"
)

// Reexec is what the daemon's binary does when it is run again as a carrier, as args (os.Args) say; then it returns true at the carrier's end.
func Reexec(args []string) bool { return carrier.Reexec(args, carry) }

// carry makes what a carrier works with.
func carry(p carrier.Parts) (*jobs.Helper, error) {
	if err := sys.SetTimerSlack(timerSlack); err != nil {
		p.Log.Warn("timer slack", "err", err) // as for the daemon, whose nice value it has
	}
	h := jobs.NewHelper(jobs.HelperConfig{
		Mount: newTrees(p).mount, Files: helperFiles{dev.NewClient(p.Log)}, Links: p.Links, Call: p.Call,
		Drained: p.Drained, Counted: p.Counted, Log: p.Log,
	})
	h.Register(p.Router)
	return h, nil
}

// newCarriers takes on the carriers of the daemons before this one, and takes away what is left of those that have ended.
func newCarriers(n *Node) *carrier.Carriers {
	cfg := &n.cfg
	cs := carrier.New(carrier.Config{
		Dir: cfg.carriersDir(), Trees: cfg.homesDir(), Control: cfg.Control, Version: cfg.Version,
		Credentials: func() (member.Credentials, error) { return n.member.Credentials() },
		Addr: func(h names.Host) string {
			host, _ := n.member.View().Host(h)
			return host.Addr
		},
		Drained: n.drained.Load, Clear: cfg.clear, Log: cfg.Log,
	})
	if err := cfg.sweep(cs.Owns); err != nil {
		cfg.Log.Warn("what an earlier daemon left cannot be cleared away", "err", err)
	}
	cs.Register(n.router)
	return cs
}

// reach gives this home the connections to its carriers.
func (n *Node) reach() *carrier.Reach {
	return &carrier.Reach{Member: carrierLinks{n}, Up: n.up, Over: n.files.DropClient}
}

// up reports whether a host takes part, as far as this one knows: while the registry stands still, that is what it hears.
func (n *Node) up(h names.Host) bool {
	host, ok := n.member.View().Host(h)
	_, silent := n.member.Sight().Silent[h]
	return ok && host.State.Up() && !silent
}

// carrierLinks is the member part as Reach needs it.
type carrierLinks struct{ n *Node }

func (l carrierLinks) Conn(ctx context.Context, h names.Host) (*link.Conn, error) {
	return l.n.member.Conn(ctx, h)
}

func (l carrierLinks) Carrier(h names.Host) *link.Conn { return l.n.member.Carrier(h) }

func (l carrierLinks) AwaitCarrier(ctx context.Context, h names.Host, inc names.Incarnation) (*link.Conn, error) {
	return l.n.member.AwaitCarrier(ctx, h, inc)
}

// part ends what a carrier runs for this home whose host has failed. What it still holds back is void first: the job that wrote it begins again.
func (n *Node) part(ctx context.Context, c *link.Conn) {
	n.files.DropClient(c.Peer().Number, c.Peer().Incarnation)
	if err := carrier.Stop(ctx, c); err != nil {
		n.cfg.Log.Debug("a carrier of a host that has failed", "host", c.Peer().Name, "err", err) // most likely it has failed with it
	}
}
