package place

import (
	"testing"
	"time"

	"github.com/onehost/onehost/names"
)

var start = time.Unix(1000, 0)

// four is a table of home 1 and three more equal hosts, all idle.
func four() *Table {
	t := NewTable(1)
	for n := names.Host(1); n <= 4; n++ {
		t.Set(n, names.HostName("h"+n.String()), true, false)
		t.Report(start, n, Report{Slots: 2, CPUs: 0.45})
	}
	return t
}

func auto() Request { return Request{HomeSlots: -1} }

// take is Take without the ticket.
func take(t *Table, req Request) Decision {
	d, _ := t.Take(start, req)
	return d
}

func TestTableStripes(t *testing.T) {
	tab := four()
	got := map[names.Host]int{}
	var tickets []Ticket
	for range 8 {
		d, k := tab.Take(start, auto())
		got[d.Host]++
		tickets = append(tickets, k)
	}
	if got[1] != 2 || got[2] != 2 || got[3] != 2 || got[4] != 2 {
		t.Errorf("8 equal jobs went to %v; want 2 to each", got)
	}
	for _, k := range tickets {
		tab.Done(k)
	}
	if d := take(tab, auto()); d.Reason != ReasonIdle {
		t.Errorf("after all are done: %+v; want %q", d, ReasonIdle)
	}
}

func TestTableUnreported(t *testing.T) {
	tab := NewTable(1)
	tab.Set(1, "h1", true, false)
	tab.Set(2, "h2", true, false)
	if d := take(tab, auto()); !d.Local || d.Reason != ReasonNoHost {
		t.Errorf("a host that never reported got a job: %+v", d)
	}
	tab.Report(start, 9, Report{Slots: 4, CPUs: 4}) // never Set
	tab.Done(Ticket{Host: 9})
	tab.Lost(start, Ticket{Host: 9})
	if len(tab.Hosts(start)) != 2 {
		t.Errorf("a report made a host: %v", tab.Hosts(start))
	}
	tab.Remove(2)
	if len(tab.Hosts(start)) != 1 {
		t.Error("Remove left the host")
	}
}

func TestTableOthers(t *testing.T) {
	tab := four()
	tab.Take(start, auto()) // home
	d, k := tab.Take(start, auto())
	tab.Report(start, d.Host, Report{Slots: 2, Jobs: 3, CPUs: 0.45}) // ours and two of another home
	if h := tab.Hosts(start)[d.Host-1]; h.Jobs != 3 || h.Running != 1 {
		t.Fatalf("got %+v", h)
	}
	tab.Done(k)
	if h := tab.Hosts(start)[d.Host-1]; h.Jobs != 2 || h.Running != 0 {
		t.Errorf("after our job: got %+v", h)
	}
}

// A report made while our jobs ran there, and heard after they ended, tells of nobody else's jobs.
func TestTableOldReport(t *testing.T) {
	tab := four()
	_, k := tab.Take(start, Request{NoLocal: true})
	tab.Take(start, Request{NoLocal: true})
	tab.Take(start, Request{NoLocal: true})
	if k.Host != 2 {
		t.Fatalf("the first job went to %d", k.Host)
	}
	tab.Done(k)
	tab.Report(start, 2, Report{Slots: 2, Jobs: 1, CPUs: 0.45})
	if h := tab.Hosts(start)[1]; h.Jobs != 0 {
		t.Errorf("our own job, done meanwhile, passes for another's: %+v", h)
	}
	tab.Report(start, 2, Report{Slots: 2, Jobs: 1, CPUs: 0.45})
	if h := tab.Hosts(start)[1]; h.Jobs != 1 {
		t.Errorf("another's job is not seen: %+v", h)
	}
}

func TestTableBackoff(t *testing.T) {
	tab := four()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	backoff := func(ms int) bool { return tab.Hosts(at(ms))[1].Backoff }
	for range 5 { // one crash
		tab.Lost(start, Ticket{Host: 2})
	}
	if !backoff(0) || !backoff(249) || backoff(251) {
		t.Error("the first backoff is not a quarter of a second")
	}
	tab.Lost(at(300), Ticket{Host: 2})
	if !backoff(799) || backoff(801) {
		t.Error("the second backoff is not half a second")
	}
	for ms := 10_000; ms < 100_000; ms += 10_000 {
		tab.Lost(at(ms), Ticket{Host: 2})
	}
	if !backoff(93_999) || backoff(94_001) {
		t.Error("the last backoff is not four seconds")
	}
	tab.Lost(at(100_000), Ticket{Host: 2})
	tab.Done(Ticket{Host: 2})
	if backoff(100_001) {
		t.Error("a job that ran does not end the backoff")
	}
	tab.Lost(at(200_000), Ticket{Host: 2})
	if !backoff(200_249) || backoff(200_251) {
		t.Error("after a success the backoff does not start small again")
	}
	tab.Set(2, "h2", false, false)
	tab.Lost(at(300_000), Ticket{Host: 2})
	tab.Set(2, "h2", true, false)
	if backoff(300_001) {
		t.Error("a host that came back is still avoided")
	}
}

