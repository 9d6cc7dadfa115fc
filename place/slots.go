package place

import "math"

// DefaultSlots is how many jobs at a time a host of that many CPUs takes unless told otherwise: its CPUs, rounded up, and one
// more for every 4 of them, so that a job that waits for its files leaves no CPU idle. A host of 0.45 CPU has 2, of 4
// CPUs 5, of 8 CPUs 10.
func DefaultSlots(cpus float64) int {
	if !(cpus > 0) || math.IsInf(cpus, 1) {
		return 1
	}
	n := int(math.Ceil(math.Min(cpus, maxSlots/2)))
	return n + (n+3)/4
}

// HomeSlots is how many of its slots a home keeps for jobs of its own: half, at least one. With own, the share of its CPUs that
// make, shells and serving the others take, they get fewer from 0.5 on, and none from 0.9 on; once there were
// none, own must fall below 0.6 before there are again. previous is the answer before, -1 the first time.
func HomeSlots(slots int, own float64, previous int) int {
	const closed, opens, full = 0.9, 0.6, 0.5
	if slots < 1 || own >= closed || previous == 0 && own >= opens {
		return 0
	}
	n := float64(slots) / 2
	if own > full {
		n *= (closed - own) / (closed - full)
	}
	return max(1, int(n))
}
