package place

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/onehost/onehost/names"
)

// Bounds of the wait before a host is used again to which the way, not a command, failed: the first, and what doubling ends at.
const (
	firstBackoff = 250 * time.Millisecond
	lastBackoff  = 4 * time.Second
)

// Foreign load counts once it exceeds the first of these, until it falls below the second.
const (
	foreignStarts = 0.5
	foreignEnds   = 0.25
)

// lasts is how long foreign load must have been there to count as lasting.
const lasts = 10 * time.Second

// Table is a home's load table: what the hosts report, and what the home itself sent them. It keeps what Choose needs to
// remember between two choices.
type Table struct {
	rows      map[names.Host]*row
	home      names.Host
	own       float64 // share of home's CPUs that its daemon says it serves with
	homeSlots int     // the last answer of HomeSlots, -1 before the first report
}

type row struct {
	Host
	work
	others int       // jobs of other homes, at the last report
	high   int       // the most jobs of this home since the report before
	peak   float64   // jobs, falling as the load they made falls in the host's meter
	at     time.Time // of the last report
	since  time.Time // Foreign is not 0
	fails  int       // in a row
	until  time.Time // of the backoff
}

// NewTable makes the table of one home.
func NewTable(home names.Host) *Table {
	return &Table{rows: map[names.Host]*row{}, home: home, homeSlots: -1}
}

// Set enters a host, or a change of its state: alive and drained as the registry and its heartbeats have it. It takes jobs after
// its first Report.
func (t *Table) Set(n names.Host, name names.HostName, alive, drained bool) {
	r := t.rows[n]
	if r == nil {
		r = &row{Host: Host{Number: n, Local: n == t.home}}
		t.rows[n] = r
	}
	if alive && !r.Alive {
		r.fails, r.until = 0, time.Time{} // a new life
	}
	r.Name, r.Alive, r.Drained = name, alive, drained
}

// Remove forgets a host.
func (t *Table) Remove(n names.Host) { delete(t.rows, n) }

// Report takes a host's heartbeat; of a host that was never Set it is ignored.
func (t *Table) Report(now time.Time, n names.Host, rep Report) {
	r := t.rows[n]
	if r == nil {
		return
	}
	r.Slots, r.Load, r.CPUs = rep.Slots, rep.Load, rep.CPUs
	// The report is a little old: jobs of ours that it counts may be done by now and must not pass for others'.
	r.others = max(0, rep.Jobs-r.high)
	r.high = r.Running
	r.Jobs = r.Running + r.others
	if !r.at.IsZero() && now.After(r.at) {
		r.peak *= decay(now.Sub(r.at))
	}
	r.at = now
	r.peak = math.Max(r.peak, float64(r.Jobs))
	raw := r.unexplained()
	if r.Local {
		raw = math.Max(raw, t.own)
		t.homeSlots = HomeSlots(r.Slots, raw, t.homeSlots)
	}
	if raw < foreignEnds || r.Foreign == 0 && raw < foreignStarts {
		r.Foreign, r.Lasting = 0, 0
		return
	}
	if r.Foreign == 0 {
		r.since = now
	}
	if r.Foreign = raw; now.Sub(r.since) >= lasts {
		r.Lasting = raw
	}
}

// unexplained is the load beyond what the host's jobs can have caused, each using one CPU at most; 0..1.
func (r *row) unexplained() float64 {
	if !(r.CPUs > 0) {
		return 0
	}
	explained := math.Min(1, r.peak/r.CPUs)
	return math.Min(1, math.Max(0, r.Load-explained))
}

// Begin says that a session begins while there is no other. What kept home busy until now was likely the work that led to it, unpacking or
// compiling; so foreign load has to last from here on.
func (t *Table) Begin(now time.Time) {
	if r := t.rows[t.home]; r != nil {
		r.since, r.Lasting = now, 0
	}
}

// Own says which share, 0..1, of the home's CPUs its daemon uses itself, to serve the others. The load alone cannot tell that
// while jobs run at home. It counts from the next Report of the home on.
func (t *Table) Own(share float64) { t.own = math.Min(1, math.Max(0, share)) }

