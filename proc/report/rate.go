package report

import "time"

// rateWindow is the time, in seconds, over which the rate is taken.
const rateWindow = 5

// rate counts events over the last seconds; times are since the start of the run.
type rate struct {
	counts [rateWindow + 1]int // one for each second, the running one among them
	second int
}

func (r *rate) add(at time.Duration) {
	r.turn(at)
	r.counts[r.second%len(r.counts)]++
}

// at gives events a second.
func (r *rate) at(at time.Duration) float64 {
	r.turn(at)
	n := 0
	for _, c := range r.counts {
		n += c
	}
	span := min(at.Seconds(), rateWindow+at.Seconds()-float64(r.second))
	if span <= 0 {
		return 0
	}
	return float64(n) / span
}

// turn empties the seconds gone by.
func (r *rate) turn(at time.Duration) {
	now := int(at.Seconds())
	for i := r.second + 1; i <= now && i <= r.second+len(r.counts); i++ {
		r.counts[i%len(r.counts)] = 0
	}
	r.second = max(r.second, now)
}
