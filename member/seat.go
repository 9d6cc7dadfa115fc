package member

import (
	"slices"
	"time"

	"github.com/onehost/onehost/names"
)

// How a voter goes about a registry without a leader.
const (
	handing = 500 * time.Millisecond // for a leader that hands over, or a registry that just opens, to settle it without
	turn    = time.Second            // how long each voter has to be elected before the next tries
)

// seat is the leader's, as one voter sees it: by beats, which come often, and not by the registry's own messages, which are
// rare. It is vacant when no voter that is heard says that it leads, and the one that did last is not merely out of
// this host's hearing. Then the voters that hear each other stand for election by turns, in the order of their numbers,
// until one is elected: at once if the leader crashed.
type seat struct {
	holder names.Host // who led last, names.Here if nobody is known to have
	vacant time.Time  // since when, zero if it is not
	wait   time.Duration
	stood  int // the turn in which this host stood last, from 1
}

// stand reports whether this host is to stand for election now.
func (l *Liveness) stand(now time.Time, leads bool, verdicts []Life) bool {
	s := &l.seat
	heard, voters := l.voters(now)
	holder := names.Here
	for _, n := range heard {
		if n == l.self && leads || n != l.self && l.peers[n].leads {
			holder = n
		}
	}
	if me, _ := l.view.Host(l.self); holder != names.Here || !me.Voter || !me.State.Up() {
		if holder != names.Here {
			s.holder = holder
		}
		s.vacant = time.Time{}
		return false
	}
	was := l.peers[s.holder]
	crashed := s.holder != l.self && (was == nil || slices.Contains(verdicts, was.life))
	if was != nil && was.silent(now) && !crashed {
		s.vacant = time.Time{} // only this host does not hear it
		return false
	}
	if s.vacant.IsZero() {
		s.vacant, s.wait, s.stood = now, handing, 0
		if crashed && s.holder != names.Here {
			s.wait = 0
		}
	}
	over := now.Sub(s.vacant) - s.wait
	if over < 0 || 2*len(heard) <= voters {
		return false
	}
	turns := int(over/turn) + 1
	if turns == s.stood || heard[(turns-1)%len(heard)] != l.self {
		return false
	}
	s.stood = turns
	return true
}

// voters lists the voters that this host hears, itself included, and says how many there are.
func (l *Liveness) voters(now time.Time) (heard []names.Host, all int) {
	for _, h := range l.view.Hosts {
		if !h.Voter {
			continue
		}
		all++
		p := l.peers[h.Number]
		if h.State.Up() && (h.Number == l.self || p != nil && p.due && !p.heard.IsZero() && !p.silent(now)) {
			heard = append(heard, h.Number)
		}
	}
	return heard, all
}

// Quorum reports whether a majority of the voters can be heard, or is expected to be: without one no view can change. In
// clusters of more than 16 hosts all voters beat to this host only if it votes; those that do not are taken to be there.
func (l *Liveness) Quorum(now time.Time) bool {
	silent, all := 0, 0
	for _, h := range l.view.Hosts {
		if !h.Voter {
			continue
		}
		all++
		if p := l.peers[h.Number]; h.Number != l.self && (!h.State.Up() || p != nil && p.silent(now)) {
			silent++
		}
	}
	return all == 0 || 2*silent < all
}

// Sight is what a host sees by itself, whatever the registry says.
type Sight struct {
	Quorum bool                     // a majority of the voters can be heard: what the registry does not say yet, it will soon
	Silent map[names.Host]time.Time // the hosts that are up by the view and cannot be heard, and since when
}

// Sight is what this host saw when it last looked.
func (l *Liveness) Sight() Sight {
	s := Sight{Quorum: l.Quorum(l.ticked), Silent: map[names.Host]time.Time{}}
	for n, p := range l.peers {
		if p.silent(l.ticked) {
			s.Silent[n] = p.last
		}
	}
	return s
}

// Leader is the voter that says it leads the registry, names.Here if none that is heard does; this host itself is left out.
func (l *Liveness) Leader(now time.Time) names.Host {
	for _, h := range l.view.Up() {
		if p := l.peers[h.Number]; p != nil && p.leads && p.due && !p.silent(now) {
			return h.Number
		}
	}
	return names.Here
}
