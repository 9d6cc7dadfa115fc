package place

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/onehost/onehost/names"
)

// A cluster of 4 equal hosts of 0.45 CPU builds 150 files, of which the sizes say a good part but not all of what they cost, and the
// two largest come last. The placement must come close to one that knows beforehand how long each job takes, and on average close
// to all CPUs being busy from the first moment until the longest of the last jobs can have ended.
func TestSimulatedBuild(t *testing.T) {
	const cpus, jobs, parallel, seeds = 0.45, 150, 8, 10
	for _, tt := range []struct {
		name       string
		last       float64 // CPU seconds of the two last
		best, mean float64 // how close, against the clairvoyant one and against the bound
	}{
		{"even", 0, 1.05, 1.06},
		{"two long ones at the end", 4, 1.10, 1.16},
	} {
		mean := 0.0
		for seed := range uint64(seeds) {
			rng := rand.New(rand.NewPCG(seed, 7))
			files := make([]file, jobs)
			total := 0.0
			for i := range files {
				seconds := 0.1 + rng.ExpFloat64()*0.25 // most short and some long, as a C project has
				if i >= jobs-2 && tt.last > 0 {
					seconds = tt.last
				}
				files[i] = file{seconds, int64(seconds * 1e5 * (0.6 + 0.8*rng.Float64()))}
				total += seconds
			}
			bound := total / (4 * cpus)
			got := simulate(files, parallel, cpus, nil)
			best := simulate(files, parallel, cpus, leastWork)
			t.Logf("%s, seed %d: %.1f s, clairvoyant %.1f s, bound %.1f s", tt.name, seed, got, best, bound)
			if got > best*tt.best {
				t.Errorf("%s, seed %d: %.1f s is more than %.2f times %.1f s", tt.name, seed, got, tt.best, best)
			}
			mean += got / bound / seeds
		}
		t.Logf("%s: %.3f times the bound", tt.name, mean)
		if mean > tt.mean {
			t.Errorf("%s: on average %.3f times the bound; want at most %.2f", tt.name, mean, tt.mean)
		}
	}
}

// file is a job of a simulated build.
type file struct {
	seconds float64
	bytes   int64
}

// leastWork is the clairvoyant placement: the host with the least work left.
func leastWork(left map[names.Host][]simulated) names.Host {
	best, least := names.Host(0), 0.0
	for n := names.Host(1); n <= 4; n++ {
		sum := 0.0
		for _, w := range left[n] {
			sum += w.left
		}
		if best == 0 || sum < least {
			best, least = n, sum
		}
	}
	return best
}

// simulated is a job that runs.
type simulated struct {
	file
	left   float64
	ticket Ticket
}

// simulate runs the jobs, at most parallel at a time, on hosts that share their CPUs evenly, and gives the time taken. Each
// host reports ten times a second. Without choose a Table places the jobs.
func simulate(files []file, parallel int, cpus float64, choose func(map[names.Host][]simulated) names.Host) float64 {
	const tick = 0.005
	tab, costs := four(), NewCosts()
	left := map[names.Host][]simulated{}
	var meters [5]*Meter
	var usage [5]float64
	for n := range meters {
		meters[n] = NewMeter(cpus)
	}
	running, next := 0, 0
	for step := 0; ; step++ {
		now := start.Add(time.Duration(float64(step) * tick * 1e9))
		for running < parallel && next < len(files) {
			f := files[next]
			s := simulated{file: f, left: f.seconds}
			var n names.Host
			if choose != nil {
				n = choose(left)
			} else {
				req := auto()
				req.HomeSlots = 2
				req.Cost = costs.Estimate(Work{"cc", f.bytes})
				_, s.ticket = tab.Take(now, req)
				n = s.ticket.Host
			}
			left[n] = append(left[n], s)
			next++
			running++
		}
		if running == 0 {
			return float64(step) * tick
		}
		for n := names.Host(1); n <= 4; n++ {
			share := cpus * tick / float64(max(1, len(left[n])))
			var still []simulated
			for _, s := range left[n] {
				usage[n] += share
				if s.left -= share; s.left > 0 {
					still = append(still, s)
				} else {
					tab.Done(s.ticket)
					costs.Learn(Work{"cc", s.bytes}, s.seconds)
					running--
				}
			}
			left[n] = still
			if step%20 == 19 {
				load := meters[n].Sample(now, time.Duration(usage[n]*1e9))
				tab.Report(now, n, Report{Slots: 2, Jobs: len(still), Load: load, CPUs: cpus})
			}
		}
	}
}
