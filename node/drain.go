package node

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/member"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/jobs"
)

// heldTime bounds how long a host is asked for what it still has of others, which it answers within a millisecond; heldEvery is how often one
// is asked that does not know yet that it is drained.
const (
	heldTime  = 2 * time.Second
	heldEvery = 20 * time.Millisecond
)

// returnTime bounds the way of a daemon that was started again back into its cluster: milliseconds while the registry answers.
const returnTime = 10 * time.Second

func (n *Node) serveDrain(ctx context.Context, body json.RawMessage) (any, error) {
	return n.drain(ctx, body, func(h names.Host) error { return n.setDrained(ctx, h, true) })
}

func (n *Node) serveResume(ctx context.Context, body json.RawMessage) (any, error) {
	return n.drain(ctx, body, func(h names.Host) error { return n.setDrained(ctx, h, false) })
}

func (n *Node) serveHeld(ctx context.Context, body json.RawMessage) (any, error) {
	return n.drain(ctx, body, func(names.Host) error { return nil })
}

// setDrained drains a host, or has it take jobs again.
func (n *Node) setDrained(ctx context.Context, h names.Host, drained bool) error {
	if h == n.self() {
		// A daemon that has just been started is asked before the registry has heard of its return, to which this host may be a failed one.
		returning, cancel := context.WithTimeout(ctx, returnTime)
		defer cancel()
		_ = n.member.Ready(returning) // what hinders it hinders the change too, which says so
	}
	return n.member.Drain(ctx, h, !drained)
}

// drain changes a host and says what has become of it.
func (n *Node) drain(ctx context.Context, body json.RawMessage, change func(names.Host) error) (any, error) {
	var r control.DrainRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	h, err := n.named(r.Host)
	if err != nil {
		return nil, err
	}
	sight := n.member.Sight()
	was, _ := seen(h, sight)
	if err := change(h.Number); err != nil {
		return nil, err
	}
	if now, ok := n.member.View().Host(h.Number); ok {
		h = now
	}
	reply := control.DrainReply{Host: h.Name, Was: was}
	if reply.State, _ = seen(h, sight); reply.State == string(member.Drained) {
		reply.Jobs = n.held(ctx, h.Number)
	}
	return reply, nil
}

// held says how many jobs a drained host has of other homes: what it says itself or, when it has none, what others have on the way there.
func (n *Node) held(ctx context.Context, h names.Host) int {
	ctx, cancel := context.WithTimeout(ctx, heldTime)
	defer cancel()
	held := n.ask(ctx, h, n.helper.Held, jobs.Held)
	if held != 0 {
		return held
	}
	var mu sync.Mutex // guards sent
	var sent int
	var asking sync.WaitGroup
	sight := n.member.Sight()
	for _, home := range n.member.View().Up() {
		if state, _ := seen(home, sight); home.Number == h || state == string(member.Failed) {
			continue
		}
		asking.Go(func() {
			placed := n.ask(ctx, home.Number, func() (int, error) { return n.broker.Placed(h) },
				func(ctx context.Context, c *link.Conn) (int, error) { return jobs.Placed(ctx, c, h) })
			mu.Lock()
			defer mu.Unlock()
			if placed == control.JobsUnknown || sent == control.JobsUnknown {
				sent = control.JobsUnknown
				return
			}
			sent += placed
		})
	}
	asking.Wait()
	return sent
}

// ask asks a host, which may be this one, for a number of jobs, again while it does not know of the draining.
func (n *Node) ask(ctx context.Context, h names.Host, here func() (int, error), there func(context.Context, *link.Conn) (int, error)) int {
	for {
		jobs, err := 0, error(nil)
		if h == n.self() {
			jobs, err = here()
		} else if conn, cerr := n.member.Conn(ctx, h); cerr == nil {
			jobs, err = there(ctx, conn)
		} else {
			err = cerr
		}
		switch {
		case err == nil:
			return jobs
		case !errors.Is(err, syscall.EAGAIN):
			n.cfg.Log.Debug("how many jobs a drained host has is not known", "asked", h, "err", err)
			return control.JobsUnknown
		}
		select {
		case <-time.After(heldEvery):
		case <-ctx.Done():
			return control.JobsUnknown
		}
	}
}
