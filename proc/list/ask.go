package list

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/list/listpb"
)

// AskTime bounds the wait for the other hosts.
const AskTime = 1800 * time.Millisecond

// sendTime bounds the wait for a command that does not read what it asked for.
const sendTime = 10 * time.Second

// Host is a host of the cluster.
type Host struct {
	Number names.Host
	Name   names.HostName
	Alive  bool
	Silent bool // too few voters are there to say whether it is alive, and it does not answer
}

// Cluster is what a Lister knows of the hosts.
type Cluster interface {
	Self() (names.Host, names.HostName) // names.Here: in no cluster
	Hosts() []Host
	Conn(ctx context.Context, h names.Host) (*link.Conn, error)
}

// Lister answers the commands of this host.
type Lister struct {
	Reader  *Reader
	Cluster Cluster
}

// ServeProcs handles control.OpProcs.
func (l *Lister) ServeProcs(ctx context.Context, who control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
	for _, f := range files {
		f.Close()
	}
	var req control.ProcsRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return fmt.Errorf("bad request for processes: %w: %w", err, syscall.EINVAL)
	}
	reply, err := l.list(ctx, who.UID, &req)
	if err != nil {
		return err
	}
	_ = c.SetDeadline(time.Now().Add(sendTime)) // of a connection that is gone Send says so
	return reply.Send(c)
}

// answered is what came of asking one host.
type answered struct {
	host   names.Host
	name   names.HostName
	answer *answer
	err    error
}

func (l *Lister) list(ctx context.Context, uid uint32, req *control.ProcsRequest) (*control.ProcsReply, error) {
	ctx, cancel := context.WithTimeout(ctx, AskTime)
	defer cancel()
	self, _ := l.Cluster.Self()
	if self == names.Here {
		return nil, control.Refuse(syscall.ENOTCONN, "this host is in no cluster: 'onehost init NAME' makes one, 'onehost join ADDR --token T' joins one")
	}
	hosts := l.Cluster.Hosts()
	byName := map[names.Host]names.HostName{}
	var ask []Host
	reply := &control.ProcsReply{Procs: []control.Proc{}, Failed: map[names.HostName]string{}, Read: map[names.HostName]time.Time{}}
	for _, h := range hosts {
		byName[h.Number] = h.Name
		switch named := slices.Contains(req.Hosts, h.Name); {
		case len(req.Hosts) > 0 && !named:
		case h.Alive && h.Silent:
			reply.Failed[h.Name] = "it does not answer"
		case h.Alive:
			ask = append(ask, h)
		case named:
			reply.Failed[h.Name] = "it is not alive"
		}
	}
	for _, name := range req.Hosts {
		if !slices.ContainsFunc(hosts, func(h Host) bool { return h.Name == name }) {
			return nil, control.Refuse(syscall.ENOENT, "no host %q in this cluster: 'onehost hosts' lists them", name)
		}
	}
	name := func(h names.Host) names.HostName {
		if n, ok := byName[h]; ok {
			return n
		}
		return names.HostName(h.String())
	}
	m := newMerger(name)
	for _, a := range l.askAll(ctx, ask, &listpb.Query{Uid: uid, Recent: req.Recent}) {
		switch {
		case a.err != nil:
			reply.Failed[a.name] = reason(a.err)
			continue
		case a.answer.unnamed > 0:
			reply.Failed[a.name] = fmt.Sprintf("%d processes have numbers above %d, which the cluster cannot name: set kernel.pid_max to %d there",
				a.answer.unnamed, names.MaxNative, names.MaxNative+1)
		}
		m.add(a.host, a.answer)
		reply.Read[a.name] = a.answer.read
	}
	if len(req.Hosts) > 0 { // who has processes there knows their users and parents
		var homes []Host
		for _, h := range m.homes() {
			if i := slices.IndexFunc(hosts, func(o Host) bool { return o.Number == h && o.Alive && !o.Silent }); i >= 0 {
				homes = append(homes, hosts[i])
			}
		}
		for _, a := range l.askAll(ctx, homes, &listpb.Query{Home: true}) {
			if a.err == nil { // else what it knows is not shown
				m.add(a.host, a.answer)
			}
		}
	}
	reply.Procs = m.list(func(p control.Proc) bool { return len(req.Hosts) == 0 || slices.Contains(req.Hosts, p.Host) })
	return reply, nil
}

// reason says in a few words why a host could not be asked.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) { // by our clock, or by that host's, which has the same time
		return fmt.Sprintf("no answer within %v", AskTime)
	}
	return err.Error()
}

// askAll asks hosts at the same time. It returns when all have answered or ctx has ended.
func (l *Lister) askAll(ctx context.Context, hosts []Host, q *listpb.Query) []answered {
	self, _ := l.Cluster.Self()
	all := make([]answered, len(hosts))
	var asked sync.WaitGroup
	for i, h := range hosts {
		asked.Go(func() {
			a := answered{host: h.Number, name: h.Name}
			if h.Number == self {
				a.answer, a.err = l.Reader.tell(q)
			} else if conn, err := l.Cluster.Conn(ctx, h.Number); err != nil {
				a.err = err
			} else {
				a.answer, a.err = ask(ctx, conn, q)
			}
			all[i] = a
		})
	}
	asked.Wait()
	return all
}
