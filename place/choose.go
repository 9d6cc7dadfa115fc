package place

import (
	"cmp"
	"math"
	"slices"

	"github.com/onehost/onehost/names"
)

// Reasons why a job runs at home although it could go.
const (
	ReasonIdle   = "home idle" // nothing else runs: sending would only cost time
	ReasonSlot   = "home slot" // home's turn: it has a slot free and is no busier than the others
	ReasonNoSlot = "no slot"   // every slot of every host is taken, and home is the least occupied
	ReasonNoHost = "no host"   // no other host is alive and allowed
)

// Host is one row of the load table.
type Host struct {
	Number  names.Host
	Name    names.HostName
	Slots   int     // jobs it takes at a time
	Running int     // jobs of this home that run there now
	Jobs    int     // jobs of all homes, Running among them
	Load    float64 // CPUs in use over CPUs it may use
	CPUs    float64 // CPUs it may use
	Ends    float64 // seconds until the job asked for would have ended there, as far as this home knows
	Foreign float64 // the part of Load that its jobs do not explain, once that is more than passing; else 0
	Lasting float64 // Foreign, once that has lasted
	Warm    float64 // 0..1: how much of what this home's jobs need is cached there
	Local   bool    // it is the home
	Alive   bool
	Drained bool // takes no new jobs
	Backoff bool // a job was lost on the way there a moment ago: only if there is nowhere else
}

// Request asks for a place for one job.
type Request struct {
	Command   string
	Hosts     []names.Host // only these, and home when none of them can; empty means all
	Avoid     []names.Host // never these: they lost this very job
	NoLocal   bool         // never home
	HomeSlots int          // slots that home has for jobs; negative: as HomeSlots says
	Cost      float64      // CPU seconds that the job is expected to use; 0: not known
	Moves     int64        // bytes that another host has to fetch for it, as far as known

	usual bool // HomeSlots is what the table gives by itself, nobody asked for it
}

// Decision is where a job goes. Every decision for home has a Reason.
type Decision struct {
	Host    names.Host     // the host's number, home's as well
	Name    names.HostName // its name
	Local   bool           // it is the home
	Reason  string         // why home, or "no slot" when the host had none left
	Refused bool           // no host may take the job: home is forbidden and no other can
}

// Choose picks the host on which the job is likely to end first, and of hosts that are much alike in this the least
// occupied. It is a pure function: the order of hosts does not matter. With equal occupancy the warmer host is taken, then the one less loaded, then one that is not home, then the lowest number.
func Choose(hosts []Host, r Request) Decision {
	var home *Host
	var best, spare *Host // spare: the best of those to be used only if there is nowhere else
	total := 0
	for i := range hosts {
		h := &hosts[i]
		total += h.Running
		if h.Local {
			home = h
			continue
		}
		if !h.Alive || h.Drained || h.Slots < 1 || slices.Contains(r.Avoid, h.Number) || !allowed(h.Number, r.Hosts) {
			continue
		}
		if h.Backoff {
			if spare == nil || less(h, spare) {
				spare = h
			}
		} else if best == nil || less(h, best) {
			best = h
		}
	}
	if home == nil {
		home = &Host{Local: true} // a table without home: it is still there
	}
	if r.NoLocal || slices.Contains(r.Avoid, home.Number) {
		if best == nil {
			best = spare
		}
		if best == nil {
			return Decision{Reason: ReasonNoHost, Refused: true}
		}
		return remote(best)
	}
	if best == nil {
		return local(home, ReasonNoHost)
	}
	slots, usual := r.HomeSlots, r.usual
	if slots < 0 {
		slots, usual = HomeSlots(home.Slots, home.Foreign, -1), true
	}
	// A job that is the only one is likely one that its make waits for, as $(shell): whatever made home busy a moment ago, make
	// itself most of all, stands still meanwhile. Only others' work that goes on is a reason to send it.
	lone := total == 0 && home.Lasting == 0
	if slots == 0 && !(usual && lone) || !allowed(home.Number, r.Hosts) {
		return remote(best)
	}
	if lone {
		return local(home, ReasonIdle)
	}
	atHome := *home
	atHome.Slots, atHome.Foreign = slots, 0 // its own work has already been taken off its slots
	full := atHome.busy() >= float64(slots)
	if full && best.busy() < float64(best.Slots) || !less(&atHome, best) {
		return remote(best)
	}
	if full {
		return local(home, ReasonNoSlot)
	}
	return local(home, ReasonSlot)
}

func local(h *Host, reason string) Decision {
	return Decision{Host: h.Number, Name: h.Name, Local: true, Reason: reason}
}

func remote(h *Host) Decision {
	d := Decision{Host: h.Number, Name: h.Name}
	if h.busy() >= float64(h.Slots) {
		d.Reason = ReasonNoSlot
	}
	return d
}

// busy is what keeps the host's slots: jobs, and foreign load as if it were jobs.
func (h *Host) busy() float64 {
	return float64(max(h.Running, h.Jobs)) + h.Foreign*float64(h.Slots)
}

// occupancy is how full the host would be with one job more: 1 is all slots taken.
func (h *Host) occupancy() float64 { return (h.busy() + 1) / float64(h.Slots) }

// turn orders hosts by when the job would end, in steps of a tenth: estimates are not good enough for less.
func (h *Host) turn() float64 {
	if !(h.Ends > 0) {
		return math.Inf(-1)
	}
	return math.Floor(10 * math.Log(h.Ends))
}

// less reports whether a is the better host for the next job.
func less(a, b *Host) bool {
	if c := cmp.Compare(a.turn(), b.turn()); c != 0 {
		return c < 0
	}
	if c := cmp.Compare(a.occupancy(), b.occupancy()); c != 0 {
		return c < 0
	}
	if a.Local != b.Local {
		return b.Local
	}
	if c := cmp.Compare(a.Warm, b.Warm); c != 0 {
		return c > 0
	}
	if c := cmp.Compare(a.Load, b.Load); c != 0 {
		return c < 0
	}
	return a.Number < b.Number
}

func allowed(n names.Host, only []names.Host) bool {
	return len(only) == 0 || slices.Contains(only, n)
}
