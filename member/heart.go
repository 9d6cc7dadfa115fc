package member

import (
	"context"
	"sync"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
)

const methodBeat = "member.beat"

// heart drives Liveness: it beats, hears the beats of others, and acts on verdicts.
type heart struct {
	l *life

	mu       sync.Mutex
	core     *Liveness
	own      []byte              // the last payload of this host
	loads    map[names.Host]load // what arrived with watches, for hosts that do not beat to this one
	watched  names.Host          // the host a watch is under way at
	stop     context.CancelFunc  // ends that watch
	judging  map[Life]bool       // verdicts on their way to the registry
	couriers map[names.Host]*courier
}

type load struct {
	Data []byte    `json:"data"`
	At   time.Time `json:"-"`
	Age  int64     `json:"age"` // milliseconds
}

// courier sends the beats for one host, so that a slow one delays no other.
type courier struct {
	beats chan []byte // holds the latest only
}

func newHeart(l *life) *heart {
	return &heart{
		l: l, core: NewLiveness(l.id.Number), loads: map[names.Host]load{}, judging: map[Life]bool{}, couriers: map[names.Host]*courier{},
	}
}

// note passes on an event that asks for nothing to be sent.
func (h *heart) note(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.core.Step(time.Now(), e)
}

// hear is the note handler.
func (h *heart) hear(r *link.Request) {
	b, err := parseBeat(r.From.Number, r.Header)
	if err != nil || b.From.Incarnation != r.From.Incarnation {
		h.l.log.Debug("bad beat", "host", r.From.Number, "error", err)
		return
	}
	h.note(Heard{b})
}

func (h *heart) run() {
	t := time.NewTicker(beatEvery)
	defer t.Stop()
	defer h.dismiss(nil)
	for {
		h.beat()
		select {
		case <-t.C:
		case <-h.l.ctx.Done():
			return
		}
	}
}

func (h *heart) beat() {
	var payload []byte
	if f := h.l.m.cfg.Load; f != nil {
		if payload = f(); len(payload) > MaxLoad {
			h.l.log.Warn("the load payload is over the limit: not sent", "bytes", len(payload), "limit", MaxLoad)
			payload = nil
		}
	}
	h.mu.Lock()
	now := time.Now()
	m := h.core.Step(now, Tick{})
	h.own = payload
	if h.stop != nil && h.core.Silent(now, h.watched) {
		h.stop()
	}
	h.mu.Unlock()
	if m.Paused {
		h.l.log.Info("this host stood still for a while: it accuses nobody now")
	}
	b := encodeBeat(Beat{From: h.l.self(), Accused: m.Accused, Load: payload})
	for _, n := range h.dismiss(m.To) {
		select { // replace a beat that was not sent yet
		case <-n.beats:
		default:
		}
		n.beats <- b // only this goroutine sends, so there is room
	}
	for _, v := range m.Verdicts {
		h.judge(v, m.Verdicts)
	}
}

// dismiss keeps one courier for each of the hosts, and ends the others.
func (h *heart) dismiss(to []names.Host) []*courier {
	h.mu.Lock()
	defer h.mu.Unlock()
	keep := make(map[names.Host]*courier, len(to))
	list := make([]*courier, 0, len(to))
	for _, n := range to {
		c := h.couriers[n]
		if c == nil {
			c = &courier{beats: make(chan []byte, 1)}
			h.l.begin(func() { h.carry(n, c.beats) })
		}
		delete(h.couriers, n)
		keep[n] = c
		list = append(list, c)
	}
	for _, c := range h.couriers {
		close(c.beats)
	}
	h.couriers = keep
	return list
}

func (h *heart) carry(to names.Host, beats <-chan []byte) {
	for b := range beats {
		ctx, cancel := context.WithTimeout(h.l.ctx, deadline)
		c, err := h.l.pool.Get(ctx, to)
		cancel()
		if err == nil {
			err = c.Notify(methodBeat, b, nil)
		}
		if err != nil {
			h.l.log.Debug("no beat sent", "to", to, "error", err)
		}
	}
}

// judge acts on a verdict. The leader puts it to its quorum. If it is the leader that is dead, the first voter left stands
// for election at once.
func (h *heart) judge(v Life, all []Life) {
	q := h.l.getQuorum()
	if q == nil {
		return
	}
	if !q.leading() {
		if q.leader() == v.Host && h.firstVoterLeft(all) {
			q.campaign()
		}
		return
	}
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

func (h *heart) firstVoterLeft(dead []Life) bool {
	gone := map[names.Host]bool{}
	for _, d := range dead {
		gone[d.Host] = true
	}
	for _, host := range h.l.View().Up() {
		if host.Voter && !gone[host.Number] {
			return host.Number == h.l.id.Number
		}
	}
	return false
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
