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

// redisFiles are the sizes in kB of redis' C files in the order in which make comes to them: the second largest is the third from the end.
var redisFiles = []float64{
	10, 124, 23, 17, 46, 25, 51, 282, 9, 6, 5, 19, 7, 99, 174, 2, 42, 64, 169, 90, 138, 34, 42, 43, 149, 39, 143,
	102, 26, 17, 86, 23, 17, 5, 286, 4, 3, 8, 61, 12, 17, 3, 13, 13, 9, 6, 47, 213, 6, 8, 38, 58, 30, 6, 16, 18,
	38, 8, 527, 32, 30, 10, 11, 14, 46, 7, 75, 160, 87, 5, 7, 7, 8, 119, 27, 15, 36, 5, 7, 4, 5, 6, 8, 20, 61, 22,
	38, 18, 322, 347, 2, 12, 79,
}

// Redis' own order of files, at costs that its sizes tell roughly: the last long file must not wait for slots that long ones before it keep.
func TestSimulatedRedis(t *testing.T) {
	const cpus, parallel, seeds = 0.45, 8, 10
	total, mean := 0.0, 0.0
	for seed := range uint64(seeds) {
		rng := rand.New(rand.NewPCG(seed, 11))
		files := make([]file, len(redisFiles))
		total = 0
		for i, kb := range redisFiles {
			seconds := 0.22 + kb/100
			files[i] = file{seconds, int64(kb * 1e3 * (0.6 + 0.8*rng.Float64()))}
			total += seconds
		}
		mean += simulate(files, parallel, cpus, nil) / seeds
	}
	bound := total / (4 * cpus)
	t.Logf("%.2f s on average, bound %.2f s", mean, bound)
	if mean > bound*1.09 {
		t.Errorf("%.2f s on average; want at most 1.09 times %.2f s", mean, bound)
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
				req.Cost = costs.Estimate(Work{Kind: "cc", Bytes: f.bytes})
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
					costs.Learn(Work{Kind: "cc", Bytes: s.bytes}, s.seconds)
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
