package place

import (
	"math"
	"time"
)

// LoadWindow is the time over which load is smoothed: the weight of what was falls by e in it.
const LoadWindow = time.Second

// Meter makes a host's load out of its cumulative CPU time.
type Meter struct {
	cpus  float64
	last  time.Time
	usage time.Duration
	load  float64
}

// NewMeter measures a host that may use that many CPUs.
func NewMeter(cpus float64) *Meter { return &Meter{cpus: cpus} }

// Sample takes the CPU time used up to now and gives the load: CPUs in use over CPUs that may be used. The first sample
// only sets the start and gives 0. A clock or a counter that went backwards starts anew and leaves the load as it was.
func (m *Meter) Sample(now time.Time, usage time.Duration) float64 {
	dt, used := now.Sub(m.last), usage-m.usage
	first := m.last.IsZero()
	if dt == 0 && !first {
		return m.load // nothing to divide by; the usage is counted next time
	}
	m.last, m.usage = now, usage
	if first || dt < 0 || used < 0 || !(m.cpus > 0) {
		return m.load
	}
	rate := used.Seconds() / dt.Seconds() / m.cpus
	m.load += (rate - m.load) * (1 - decay(dt))
	return m.load
}

// Load is what the last Sample gave.
func (m *Meter) Load() float64 { return m.load }

// decay is the weight left after dt to what was.
func decay(dt time.Duration) float64 { return math.Exp(-dt.Seconds() / LoadWindow.Seconds()) }
