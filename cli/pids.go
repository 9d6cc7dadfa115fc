package cli

import (
	"context"
	"fmt"
	"strings"
	"syscall"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// pids reads names of processes that a person gives: numbers, or host:pid. The daemon is asked for the hosts when a name needs it, once.
type pids struct {
	a     *app
	ctx   context.Context //nolint:containedctx // of one command line
	hosts []control.Host
	self  names.Host
}

func (a *app) pids(ctx context.Context) *pids { return &pids{a: a, ctx: ctx} }

// parse gives a pid with the number of its home; 0 as host part means the daemon's host and is kept.
func (p *pids) parse(word string) (names.Pid, error) { return names.ParsePid(word, p.lookup) }

func (p *pids) lookup(name names.HostName) (names.Host, error) {
	if p.hosts == nil {
		var r control.HostsReply
		if err := p.a.call(p.ctx, askLimit, control.OpHosts, struct{}{}, &r); err != nil {
			return 0, err
		}
		p.hosts = r.Hosts
	}
	left := false
	for _, h := range p.hosts {
		if h.Name == name && h.State != "left" {
			return h.Number, nil
		}
		left = left || h.Name == name
	}
	if left {
		return 0, fmt.Errorf("host %s has left the cluster: %w", name, syscall.ENOENT)
	}
	return 0, fmt.Errorf("no host %q in this cluster: 'onehost hosts' lists them", name)
}

// full gives a pid its home's number also if that is the daemon's own host.
func (p *pids) full(pid names.Pid) (names.Pid, error) {
	if pid.Host() != names.Here {
		return pid, nil
	}
	if p.self == names.Here {
		var st control.StatusReply
		if err := p.a.call(p.ctx, askLimit, control.OpStatus, struct{}{}, &st); err != nil {
			return 0, err
		}
		p.self = st.Number
	}
	return names.MakePid(p.self, pid.Local()), nil
}

// list reads pids with commas or blanks between.
func (p *pids) list(words []string) ([]names.Pid, error) {
	var all []names.Pid
	for _, word := range words {
		for one := range strings.FieldsFuncSeq(word, func(r rune) bool { return r == ',' || r == ' ' }) {
			pid, err := p.parse(one)
			if err == nil {
				pid, err = p.full(pid)
			}
			if err != nil {
				return nil, err
			}
			all = append(all, pid)
		}
	}
	return all, nil
}
