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

// silentTime bounds the wait for a host that is not heard. It may be back: its first beat comes up to a beat after it answers.
const silentTime = 400 * time.Millisecond

// sendTime bounds the wait for a command that does not read what it asked for.
const sendTime = 10 * time.Second

// Host is a host of the cluster.
type Host struct {
	Number names.Host
	Name   names.HostName
	Alive  bool
	Silent bool // too few voters are there to say whether it is alive, and it is not heard
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
		case h.Alive:
			ask = append(ask, h)
		case named:
			reply.Failed[h.Name] = notAlive
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
			if reply.Failed[a.name] = reason(a.err); !l.alive(a.host) { // by now: its link has ended with it
				reply.Failed[a.name] = notAlive
			}
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
			if i := slices.IndexFunc(hosts, func(o Host) bool { return o.Number == h && o.Alive }); i >= 0 {
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

// notAlive is why a host that has failed or left is not listed.
const notAlive = "it is not alive"

func (l *Lister) alive(host names.Host) bool {
	return slices.ContainsFunc(l.Cluster.Hosts(), func(h Host) bool { return h.Number == host && h.Alive })
}

// errSilent is what became of asking a host that is not heard.
var errSilent = errors.New("it does not answer")

// reason says in a few words why a host could not be asked.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) { // by our clock, or by that host's, which has the same time
		return fmt.Sprintf("no answer within %v", AskTime)
	}
	return err.Error()
}

// askAll asks hosts at the same time. It returns when all have answered or ctx has ended.
func (l *Lister) askAll(ctx context.Context, hosts []Host, q *listpb.Query) []answered {
	all := make([]answered, len(hosts))
	var asked sync.WaitGroup
	for i, h := range hosts {
		asked.Go(func() {
			a := answered{host: h.Number, name: h.Name}
			a.answer, a.err = l.ask(ctx, h, q)
			all[i] = a
		})
	}
	asked.Wait()
	return all
}

// ask asks one host.
func (l *Lister) ask(ctx context.Context, h Host, q *listpb.Query) (*answer, error) {
	if self, _ := l.Cluster.Self(); h.Number == self {
		return l.Reader.tell(q)
	}
	if h.Silent {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, silentTime)
		defer cancel()
	}
	conn, err := l.Cluster.Conn(ctx, h.Number)
	var a *answer
	if err == nil {
		a, err = ask(ctx, conn, q)
	}
	if err != nil && h.Silent {
		err = errSilent
	}
	return a, err
}
