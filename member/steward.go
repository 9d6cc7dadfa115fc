package member

import (
	"context"
	"fmt"
	"time"

	"github.com/onehost/onehost/names"
)

// How soon a step that failed is tried again, and how often a leader looks whether all is as it should be.
const (
	stewardAgain = 500 * time.Millisecond
	stewardEvery = 10 * time.Second
)

// steward keeps, while this host leads, the voters as the view wants them, one step at a time.
func (l *life) steward() {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		l.mu.Lock()
		q, changed, stood := l.quorum, l.changed, l.stood
		l.mu.Unlock()
		var leads <-chan bool
		t.Stop()
		if q != nil {
			leads = q.leads
			again, err := l.reconcile(q)
			if again && err == nil {
				continue
			}
			switch {
			case err != nil && l.ctx.Err() == nil:
				l.log.Debug("cannot change who holds the registry now", "error", err)
				t.Reset(stewardAgain)
			case q.leading():
				t.Reset(stewardEvery)
			}
		}
		select {
		case <-changed:
		case <-stood:
		case <-leads:
			l.heart.look() // tell the others
		case <-t.C:
		case <-l.ctx.Done():
			return
		}
	}
}

// reconcile takes one step; true if it did something.
func (l *life) reconcile(q *quorum) (bool, error) {
	if !q.leading() {
		return false, nil
	}
	if err := q.settle(); err != nil {
		return false, err
	}
	s := q.snapshot()
	voters, err := q.voters()
	if err != nil || s.View.Seq == 0 {
		return false, err
	}
	votes := map[names.Host]bool{}
	for _, n := range voters {
		votes[n] = true
	}
	for _, h := range s.View.Hosts {
		if h.Voter == votes[h.Number] || h.State == Left {
			continue
		}
		c := Command{Op: OpDemote, Host: h.Number}
		if votes[h.Number] {
			c.Op = OpPromote
		}
		_, err := q.apply(c)
		if err == nil && c.Op == OpDemote && h.State.Up() {
			l.begin(func() { l.tell(h.Number) }) // raft tells it no more
		}
		return true, err
	}
	step, any := nextVoterChange(s.View, voters, l.id.Number)
	if !any {
		return false, nil
	}
	l.log.Debug("changing who holds the registry", "step", step)
	return true, l.changeVoter(q, step, voters)
}

func (l *life) changeVoter(q *quorum, step voterChange, voters []names.Host) error {
	id := serverID(step.Host)
	switch {
	case step.Add:
		// Its copy must be open before its vote counts, or the quorum waits for it.
		ctx, cancel := context.WithTimeout(l.ctx, raftTimeout)
		defer cancel()
		if _, err := l.call(ctx, step.Host, methodStand, nil, nil); err != nil {
			return fmt.Errorf("host %d: %w", step.Host, err)
		}
		return notLeading(q.raft.AddVoter(id, q.trans.peer(step.Host), 0, raftApply).Error())
	case step.Host == l.id.Number:
		for _, n := range voters {
			if n != step.Host {
				return notLeading(q.raft.LeadershipTransferToServer(serverID(n), q.trans.peer(n)).Error())
			}
		}
		return nil
	}
	return notLeading(q.raft.RemoveServer(id, 0, raftApply).Error())
}
