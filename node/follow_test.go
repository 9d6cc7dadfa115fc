package node

import (
	"testing"

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
