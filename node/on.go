package node

import (
	"context"
	"fmt"
	"strings"
	"syscall"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/member"
	"github.com/onehost/onehost/names"
)

// onHosts finds the hosts of commands for package on.
type onHosts struct{ n *Node }

// listed is how many hosts an error names.
const listed = 16

func (o onHosts) Find(host string) (names.Host, names.HostName, error) {
	self, _, _, cluster := o.n.member.Self()
	if cluster == "" {
		return 0, "", errNoCluster
	}
	view := o.n.member.View()
	h, ok := view.ByName(names.HostName(host))
	if number, err := names.ParseHost(host); err == nil {
		h, ok = view.Host(number)
	} else if host == names.Here.String() {
		h, ok = view.Host(self)
	}
	if !ok || h.State == member.Left {
		var all []string
		for _, h := range view.Hosts {
			if h.State.Up() {
				all = append(all, string(h.Name))
			}
		}
		if n := len(all) - listed; n > 0 {
			all = append(all[:listed], fmt.Sprintf("%d more: 'onehost hosts' lists them", n))
		}
		return 0, "", control.Refuse(syscall.ENOENT, "no host %q in this cluster; there are %s", host, strings.Join(all, ", "))
	}
	_, silent := o.n.member.Sight().Silent[h.Number]
	if !h.State.Up() || silent {
		return 0, "", control.Refuse(syscall.EHOSTDOWN, "host %s does not answer: it has failed, or the way to it is cut", h.Name)
	}
	return h.Number, h.Name, nil
}

func (o onHosts) Conn(ctx context.Context, h names.Host) (*link.Conn, func(), error) {
	number, incarnation, name, _ := o.n.member.Self()
	if h != number {
		c, err := o.n.member.Conn(ctx, h)
		return c, func() {}, err
	}
	self := link.Peer{Number: number, Name: name, Incarnation: incarnation}
	near, far := link.Pipe(self, self, o.n.router, o.n.router)
	return near, func() {
		near.Close()
		far.Close()
	}, nil
}
