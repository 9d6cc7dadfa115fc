package place

import (
	"math"
	"slices"
	"time"

	"github.com/onehost/onehost/names"
)

// late is the share of its estimate that a job has left once it has used all of it: estimates are wrong both ways, and one that takes
// longer than thought must not pass for done.
const late = 0.25

// work is what the home knows of the jobs it sent to a host.
type work struct {
	jobs []running
	last uint64    // number of the last job
	at   time.Time // up to when the jobs are reckoned
}

// running is one job.
type running struct {
	id   uint64
	cost float64 // CPU seconds, as estimated
	left float64 // of it
}

// Ticket is a slot that was taken, to be given back by Done, Lost or Cancel.
type Ticket struct {
	Host names.Host
	id   uint64
}

func (w *work) begin(cost float64) uint64 {
	w.last++
	w.jobs = append(w.jobs, running{id: w.last, cost: cost, left: cost})
	return w.last
}

func (w *work) end(id uint64) bool {
	i := slices.IndexFunc(w.jobs, func(j running) bool { return j.id == id })
	if i < 0 {
		return false
	}
	w.jobs = slices.Delete(w.jobs, i, i+1)
	return true
}

// advance reckons what the jobs have done since the last time, on cpus that they share evenly with others, one CPU at most each.
func (w *work) advance(now time.Time, cpus float64, others int) {
	dt := now.Sub(w.at).Seconds()
	first := w.at.IsZero()
	w.at = now
	if first || !(dt > 0) || len(w.jobs) == 0 {
		return
	}
	done := dt * math.Min(1, cpus/float64(len(w.jobs)+others))
	for i := range w.jobs {
		j := &w.jobs[i]
		j.left = math.Max(j.left-done, j.cost*late)
	}
}

// ends is how many seconds pass until a new job of that cost would have ended here: the CPUs are shared evenly, one CPU at most for
// each job, so that of a longer job only as much comes in between as the new one gets itself. Jobs of others are taken to be
// like the new one.
func (w *work) ends(cost, cpus float64, others int) float64 {
	if !(cpus > 0) {
		return 0
	}
	left := make([]float64, 0, len(w.jobs))
	for _, j := range w.jobs {
		left = append(left, math.Min(j.left, cost))
	}
	slices.Sort(left)
	n := len(left) + others + 1
	each, seconds := 0.0, 0.0 // what each has got so far, and when
	for _, l := range append(left, cost) {
		seconds += (l - each) / math.Min(1, cpus/float64(n))
		each = l
		n--
	}
	return seconds
}
