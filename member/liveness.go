package member

import (
	"slices"
	"time"

	"github.com/onehost/onehost/names"
)

// The figures of liveness. Under load, beats of 100 ms with a deadline of 600 ms gave no false alarm and found a crash in
// 0.6 to 0.8 s.
const (
	beatEvery  = 100 * time.Millisecond
	deadline   = 600 * time.Millisecond
	firstBeat  = 2 * time.Second        // how long a new life may take to its first beat
	handover   = 2 * deadline           // and a known one to its first beat to a new monitor
	pausedIf   = 300 * time.Millisecond // a gap between two ticks that means this host stood still
	monitorsOf = 5                      // hosts that watch one host
	fullMesh   = 16                     // up to this many hosts, all beat to all
)

// Beat is one heartbeat.
type Beat struct {
	From    Life
	Accused []Life // whom the sender has not heard within the deadline, of those it monitors
	Load    []byte // opaque
}

// Event is what can happen to Liveness: Tick, Heard or Viewed.
type Event interface{ liveness() }

type (
	// Tick is due every beatEvery.
	Tick struct{}
	// Heard is a beat that came in.
	Heard struct{ Beat Beat }
	// Viewed is a new view.
	Viewed struct{ View View }
)

func (Tick) liveness()   {}
func (Heard) liveness()  {}
func (Viewed) liveness() {}

// Messages are what a Tick asks its host to send and do.
type Messages struct {
	To       []names.Host // send a beat to these
	Accused  []Life       // with these in it
	Verdicts []Life       // lives that a majority of their monitors accuses; a voter acts on it
	Paused   bool         // this host stood still: it accuses nobody for a while
}

// Liveness is the failure detector of one host, a pure core: events and their time in, messages out. Every host monitors
// the hosts before it in the ring of host numbers; it accuses one that it has not heard within the deadline, in its own
// beats; who hears a majority of a host's monitors accuse it gives the verdict. Monitors that are silent themselves do not
// count. A verdict is only advice: what makes a host failed is the registry, whose leader asks its quorum first.
type Liveness struct {
	self   names.Host
	view   View
	peers  map[names.Host]*peer
	ticked time.Time
}

// peer is what Liveness knows of another host that is up.
type peer struct {
	life    Life
	due     bool      // it beats to this host, by the view
	limit   time.Time // silent from then on
	heard   time.Time // the last beat, zero before the first
	accused []Life    // by its last beat
	load    []byte
}

// NewLiveness makes the detector of host self.
func NewLiveness(self names.Host) *Liveness {
	return &Liveness{self: self, peers: map[names.Host]*peer{}}
}

// Step takes one event. Time must not run backwards.
func (l *Liveness) Step(now time.Time, e Event) Messages {
	switch e := e.(type) {
	case Viewed:
		l.viewed(now, e.View)
	case Heard:
		l.hear(now, e.Beat)
	case Tick:
		return l.tick(now)
	}
	return Messages{}
}

func (l *Liveness) viewed(now time.Time, v View) {
	if v.Seq <= l.view.Seq {
		return
	}
	l.view = v
	for n := range l.peers {
		if h, ok := v.Host(n); !ok || !h.State.Up() {
			delete(l.peers, n)
		}
	}
	up := v.Up()
	me, _ := v.Host(l.self)
	for _, h := range up {
		if h.Number == l.self {
			continue
		}
		p, grace := l.peers[h.Number], handover
		if p == nil || p.life.Incarnation < h.Incarnation {
			p = &peer{life: Life{h.Number, h.Incarnation}}
			l.peers[h.Number] = p
			grace = firstBeat
		}
		was := p.due
		p.due = len(up) <= fullMesh || me.Voter || slices.Contains(monitors(up, h.Number), l.self)
		if p.due && !was { // until it has seen this view too, it does not know that it is to beat to this host
			p.limit, p.accused = now.Add(grace), nil
		}
	}
}

func (l *Liveness) hear(now time.Time, b Beat) {
	p := l.peers[b.From.Host]
	if p == nil || b.From.Incarnation < p.life.Incarnation {
		return
	}
	// A newer life than the view knows: the old one is over, but its verdict would hit the host that lives.
	p.life.Incarnation = b.From.Incarnation
	p.heard, p.limit, p.accused, p.load = now, now.Add(deadline), b.Accused, b.Load
}

func (l *Liveness) tick(now time.Time) Messages {
	var m Messages
	if !l.ticked.IsZero() && now.Sub(l.ticked) > pausedIf {
		m.Paused = true
		for _, p := range l.peers {
			p.accused = nil
			if fresh := now.Add(deadline); p.limit.Before(fresh) {
				p.limit = fresh
			}
		}
	}
	l.ticked = now
	m.To = l.targets()
	up := l.view.Up()
	for _, h := range up {
		p := l.peers[h.Number]
		if p != nil && !now.Before(p.limit) && slices.Contains(monitors(up, h.Number), l.self) {
			m.Accused = append(m.Accused, p.life)
		}
	}
	for _, h := range up {
		if p := l.peers[h.Number]; p != nil && l.judge(now, up, p.life, m.Accused) {
			m.Verdicts = append(m.Verdicts, p.life)
		}
	}
	return m
}

// judge reports whether more than half of the monitors that can be heard accuse the life.
func (l *Liveness) judge(now time.Time, up []Host, life Life, mine []Life) bool {
	voices, against := 0, 0
	for _, n := range monitors(up, life.Host) {
		accused := mine
		if n != l.self {
			p := l.peers[n]
			if !p.due || p.heard.IsZero() || !now.Before(p.limit) {
				continue
			}
			accused = p.accused
		}
		voices++
		if slices.Contains(accused, life) {
			against++
		}
	}
	return 2*against > voices
}

// targets are the hosts that get this host's beats.
func (l *Liveness) targets() []names.Host {
	up := l.view.Up()
	if h, ok := l.view.Host(l.self); !ok || !h.State.Up() {
		return nil
	}
	var to []names.Host
	mine := monitors(up, l.self)
	for _, h := range up {
		if h.Number != l.self && (len(up) <= fullMesh || h.Voter || slices.Contains(mine, h.Number)) {
			to = append(to, h.Number)
		}
	}
	return to
}

// monitors lists who watches host n: the next monitorsOf hosts that are up, in the ring of host numbers.
func monitors(up []Host, n names.Host) []names.Host {
	i, _ := slices.BinarySearchFunc(up, n, func(h Host, n names.Host) int { return int(h.Number) - int(n) })
	var ms []names.Host
	for k := 1; k < len(up) && len(ms) < monitorsOf; k++ {
		ms = append(ms, up[(i+k)%len(up)].Number)
	}
	return ms
}

// Silent reports whether a host that beats to this one has not been heard within its deadline.
func (l *Liveness) Silent(now time.Time, n names.Host) bool {
	p := l.peers[n]
	return p != nil && p.due && !now.Before(p.limit)
}

// Load is the payload of a host's last beat and when it came.
func (l *Liveness) Load(n names.Host) ([]byte, time.Time) {
	if p := l.peers[n]; p != nil {
		return p.load, p.heard
	}
	return nil, time.Time{}
}
