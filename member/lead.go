package member

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
)

// What only the registry's leader can do, any host may ask for: methodLead carries it to the leader, by way of whoever
// knows who that is.
const (
	methodLead  = "member.lead"
	methodStand = "member.stand" // the leader asks a host to open a copy of the registry
	methodView  = "member.view"  // the last views for a host that would hear of it late, or not at all
)

// leadTimeout bounds a request to the leader when the caller gave no bound.
const leadTimeout = 15 * time.Second

type leadRequest struct {
	Op   string          `json:"op"`
	Body json.RawMessage `json:"body"`
}

// leadReply is the result, or the host that leads.
type leadReply struct {
	Leader names.Host      `json:"leader,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// The operations of methodLead.
const (
	leadPropose = "propose" // Command -> applied
	leadAdmit   = "admit"   // admission -> admitted
	leadToken   = "token"   // tokenRequest -> string
	leadLeave   = "leave"   // names.Host -> applied
)

type tokenRequest struct {
	Rotate bool `json:"rotate"`
}

// askLeader has the leader carry out op, wherever it is, and tries again while there is none.
func (l *life) askLeader(ctx context.Context, op string, req, result any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	header, err := json.Marshal(leadRequest{Op: op, Body: body})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, leadTimeout)
	defer cancel()
	last := refuse(errLeader, "no leader of the registry is known")
	for try := 0; ; try++ {
		for _, n := range l.leadersLikely() {
			reply, err := l.askOne(ctx, n, header)
			if err != nil && !passing(err) {
				return err
			}
			if err != nil {
				last = err
				continue
			}
			if reply.Result != nil {
				l.mu.Lock()
				l.leader = n
				l.mu.Unlock()
				return json.Unmarshal(reply.Result, result)
			}
			if reply.Leader != names.Here {
				l.mu.Lock()
				l.leader = reply.Leader
				l.mu.Unlock()
				break // ask it next
			}
		}
		wait := 20 * time.Millisecond
		if try == 0 {
			wait = time.Millisecond
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("the registry of cluster %s does not answer (%w): are enough of its hosts up? 'onehost hosts' shows them", l.id.Cluster, last)
		case <-l.ctx.Done():
			t.Stop()
			return refuse(errNone, "this host stopped being part of cluster %s", l.id.Cluster)
		}
	}
}

// passing reports whether an error is of the way to the leader, so that another try may help.
func passing(err error) bool {
	for _, e := range []error{errLeader, errNone, errDown, syscall.ECONNREFUSED, syscall.ECONNRESET, link.ErrClosed, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	var no *Refusal
	var remote *link.RemoteError
	return !errors.As(err, &no) && !errors.As(err, &remote)
}

// leadersLikely lists whom to ask, the likeliest first.
func (l *life) leadersLikely() []names.Host {
	var likely []names.Host
	add := func(n names.Host) {
		if n != names.Here && !slices.Contains(likely, n) {
			likely = append(likely, n)
		}
	}
	if q := l.getQuorum(); q != nil {
		if q.leading() {
			return []names.Host{l.id.Number}
		}
		leader, _, _ := l.heart.leading()
		add(leader)
		add(q.leader())
	}
	l.mu.Lock()
	view, hint := l.view, l.leader
	l.mu.Unlock()
	if h, ok := view.Host(hint); ok && h.State.Up() && hint != l.id.Number {
		add(hint)
	}
	for _, h := range view.Up() {
		if h.Voter && h.Number != l.id.Number {
			add(h.Number)
		}
	}
	return likely
}

func (l *life) askOne(ctx context.Context, n names.Host, header []byte) (leadReply, error) {
	if n == l.id.Number {
		return l.leadHere(ctx, n, header)
	}
	ctx, cancel := context.WithTimeout(ctx, raftApply)
	defer cancel()
	r, err := l.call(ctx, n, methodLead, header, nil)
	if err != nil {
		return leadReply{}, err
	}
	var reply leadReply
	return reply, json.Unmarshal(r.Header, &reply)
}

// leadHere carries out a request of host from if this host leads, or says who does.
func (l *life) leadHere(ctx context.Context, from names.Host, header []byte) (leadReply, error) {
	var req leadRequest
	if err := json.Unmarshal(header, &req); err != nil {
		return leadReply{}, refuse(errState, "bad request to the registry: %v", err)
	}
	q := l.getQuorum()
	if q == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		return leadReply{Leader: l.leader}, nil
	}
	if !q.leading() {
		return leadReply{Leader: q.leader()}, nil
	}
	if err := q.settle(); err != nil {
		return leadReply{}, err
	}
	result, err := l.lead(ctx, q, from, req)
	if err != nil {
		return leadReply{}, err
	}
	raw, err := json.Marshal(result)
	return leadReply{Result: raw}, err
}

func (l *life) lead(ctx context.Context, q *quorum, from names.Host, req leadRequest) (any, error) {
	bad := func(err error) error { return refuse(errState, "bad request %s to the registry: %v", req.Op, err) }
	switch req.Op {
	case leadPropose:
		var c Command
		if err := json.Unmarshal(req.Body, &c); err != nil {
			return nil, bad(err)
		}
		switch {
		case c.Op == OpDrain, c.Op == OpResume, c.Op == OpRejoin && c.Host == from:
		default:
			return nil, refuse(errState, "host %d may not ask for %q", from, c.Op)
		}
		c.At = time.Now()
		return q.apply(c)
	case leadAdmit:
		var a admission
		if err := json.Unmarshal(req.Body, &a); err != nil {
			return nil, bad(err)
		}
		return q.admit(a)
	case leadToken:
		var t tokenRequest
		if err := json.Unmarshal(req.Body, &t); err != nil {
			return nil, bad(err)
		}
		return q.token(t.Rotate)
	case leadLeave:
		var h names.Host
		if err := json.Unmarshal(req.Body, &h); err != nil {
			return nil, bad(err)
		}
		return l.takeOut(ctx, q, h)
	}
	return nil, refuse(errState, "unknown request %q to the registry: is the leader's onehost older than this one?", req.Op)
}

// propose has the leader carry out a command, and waits until this host sees the view after it.
func (l *life) propose(ctx context.Context, c Command) error {
	var a applied
	if err := l.askLeader(ctx, leadPropose, c, &a); err != nil {
		return err
	}
	return l.await(ctx, func(v View) bool { return v.Seq >= a.Seq })
}

// token gives the current join token, a new one if the current one is over.
func (q *quorum) token(rotate bool) (string, error) {
	s := q.snapshot()
	if rotate || !time.Now().Before(s.Token.Expires) {
		if _, err := q.apply(Command{Op: OpToken, Token: newSecret(time.Now())}); err != nil {
			return "", err
		}
		s = q.snapshot()
	}
	t := joinToken{caHash: caHash(s.CA.Cert)}
	copy(t.secret[:], s.Token.Bytes)
	return t.String(), nil
}

// takeOut makes a host leave. A host that votes first gives up its vote, so that the quorum never counts on one that is
// gone; if that is this leader, another must take over, and the caller asks again there.
func (l *life) takeOut(ctx context.Context, q *quorum, n names.Host) (applied, error) {
	s := q.snapshot()
	h, ok := s.View.Host(n)
	if !ok {
		return applied{}, refuse(errLeft, "there is no host %d in cluster %s: 'onehost hosts' shows them", n, s.View.Cluster)
	}
	if others := slices.DeleteFunc(s.View.Up(), func(h Host) bool { return h.Number == n }); h.State.Up() && len(others) > 0 {
		if _, err := q.apply(Command{Op: OpDrain, Host: n}); err != nil {
			return applied{}, err
		}
		for {
			voters, err := q.voters()
			if err != nil {
				return applied{}, notLeading(err)
			}
			if !slices.Contains(voters, n) {
				break
			}
			if !q.leading() {
				return applied{}, refuse(errLeader, "the leader is changing")
			}
			t := time.NewTimer(5 * time.Millisecond)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return applied{}, refuse(errState, "host %s is drained but still holds a copy of the registry, because no other host could take it over: try again", h.Name)
			}
		}
	}
	a, err := q.apply(Command{Op: OpLeave, Host: n})
	if err == nil && n != l.id.Number && h.State.Up() {
		l.begin(func() { l.tell(n) })
	}
	return a, err
}

// tell brings a host the latest views.
func (l *life) tell(n names.Host) {
	data, err := json.Marshal(l.viewsAfter(0, maxTold))
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, leftGrace)
	defer cancel()
	if _, err := l.call(ctx, n, methodView, nil, data); err != nil {
		l.log.Debug("cannot tell a host of the view", "host", n, "error", err)
	}
}
