package member

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
)

const methodBeat = "member.beat"

// heart drives Liveness: it beats, hears the beats of others, and acts on verdicts.
//
// It is most of what an idle daemon does, for ever, and each time something wakes up costs more than what it then does. So
// all that is due at regular times is done on one tick; the ticks of all hosts fall on the same moments of the clock, so that
// the beats of others come while this host is awake; and a beat is sent and heard without another goroutine's help.
type heart struct {
	l    *life
	poke chan struct{} // has room for one word: look now

	mu      sync.Mutex
	core    *Liveness
	own     []byte              // the last payload of this host
	loads   map[names.Host]load // what arrived with watches, for hosts that do not beat to this one
	watched names.Host          // the host a watch is under way at
	stop    context.CancelFunc  // ends that watch
	leader  names.Host          // who leads by the beats, if not this host
	quorum  bool                // most voters are heard
	turned  chan struct{}       // closed when leader or quorum changes
	judging map[Life]bool       // verdicts on their way to the registry
	dialing map[names.Host]bool // hosts that a beat waits for a connection to
}

type load struct {
	Data []byte    `json:"data"`
	At   time.Time `json:"-"`
	Age  int64     `json:"age"` // milliseconds
}

// signFresh is how old a sign of life may be. A host that is sent a beat every beatEvery acknowledges it within 40 ms or so; one
// that crashed cannot be vouched for any more when its deadline is over.
const signFresh = deadline - beatEvery - 50*time.Millisecond

func newHeart(l *life) *heart {
	return &heart{
		l: l, poke: make(chan struct{}, 1), core: NewLiveness(l.id.Number), loads: map[names.Host]load{}, turned: make(chan struct{}), quorum: true,
		judging: map[Life]bool{}, dialing: map[names.Host]bool{},
	}
}

// note passes on an event that asks for nothing to be sent.
func (h *heart) note(e Event) {
	h.mu.Lock()
	m := h.core.Step(time.Now(), e)
	h.mu.Unlock()
	if !m.Next.IsZero() {
		h.look()
	}
}

// look makes the heart look at once. It does not wait.
func (h *heart) look() {
	select {
	case h.poke <- struct{}{}:
	default:
	}
}

// hear is the note handler. It runs on the goroutine that reads the connection.
func (h *heart) hear(r *link.Request) {
	b, err := parseBeat(r.From.Number, r.Header)
	if err != nil || b.From.Incarnation != r.From.Incarnation {
		h.l.log.Debug("bad beat", "host", r.From.Number, "error", err)
		return
	}
	h.note(Heard{b})
}

func (h *heart) run() {
	t := time.NewTimer(0)
	defer t.Stop()
	due := time.Now() // the next beat
	for {
		now := time.Now()
		tick := !now.Before(due)
		if tick {
			due = nextTick(now)
		}
		next := h.beat(now, tick)
		if next.IsZero() || due.Before(next) {
			next = due
		}
		t.Reset(time.Until(next))
		select {
		case <-t.C:
		case <-h.poke:
		case <-h.l.ctx.Done():
			return
		}
	}
}

// nextTick is the next moment of the clock that is a multiple of beatEvery, and not just now.
func nextTick(now time.Time) time.Time {
	rest := beatEvery - time.Duration(now.UnixNano()%int64(beatEvery))
	if rest < beatEvery/2 {
		rest += beatEvery
	}
	return now.Add(rest)
}

// beat does what is due, and says when it is to be called again, the zero time if not before the next tick.
func (h *heart) beat(now time.Time, tick bool) time.Time {
	q := h.l.getQuorum()
	leads := q != nil && q.leading()
	h.mu.Lock()
	doubts, payload := h.core.Doubts(now), h.own
	h.mu.Unlock()
	if f := h.l.m.cfg.Load; f != nil && tick {
		if payload = f(); len(payload) > MaxLoad {
			h.l.log.Warn("the load payload is over the limit: not sent", "bytes", len(payload), "limit", MaxLoad)
			payload = nil
		}
	}
	doubts = slices.DeleteFunc(doubts, func(n names.Host) bool { return !h.vouch(n) })
	var e Event = Look{Leads: leads}
	if tick {
		e = Tick{Leads: leads}
	}
	h.mu.Lock()
	for _, n := range doubts {
		h.core.Step(now, Vouched{n})
	}
	m := h.core.Step(now, e)
	h.own = payload
	leader, quorum := h.core.Leader(now), h.core.Quorum(now)
	if h.stop != nil && (leader != h.leader || h.core.Silent(now, h.watched)) {
		h.stop()
	}
	if leader != h.leader || quorum != h.quorum {
		h.leader, h.quorum = leader, quorum
		close(h.turned)
		h.turned = make(chan struct{})
	}
	h.mu.Unlock()
	if m.Paused {
		h.l.log.Info("this host stood still for a while: it accuses nobody now")
	}
	if len(m.To) > 0 {
		b := encodeBeat(Beat{From: h.l.self(), Accused: m.Accused, Leads: leads, Load: payload})
		for _, n := range m.To {
			h.send(n, b)
		}
	}
	for _, v := range m.Lost {
		h.l.log.Warn("a host is silent, and so is a majority of the voters: what hangs on it is given up", "host", v.Host)
		h.l.pool.Hangup(v.Host, v.Incarnation)
		if h.l.m.cfg.Lost != nil {
			h.l.m.cfg.Lost(v.Host, v.Incarnation)
		}
		h.l.partFrom(func(p link.Peer) bool { return p.Number == v.Host && p.Incarnation.Daemon() <= v.Incarnation })
	}
	if leads {
		for _, v := range m.Verdicts {
			h.judge(q, v)
		}
	}
	if m.Stand && q != nil && !leads {
		h.l.begin(q.campaign)
	}
	return m.Next
}

