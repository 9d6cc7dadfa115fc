package node

import (
	"testing"
	"time"

	"github.com/onehost/onehost/member"
	"github.com/onehost/onehost/names"
)

// TestLives tells what a host's view of itself means: the end of a life of this daemon, or news of one before it.
func TestLives(t *testing.T) {
	at := func(inc names.Incarnation, s member.HostState) member.Host {
		return member.Host{Number: 3, Incarnation: inc, State: s}
	}
	for _, c := range []struct {
		what    string
		self    names.Incarnation // as the daemon began
		was, is member.Host
		over    bool
	}{
		{"started again, and the last life was not found out", 2, at(1, member.Alive), at(2, member.Alive), false},
		{"started again, and it was", 2, at(1, member.Alive), at(1, member.Failed), false},
		{"declared failed while it lives", 2, at(2, member.Alive), at(2, member.Failed), true},
		{"and back already", 2, at(2, member.Alive), at(3, member.Alive), true},
		{"nothing new", 2, at(2, member.Alive), at(2, member.Alive), false},
		{"draining", 2, at(2, member.Alive), at(2, member.Drained), false},
	} {
		var l lives
		l.now(3, c.self, "", "")
		l.now(0, 0, "", "")        // between two lives
		l.now(3, c.self+1, "", "") // a later life of this daemon changes nothing
		if got := l.over(c.was, c.is); got != c.over {
			t.Errorf("%s: over %v, want %v", c.what, got, c.over)
		}
	}
	var l lives
	l.now(3, 7, "", "")
	l.now(3, 1, "", "") // it left, and joined another cluster
	if !l.over(at(1, member.Alive), at(1, member.Failed)) {
		t.Error("the end of the first life in another cluster is not noticed")
	}
}

// TestGone: what a host had is free a minute after it was seen to be gone, whatever the clock of the one who said so, and not when it is back.
func TestGone(t *testing.T) {
	var g gone
	now := time.Now()
	is := func(what string, h names.Host, after time.Duration, want bool) {
		t.Helper()
		if got := g.forGood(h, now.Add(after)); got != want {
			t.Errorf("%s: host %d is gone for good: %v, want %v", what, h, got, want)
		}
	}
	is("before any view", 3, time.Hour, false)
	view := func(seq uint64, after time.Duration, states ...member.HostState) {
		v := member.View{Seq: seq}
		for i, s := range states {
			v.Hosts = append(v.Hosts, member.Host{Number: names.Host(1 + i), State: s, Since: now.Add(-time.Hour)})
		}
		g.note(v, now.Add(after))
	}
	view(1, 0, member.Alive, member.Drained, member.Failed, member.Left)
	is("alive", 1, time.Hour, false)
	is("drained", 2, time.Hour, false)
	is("failed just now", 3, goneTime-1, false)
	view(2, 30*time.Second, member.Alive, member.Drained, member.Failed, member.Left)
	is("failed for a minute", 3, goneTime+1, true)
	is("left for a minute", 4, goneTime+1, true)
	is("forgotten", 5, 0, true)
	view(3, time.Hour, member.Alive, member.Drained, member.Alive, member.Left)
	is("back", 3, 2*time.Hour, false)
	view(4, 2*time.Hour, member.Alive, member.Drained, member.Failed, member.Left)
	is("failed again just now", 3, 2*time.Hour+goneTime-1, false)
}
