package member

import (
	"slices"
	"time"

	"github.com/onehost/onehost/names"
)

// The figures of liveness. A crash is known 0.5 to 0.7 s after it, and a beat may come half a second late without an alarm.
const (
	beatEvery  = 200 * time.Millisecond
	deadline   = 700 * time.Millisecond
	patience   = 2 * time.Second        // the deadline of a host whose kernel shows signs of life
	firstBeat  = 2 * time.Second        // how long a new life may take to its first beat
	handover   = 2 * deadline           // and a known one to its first beat to a new monitor
	pausedIf   = 400 * time.Millisecond // a gap between two ticks that means this host stood still
	monitorsOf = 5                      // hosts that watch one host
	fullMesh   = 16                     // up to this many hosts, all beat to all
)

// Beat is one heartbeat.
type Beat struct {
	From    Life
	Accused []Life // whom the sender has not heard within the deadline, of those it monitors
	Leads   bool   // the sender leads the registry
	Load    []byte // opaque
}

// Event is what can happen to Liveness: Tick, Look, Heard, Vouched or Viewed.
type Event interface{ liveness() }

type (
	// Tick is due every beatEvery. Leads says whether this host leads the registry.
	Tick struct{ Leads bool }
	// Look is due when Messages said so, and when this host begins or ceases to lead.
	Look struct{ Leads bool }
	// Heard is a beat that came in.
	Heard struct{ Beat Beat }
	// Vouched is a sign that a host lives which this one does not hear: see Doubts.
	Vouched struct{ Host names.Host }
	// Viewed is a new view.
	Viewed struct{ View View }
)

func (Tick) liveness()    {}
func (Look) liveness()    {}
func (Heard) liveness()   {}
func (Vouched) liveness() {}
func (Viewed) liveness()  {}

// Messages are what an event asks its host to send and do.
type Messages struct {
	To       []names.Host // send a beat to these
	Accused  []Life       // with these in it
	Verdicts []Life       // lives that a majority of their monitors accuses; a voter acts on it
	Stand    bool         // stand for election as the leader of the registry
	Lost     []Life       // silent past all patience while no quorum can say so: give up what hangs on them
	Paused   bool         // this host stood still: it accuses nobody for a while
	Next     time.Time    // a Look is due then, if no Tick comes before; zero: none
}

// Liveness is the failure detector of one host, a pure core: events and their time in, messages out. Every host monitors
// the hosts before it in the ring of host numbers; it accuses one that it has not heard within the deadline, in its own
// beats; who hears a majority of a host's monitors accuse it gives the verdict. Monitors that are silent themselves do not
// count. A verdict is only advice: what makes a host failed is the registry, whose leader asks its quorum first.
//
// A host is likelier to be cut off or starved itself than to see all others crash at one moment. So one that hears nobody
// accuses nobody, unless there is only one other; and one that stood still begins to count anew. Nor is a starved host taken
// for a crashed one: while its kernel acknowledges what it is sent, it has until the end of patience.
type Liveness struct {
	self    names.Host
	view    View
	peers   map[names.Host]*peer
	ticked  time.Time
	accused []Life // as last sent
	leads   bool   // as last sent
	seat    seat
}

// peer is what Liveness knows of another host that is up.
type peer struct {
	life    Life
	due     bool      // it beats to this host, by the view
	limit   time.Time // silent from then on
	last    time.Time // from when patience counts: the last beat, or when the wait for it was over
	sign    time.Time // the last beat or sign
	heard   time.Time // the last beat, zero before the first
	accused []Life    // by its last beat
	leads   bool      // by its last beat
	lost    bool      // was in Messages.Lost
	load    []byte
}

func (p *peer) silent(now time.Time) bool { return p.due && !now.Before(p.limit) }

// wait gives the peer some time to its next beat, from now on.
func (p *peer) wait(now time.Time, d time.Duration) {
	if fresh := now.Add(d); p.limit.Before(fresh) {
		p.limit, p.last = fresh, fresh.Add(-deadline)
	}
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
		return l.hear(now, e.Beat)
	case Vouched:
		l.vouched(now, e.Host)
	case Tick:
		m := l.look(now, e.Leads)
		m.To = l.targets()
		return m
	case Look:
		was, led := l.accused, l.leads
		m := l.look(now, e.Leads)
		if m.Paused || !slices.Equal(was, m.Accused) || led != e.Leads { // the others must not learn of it a beat later
			m.To = l.targets()
		}
		return m
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
			p.limit, p.accused = time.Time{}, nil
			p.wait(now, grace)
		}
	}
}