// vouch reports whether the kernel has a sign that a host lives although its beats are late: it acknowledges what it is sent,
// or something of it waits to be read here.
func (h *heart) vouch(n names.Host) bool {
	s, ok := h.l.pool.Signs(n)
	return ok && (s.Unread || s.Acked < signFresh)
}

// send sends a beat, at once if there is a connection that can take it. If not, one goroutine for the host sees to it, and the
// beats that come up meanwhile are left out.
func (h *heart) send(to names.Host, beat []byte) {
	if c := h.l.pool.Live(to); c != nil {
		if sent, _ := c.TryNotify(methodBeat, beat, nil); sent {
			return
		}
	}
	h.mu.Lock()
	busy := h.dialing[to]
	h.dialing[to] = true
	h.mu.Unlock()
	if busy {
		return
	}
	done := func() {
		h.mu.Lock()
		delete(h.dialing, to)
		h.mu.Unlock()
	}
	if !h.l.begin(func() { defer done(); h.dial(to, beat) }) {
		done()
	}
}

func (h *heart) dial(to names.Host, beat []byte) {
	ctx, cancel := context.WithTimeout(h.l.ctx, deadline)
	defer cancel()
	c, err := h.l.pool.Get(ctx, to)
	if err == nil {
		err = c.Notify(methodBeat, beat, nil)
	}
	if err != nil {
		h.l.log.Debug("no beat sent", "to", to, "error", err)
	}
}

// judge puts a verdict to the quorum that this host leads.
func (h *heart) judge(q *quorum, v Life) {
	h.mu.Lock()
	busy := h.judging[v]
	h.judging[v] = true
	h.mu.Unlock()
	if busy {
		return
	}
	h.l.begin(func() {
		h.l.fail(q, v)
		h.mu.Lock()
		delete(h.judging, v)
		h.mu.Unlock()
	})
}

// fail makes a life failed, if the quorum still follows this leader.
func (l *life) fail(q *quorum, v Life) {
	if err := notLeading(q.raft.VerifyLeader().Error()); err != nil {
		l.log.Info("a host is silent, but so is the quorum", "host", v.Host, "error", err)
		return
	}
	if _, err := q.apply(Command{Op: OpFail, Host: v.Host, Incarnation: v.Incarnation}); err != nil {
		l.log.Warn("cannot record that a host failed", "host", v.Host, "error", err)
		return
	}
	l.log.Warn("a host failed", "host", v.Host, "incarnation", v.Incarnation)
}

// leading is the host that leads the registry by its beats, names.Here if none does that is heard, and whether a majority of
// the voters is heard; turned is closed when either changes.
func (h *heart) leading() (leader names.Host, quorum bool, turned <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leader, h.quorum, h.turned
}

// load is the last payload of a host.
func (h *heart) load(n names.Host) ([]byte, time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	data, at := h.core.Load(n)
	if far, ok := h.loads[n]; ok && far.At.After(at) {
		return far.Data, far.At
	}
	return data, at
}

// digest is the loads this host knows at first hand, for those who watch views here.
func (h *heart) digest() map[names.Host]load {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := map[names.Host]load{h.l.id.Number: {Data: h.own}}
	for n, p := range h.core.peers {
		if !p.heard.IsZero() {
			d[n] = load{Data: p.load, Age: time.Since(p.heard).Milliseconds()}
		}
	}
	return d
}

func (h *heart) learn(d map[names.Host]load) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for n, one := range d {
		one.At = now.Add(-time.Duration(one.Age) * time.Millisecond)
		h.loads[n] = one
	}
	for n := range h.loads {
		if host, ok := h.core.view.Host(n); !ok || !host.State.Up() {
			delete(h.loads, n)
		}
	}
}
