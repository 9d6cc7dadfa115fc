package soak

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/onehost/onehost/names"
)

// maxAgents is how many agents of a session live at a time.
const maxAgents = 10

// driver has the agents of a session do things.
type driver struct {
	*session
	ctx context.Context //nolint:containedctx // of one round
	rng *rand.Rand
}

// deed is something that an agent is made to do. Whoever calls it holds the agent's cmd.
type deed struct {
	name   string
	weight int
	do     func(d *driver, a *agent)
}

var deeds = []deed{
	{"spawn", 14, (*driver).spawn},
	{"queue", 20, (*driver).queue},
	{"kill", 16, (*driver).kill},
	{"ask", 8, (*driver).askSignal},
	{"end", 14, (*driver).endChild},
	{"reap", 8, (*driver).reapAny},
	{"stop", 4, (*driver).stop},
	{"group", 5, (*driver).killGroup},
	{"regroup", 4, (*driver).regroup},
	{"ids", 6, (*driver).ids},
	{"pipe", 3, (*driver).pipe},
	{"where", 8, (*driver).where},
	{"ps", 2, (*driver).ps},
	{"command", 3, (*driver).command},
}

// drive does one thing after the other until the round or the session ends.
func (d *driver) drive() {
	total := 0
	for _, k := range deeds {
		total += k.weight
	}
	for d.ctx.Err() == nil {
		if d.root.dying() {
			return
		}
		a := d.pick(func(a *agent) bool { return a.session == d.session })
		if a == nil || !a.cmd.TryLock() {
			pause(d.ctx, 5*time.Millisecond)
			continue
		}
		n := d.rng.IntN(total)
		for _, k := range deeds {
			if n -= k.weight; n < 0 {
				k.do(d, a)
				d.book.count(k.name)
				break
			}
		}
		a.cmd.Unlock()
	}
}

func pause(ctx context.Context, t time.Duration) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// late says whether the driver's time is over, or so nearly that what it asked for may have failed for that.
func (d *driver) late() bool {
	end, ok := d.ctx.Deadline()
	return d.ctx.Err() != nil || ok && time.Until(end) < margin
}

// pick takes one of the living agents.
func (d *driver) pick(want func(*agent) bool) *agent {
	all := d.book.living(want)
	if len(all) == 0 {
		return nil
	}
	return all[d.rng.IntN(len(all))]
}

// target takes an agent that a may do something to, and the number that a knows it by.
func (d *driver) target(a *agent) (*agent, int) {
	to := d.pick(func(o *agent) bool {
		if a.native {
			return o.session == a.session
		}
		return true
	})
	if d.rng.IntN(3) > 0 {
		to = d.pick(func(o *agent) bool { return o.session == a.session })
	}
	if to == nil {
		return nil, 0
	}
	return to, d.number(a, to)
}

// may says whether one agent may send to another.
func (a *agent) may(to *agent) bool {
	return a.session.user == "root" || a.session.user == to.session.user
}

// number is what a may call another agent.
func (d *driver) number(a, to *agent) int {
	if a.home == to.home && (a.native || d.rng.IntN(3) > 0) {
		return to.pid
	}
	return int(d.full(to))
}

// full is an agent's number in the cluster.
func (r *rig) full(a *agent) names.Pid { return names.MakePid(r.numbers[a.home], a.pid) }

// tell has an agent do something. An error is told as a finding, unless a fault or the agent's end explains it.
func (d *driver) tell(a *agent, limit time.Duration, format string, args ...any) ([]int, error) {
	return d.tellWhile(a, limit, func() {}, format, args...)
}

// tellWhile is tell, with something to do every second that there is no answer.
func (d *driver) tellWhile(a *agent, limit time.Duration, silent func(), format string, args ...any) ([]int, error) {
	began := d.book.now()
	d.book.note(a, "< "+format, args...)
	c, err := a.say(format, args...)
	for err == nil {
		var r []int
		if r, err = a.hear(d.ctx, c, min(limit, time.Second)); err == nil {
			d.book.note(a, "> %v", r)
			return r, nil
		}
		if limit -= time.Second; err == errSilent && limit > 0 {
			silent()
			err = nil
		}
	}
	d.book.note(a, "> %v", err)
	if err == errSilent && !a.dying() && !d.ending(d.book.now()) && !d.book.excused(a, began) {
		d.book.finding(a, "%s does not do what it is told: "+format, append([]any{a}, args...)...)
	}
	return nil, err
}

// upTo is a duration below the limit.
func upTo(rng *rand.Rand, limit time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(limit)))
}