// A host whose own jobs just ended still has a high smoothed load; it must not pass for somebody else's.
func TestForeignLoad(t *testing.T) {
	tab, meter := four(), NewMeter(0.45)
	_, k := tab.Take(start, Request{NoLocal: true}) // host 2
	usage, now := time.Duration(0), start
	step := func(cpu float64, jobs int) Host {
		now = now.Add(100 * time.Millisecond)
		usage += time.Duration(cpu * 0.45 * 1e8)
		tab.Report(now, 2, Report{Slots: 2, Jobs: jobs, Load: meter.Sample(now, usage), CPUs: 0.45})
		return tab.Hosts(now)[1]
	}
	for range 30 {
		if h := step(1, 1); h.Foreign != 0 {
			t.Fatalf("our own job passes for foreign: %+v", h)
		}
	}
	tab.Done(k)
	for range 30 {
		if h := step(0, 0); h.Foreign != 0 {
			t.Fatalf("what is left of our own job's load passes for foreign: %+v", h)
		}
	}
	seen, lasting := -1, -1
	for i := range 130 {
		h := step(1, 0)
		if h.Foreign > 0 && seen < 0 {
			seen = i
		}
		if h.Lasting > 0 && lasting < 0 {
			lasting = i
		}
	}
	if lasting-seen < 99 || lasting-seen > 101 {
		t.Errorf("foreign load seen after %d steps was lasting after %d; want 10 s later", seen, lasting)
	}
	if seen < 0 || seen > 12 {
		t.Errorf("foreign load was seen after %d steps; want within about a second", seen)
	}
	for i := 0; step(0.3, 0).Foreign > 0; i++ { // falls towards 0.3: still within the hysteresis
		if i == 10 {
			break
		}
	}
	if tab.Hosts(now)[1].Foreign == 0 {
		t.Error("no hysteresis: foreign load ended above its lower bound")
	}
	for range 30 {
		step(0, 0)
	}
	if f := tab.Hosts(now)[1].Foreign; f != 0 {
		t.Errorf("foreign load of %v never ended", f)
	}
}

func TestHomeServing(t *testing.T) {
	tab := four()
	report := func() { tab.Report(start, 1, Report{Slots: 2, CPUs: 0.45, Load: 1}) }
	_, k := tab.Take(start, auto())
	report()
	if tab.HomeSlots() != 1 {
		t.Errorf("a home busy with its job has %d slots; want 1", tab.HomeSlots())
	}
	tab.Own(0.95)
	report()
	tab.Done(k)
	if tab.HomeSlots() != 0 {
		t.Errorf("a home busy serving has %d slots; want 0", tab.HomeSlots())
	}
	if d := take(tab, auto()); !d.Local {
		t.Errorf("a home that was busy serving sent the only job away: %+v", d)
	}
	take(tab, Request{NoLocal: true})
	if d := take(tab, auto()); d.Local {
		t.Errorf("a home busy serving took a job beside another: %+v", d)
	}
}

// What kept home busy before a session is no reason to send its first job away; what still does ten seconds later is.
func TestBegin(t *testing.T) {
	tab, now := four(), start
	busy := func(d time.Duration) {
		for end := now.Add(d); now.Before(end); now = now.Add(100 * time.Millisecond) {
			tab.Report(now, 1, Report{Slots: 2, CPUs: 0.45, Load: 1})
		}
	}
	lone := func() Decision {
		d, k := tab.Take(now, auto())
		tab.Cancel(k)
		return d
	}
	busy(30 * time.Second)
	if d := lone(); d.Local {
		t.Errorf("others have kept home busy for 30 s and it took a job: %+v", d)
	}
	tab.Begin(now)
	if d := lone(); !d.Local {
		t.Errorf("the first job of a session went because home had been busy before: %+v", d)
	}
	busy(lasts + 3*time.Second)
	if d := lone(); d.Local {
		t.Errorf("others have kept home busy for %v of the session and it took a job: %+v", lasts+3*time.Second, d)
	}
}