func (l *Liveness) hear(now time.Time, b Beat) (m Messages) {
	p := l.peers[b.From.Host]
	if p == nil || b.From.Incarnation < p.life.Incarnation {
		return m
	}
	if !slices.Equal(p.accused, b.Accused) || p.leads != b.Leads {
		m.Next = now
	}
	// A newer life than the view knows: the old one is over, but its verdict would hit the host that lives.
	p.life.Incarnation = b.From.Incarnation
	p.heard, p.sign, p.last, p.limit = now, now, now, now.Add(deadline)
	p.accused, p.leads, p.load, p.lost = b.Accused, b.Leads, b.Load, false
	return m
}

// Doubts lists the hosts that are about to be silent and may yet be vouched for.
func (l *Liveness) Doubts(now time.Time) []names.Host {
	var doubts []names.Host
	for n, p := range l.peers {
		if p.silent(now) && now.Before(p.last.Add(patience)) {
			doubts = append(doubts, n)
		}
	}
	return doubts
}

func (l *Liveness) vouched(now time.Time, n names.Host) {
	p := l.peers[n]
	if p == nil {
		return
	}
	limit := now.Add(beatEvery)
	if end := p.last.Add(patience); limit.After(end) {
		limit = end
	}
	if p.limit.Before(limit) {
		p.limit, p.sign = limit, now
	}
}

// look finds who is silent, and what follows from it.
func (l *Liveness) look(now time.Time, leads bool) (m Messages) {
	if !l.ticked.IsZero() && now.Sub(l.ticked) > pausedIf {
		m.Paused = true
		for _, p := range l.peers {
			p.accused = nil
			p.wait(now, deadline)
		}
	}
	l.ticked = now
	up := l.view.Up()
	for _, h := range up {
		p := l.peers[h.Number]
		if p != nil && p.silent(now) && !l.deaf(now, p) && slices.Contains(monitors(up, h.Number), l.self) {
			m.Accused = append(m.Accused, p.life)
		}
	}
	for _, h := range up {
		if p := l.peers[h.Number]; p != nil && l.judge(now, up, p.life, m.Accused) {
			m.Verdicts = append(m.Verdicts, p.life)
		}
		if p := l.peers[h.Number]; p != nil && p.due && now.Before(p.limit) && (m.Next.IsZero() || p.limit.Before(m.Next)) {
			m.Next = p.limit
		}
	}
	m.Stand = l.stand(now, leads, m.Verdicts)
	if !l.Quorum(now) {
		m.Lost = l.lost(now)
	}
	l.accused, l.leads = m.Accused, leads
	return m
}

// deaf reports whether this host has had no sign of any host other than p since p last beat in time. It is alone with p if
// no other is due; then there is nobody else to hear.
func (l *Liveness) deaf(now time.Time, p *peer) bool {
	others := false
	for _, o := range l.peers {
		if o == p || !o.due {
			continue
		}
		if o.sign.After(now.Add(beatEvery - deadline)) {
			return false
		}
		others = true
	}
	return others
}

// judge reports whether more than half of the monitors that can be heard accuse the life.
func (l *Liveness) judge(now time.Time, up []Host, life Life, mine []Life) bool {
	voices, against := 0, 0
	for _, n := range monitors(up, life.Host) {
		accused := mine
		if n != l.self {
			p := l.peers[n]
			if p.heard.IsZero() || !p.due || p.silent(now) {
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

// lost lists, once each, the lives that have been silent past all patience.
func (l *Liveness) lost(now time.Time) (lives []Life) {
	for _, h := range l.view.Up() {
		p := l.peers[h.Number]
		if p != nil && !p.lost && p.silent(now) && !now.Before(p.last.Add(patience)) {
			p.lost = true
			lives = append(lives, p.life)
		}
	}
	return lives
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
	return p != nil && p.silent(now)
}

// Load is the payload of a host's last beat and when it came.
func (l *Liveness) Load(n names.Host) ([]byte, time.Time) {
	if p := l.peers[n]; p != nil {
		return p.load, p.heard
	}
	return nil, time.Time{}
}