// Warm says how much, 0..1, of what this home's jobs need is cached at a host.
func (t *Table) Warm(n names.Host, share float64) {
	if r := t.rows[n]; r != nil {
		r.Host.Warm = share
	}
}

// Take chooses a host and takes a slot of it, which Done, Lost or Cancel gives back.
func (t *Table) Take(now time.Time, req Request) (Decision, Ticket) {
	if req.HomeSlots < 0 {
		req.HomeSlots, req.usual = t.homeSlots, true
	}
	if !(req.Cost > 0) {
		req.Cost = baseCost
	}
	d := Choose(t.hosts(now, req.Cost, req.Moves), req)
	ticket := Ticket{Host: d.Host}
	if r := t.rows[d.Host]; r != nil && !d.Refused {
		r.Running++
		r.Jobs++
		r.high = max(r.high, r.Running)
		r.peak = math.Max(r.peak, float64(r.Jobs))
		ticket.id = r.begin(req.Cost)
	}
	return d, ticket
}

// Done gives back the slot of a job that ran to its end, whatever its status: the way to the host works.
func (t *Table) Done(k Ticket) {
	if r := t.rows[k.Host]; r != nil {
		r.give(k)
		r.fails, r.until = 0, time.Time{}
	}
}

// Cancel gives back the slot of a job that was never sent.
func (t *Table) Cancel(k Ticket) {
	if r := t.rows[k.Host]; r != nil {
		r.give(k)
	}
}

// Lost gives back the slot of a job that the host or the way to it failed, not the command itself. The host is used only for
// want of another for a quarter of a second, doubled by each further loss up to four seconds, until a job is Done.
func (t *Table) Lost(now time.Time, k Ticket) {
	r := t.rows[k.Host]
	if r == nil {
		return
	}
	r.give(k)
	if now.Before(r.until) {
		return // one crash loses many jobs at once: it is one failure
	}
	wait := lastBackoff
	if r.fails < 4 {
		wait = firstBackoff << r.fails
	}
	r.fails++
	r.until = now.Add(wait)
}

// give takes the job out of the row, if it is still in it: a row is new after its host was forgotten.
func (r *row) give(k Ticket) {
	if r.end(k.id) {
		r.Running--
		r.Jobs--
	}
}

// capacity is how many CPUs the jobs can have: what others use, and at home its own serving, is taken off.
func (t *Table) capacity(r *row) float64 {
	away := r.Foreign
	if r.Local {
		away = math.Max(away, t.own*serving)
	}
	return r.CPUs * math.Max(0.1, 1-away)
}

// sending is what it takes to send a job and hear of its end, in seconds, over what it takes at home.
const sending = 0.02

// fetching is how many bytes a second come from home, roughly, with what both ends have to do for them.
const fetching = 20e6

// serving is what serving the others costs a home over what its daemon uses: make, and the kernel's part.
const serving = 2

// Hosts gives the rows as they are at that time, by number.
func (t *Table) Hosts(now time.Time) []Host { return t.hosts(now, baseCost, 0) }

// hosts gives the rows as they are for a job of that cost, for which so many bytes must be fetched from home.
func (t *Table) hosts(now time.Time, cost float64, moves int64) []Host {
	hosts := make([]Host, 0, len(t.rows))
	for _, n := range slices.Sorted(maps.Keys(t.rows)) {
		r := t.rows[n]
		r.advance(now, t.capacity(r), r.others)
		h := r.Host
		if h.Ends = r.ends(cost, t.capacity(r), r.others); !h.Local && h.Ends > 0 {
			h.Ends += sending + float64(moves)/fetching
		}
		h.Backoff = now.Before(r.until)
		hosts = append(hosts, h)
	}
	return hosts
}

// HomeSlots is how many slots the home keeps for jobs now; -1 before its first report.
func (t *Table) HomeSlots() int { return t.homeSlots }
