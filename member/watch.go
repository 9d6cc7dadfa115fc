package member

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
)

const (
	methodWatch = "member.watch"
	watchHold   = 10 * time.Second // how long a watch without news is held open
	loadsHold   = time.Second      // and one that is to bring loads
	watchWait   = watchHold + 2*time.Second
)

// watchRequest asks for the views after Seq.
type watchRequest struct {
	Seq   uint64 `json:"seq"`
	Loads bool   `json:"loads"` // with the loads that the other end knows
}

type watchReply struct {
	Views []View              `json:"views,omitempty"`
	Loads map[names.Host]load `json:"loads,omitempty"`
}

// watch gets the views: it asks a voter for what comes after the last view seen, and the answer waits until there is something.
// It resumes at any other host. A voter asks the leader, who hears of each change first, because its own copy of the registry
// is told only at long intervals which of its entries count. The leader asks nobody.
func (l *life) watch() {
	for at := int(l.id.Number); ; at++ {
		leader, _, turned := l.heart.leading()
		if l.leads() {
			if !l.rest(turned) {
				return
			}
			continue
		}
		hosts := l.watchable(at)
		if l.getQuorum() != nil && leader != names.Here {
			hosts = slices.DeleteFunc(hosts, func(n names.Host) bool { return n == leader })
			hosts = slices.Insert(hosts, 0, leader)
		}
		served := false
		for _, n := range hosts {
			for !l.leads() && !closed(turned) && l.watchAt(n) {
				served = true
			}
		}
		if !served && !l.leads() && !closed(turned) {
			l.probe()
		}
		if !l.pause(retryEvery) {
			return
		}
	}
}

// rest waits until another host leads or the quorum is gone, or for a while; false if the life ended meanwhile.
func (l *life) rest(turned <-chan struct{}) bool {
	t := time.NewTimer(watchHold)
	defer t.Stop()
	select {
	case <-turned:
	case <-t.C:
	case <-l.ctx.Done():
		return false
	}
	return true
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// leads reports whether this host leads the registry, and so knows all there is. One that hears too few voters may have been
// replaced, and declared failed.
func (l *life) leads() bool {
	q := l.getQuorum()
	_, quorum, _ := l.heart.leading()
	return q != nil && q.leading() && quorum
}

// viewsAfter gives the views after seq that are remembered, at most the last n.
func (l *life) viewsAfter(seq uint64, n int) []View {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.recent, func(v View) bool { return v.Seq > seq })
	if i < 0 {
		return nil
	}
	return slices.Clone(l.recent[max(i, len(l.recent)-n):])
}

// watchable lists the voters that are up, or, if there is none but this host, all that are up; which one comes first differs
// with at.
func (l *life) watchable(at int) []names.Host {
	var voters, all []names.Host
	for _, h := range l.View().Up() {
		if h.Number == l.id.Number {
			continue
		}
		all = append(all, h.Number)
		if h.Voter {
			voters = append(voters, h.Number)
		}
	}
	if len(voters) > 0 {
		all = voters
	}
	if len(all) > 0 {
		at %= len(all)
		all = slices.Concat(all[at:], all[:at])
	}
	return all
}

// watchAt asks host n once; false if it did not answer. The heart ends the watch early when the host falls silent, and when
// another host leads.
func (l *life) watchAt(n names.Host) bool {
	ctx, cancel := context.WithTimeout(l.ctx, watchWait)
	defer cancel()
	l.heart.mu.Lock()
	if l.heart.core.Silent(time.Now(), n) {
		l.heart.mu.Unlock()
		return false
	}
	l.heart.watched, l.heart.stop = n, cancel
	l.heart.mu.Unlock()
	defer func() {
		l.heart.mu.Lock()
		l.heart.stop = nil
		l.heart.mu.Unlock()
	}()
	view := l.View()
	header, err := json.Marshal(watchRequest{Seq: view.Seq, Loads: len(view.Up()) > fullMesh})
	if err != nil {
		return false
	}
	r, err := l.call(ctx, n, methodWatch, header, nil)
	if err != nil {
		return false
	}
	var reply watchReply
	if err := json.Unmarshal(r.Body, &reply); err != nil {
		l.log.Warn("bad views", "host", n, "error", err)
		return false
	}
	for _, v := range reply.Views {
		l.publish(v)
	}
	if reply.Loads != nil {
		l.heart.learn(reply.Loads)
	}
	return l.ctx.Err() == nil
}

// serveWatch answers a watch.
func (l *life) serveWatch(ctx context.Context, r *link.Request) (link.Reply, error) {
	var req watchRequest
	if err := json.Unmarshal(r.Header, &req); err != nil {
		return link.Reply{}, refuse(errState, "bad watch: %v", err)
	}
	hold := watchHold
	if req.Loads {
		hold = loadsHold
	}
	ctx, cancel := context.WithTimeout(ctx, hold)
	defer cancel()
	_ = l.await(ctx, func(v View) bool { return v.Seq > req.Seq })
	reply := watchReply{Views: l.viewsAfter(req.Seq, maxRecent)}
	if req.Loads {
		reply.Loads = l.heart.digest()
	}
	for {
		body, err := json.Marshal(reply)
		if err != nil {
			return link.Reply{}, err
		}
		if len(body) <= link.MaxMessage-1024 || len(reply.Views) <= 1 {
			return link.Reply{Body: body}, nil
		}
		reply.Views = reply.Views[:len(reply.Views)/2] // the rest with the next watch
	}
}
