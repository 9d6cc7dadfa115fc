package node

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"syscall"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/member"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/place"
	"github.com/onehost/onehost/proc/calls"
	"github.com/onehost/onehost/proc/carrier"
	"github.com/onehost/onehost/proc/nest"
	"github.com/onehost/onehost/proc/on"
)

// handlers are the operations of the control socket.
func (n *Node) handlers() map[string]control.Handler {
	ops := map[string]control.Handler{
		control.OpStatus:  n.anyone(n.serveStatus),
		control.OpHosts:   n.anyone(n.serveHosts),
		control.OpInit:    n.rootOnly(n.serveInit),
		control.OpToken:   n.rootOnly(n.serveToken),
		control.OpJoin:    n.rootOnly(n.serveJoin),
		control.OpLeave:   n.rootOnly(n.serveLeave),
		control.OpDrain:   n.rootOnly(n.serveDrain),
		control.OpResume:  n.rootOnly(n.serveResume),
		control.OpHeld:    n.rootOnly(n.serveHeld),
		control.OpSession: n.broker.ServeSession,
		control.OpExec:    n.home.ServeExec,
		control.OpCall:    calls.Handler(n.space),
		control.OpOn:      on.NewHome(onHosts{n}).Serve,
		control.OpProcs:   n.lister.ServeProcs,
		carrier.OpCall:    carrier.ServeCall(n.nested),
	}
	maps.Copy(ops, n.space.Handlers(n.hostName))
	return ops
}

// hostName gives the name of a host that the registry remembers.
func (n *Node) hostName(host names.Host) (names.HostName, bool) {
	h, ok := n.member.View().Host(host)
	return h.Name, ok
}

// operation is one request with one reply.
type operation func(ctx context.Context, body json.RawMessage) (any, error)

func (n *Node) anyone(op operation) control.Handler {
	return func(ctx context.Context, _ control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
		for _, f := range files {
			f.Close()
		}
		reply, err := op(ctx, body)
		if err != nil {
			return err
		}
		return c.Send(reply)
	}
}

func (n *Node) rootOnly(op operation) control.Handler {
	any := n.anyone(op)
	return func(ctx context.Context, who control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
		if who.UID != 0 {
			return control.Refuse(syscall.EPERM, "only root may change the cluster: try again with sudo")
		}
		return any(ctx, who, c, body, files)
	}
}

func (n *Node) serveStatus(context.Context, json.RawMessage) (any, error) {
	num, inc, name, cluster := n.member.Self()
	return control.StatusReply{Cluster: cluster, Name: name, Number: num, Incarnation: inc, Addr: n.member.Addr(), Version: n.cfg.Version}, nil
}

func (n *Node) serveHosts(context.Context, json.RawMessage) (any, error) {
	self, _, _, cluster := n.member.Self()
	if cluster == "" {
		return nil, errNoCluster
	}
	sight := n.member.Sight()
	reply := control.HostsReply{Hosts: []control.Host{}, Standstill: !sight.Quorum}
	for _, h := range n.member.View().Hosts {
		row := control.Host{
			Name: h.Name, Number: h.Number, Incarnation: h.Incarnation, Address: h.Addr, Slots: h.Slots, Voter: h.Voter,
		}
		if r, ok := n.report(self, h.Number); ok {
			row.Slots, row.Jobs, row.Load = r.Slots, r.Jobs, r.Load
		}
		row.State, row.Since = seen(h, sight)
		reply.Hosts = append(reply.Hosts, row)
	}
	return reply, nil
}

// seen gives the state of a host and when it began: as the registry says or, while that stands still, would say if it could.
func seen(h member.Host, sight member.Sight) (state string, since time.Time) {
	if since, silent := sight.Silent[h.Number]; silent && !sight.Quorum {
		return string(member.Failed), since
	}
	return string(h.State), h.Since
}

// report gives what a host last said of its load.
func (n *Node) report(self, h names.Host) (place.Report, bool) {
	if h == self {
		return n.ownReport(), true
	}
	data, at := n.member.Load(h)
	var r place.Report
	if at.IsZero() || r.UnmarshalBinary(data) != nil {
		return place.Report{}, false
	}
	return r, true
}

func (n *Node) serveInit(ctx context.Context, body json.RawMessage) (any, error) {
	var r control.InitRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	if err := n.member.Init(ctx, r.Cluster, n.nameOr(r.Name), n.addrOr(r.Addr)); err != nil {
		return nil, err
	}
	return n.serveStatus(ctx, nil)
}

func (n *Node) serveToken(ctx context.Context, body json.RawMessage) (any, error) {
	var r control.TokenRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	token, addr, err := n.member.Token(ctx, r.Rotate)
	return control.TokenReply{Token: token, Addr: addr}, err
}

func (n *Node) serveJoin(ctx context.Context, body json.RawMessage) (any, error) {
	var r control.JoinRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	if err := n.member.Join(ctx, r.Addr, r.Token, n.nameOr(r.Name), n.addrOr(r.SelfAddr)); err != nil {
		return nil, err
	}
	return n.serveStatus(ctx, nil)
}

func (n *Node) serveLeave(ctx context.Context, body json.RawMessage) (any, error) {
	var r control.LeaveRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	h, err := n.named(r.Host)
	if err != nil {
		return nil, err
	}
	if err := n.member.Leave(ctx, h.Number); err != nil {
		return nil, err
	}
	return n.serveStatus(ctx, nil)
}

// named finds the host that a request names, this one if it names none.
func (n *Node) named(name names.HostName) (member.Host, error) {
	self, _, _, cluster := n.member.Self()
	view := n.member.View()
	h, ok := view.ByName(name)
	if name == "" {
		h, ok = view.Host(self)
	}
	switch {
	case cluster == "":
		return member.Host{}, errNoCluster
	case !ok && name == "": // it was in no view yet
		return member.Host{Number: self}, nil
	case !ok:
		return member.Host{}, control.Refuse(syscall.ENOENT, "no host %q in this cluster: 'onehost hosts' lists them", name)
	}
	return h, nil
}

func (n *Node) nameOr(name names.HostName) names.HostName {
	if name != "" {
		return name
	}
	return n.cfg.Name
}

func (n *Node) addrOr(addr string) string {
	if addr != "" {
		return addr
	}
	return n.cfg.Listen
}

// nested carries out a call of a process of a home that runs here.
func (n *Node) nested(ctx context.Context, home names.Host, c nest.Call) nest.Result {
	return calls.Nested(ctx, n.space, home, c)
}
