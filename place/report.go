package place

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Report is what a host says of itself in each heartbeat.
type Report struct {
	Slots int     // jobs it takes at a time
	Jobs  int     // jobs that run there now, of every home
	Load  float64 // CPUs in use over CPUs it may use, smoothed over LoadWindow
	CPUs  float64 // CPUs it may use
}

const (
	reportVersion = 1
	reportSize    = 1 + 2 + 2 + 4 + 4
	maxSlots      = math.MaxUint16
)

// MarshalBinary gives 13 bytes: a version, then slots and jobs as 16 bits and load and CPUs as 32-bit floats, big endian. Numbers
// that do not fit are cut to the largest that do; it never fails.
func (r Report) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, reportSize)
	b = append(b, reportVersion)
	b = binary.BigEndian.AppendUint16(b, uint16(min(max(r.Slots, 0), maxSlots)))
	b = binary.BigEndian.AppendUint16(b, uint16(min(max(r.Jobs, 0), maxSlots)))
	b = binary.BigEndian.AppendUint32(b, math.Float32bits(finite(r.Load)))
	b = binary.BigEndian.AppendUint32(b, math.Float32bits(finite(r.CPUs)))
	return b, nil
}

// UnmarshalBinary reads what MarshalBinary wrote. A later version only ever appends fields, so what follows is left alone.
func (r *Report) UnmarshalBinary(b []byte) error {
	if len(b) < reportSize {
		return fmt.Errorf("load report of %d bytes: want at least %d", len(b), reportSize)
	}
	if b[0] < reportVersion {
		return fmt.Errorf("load report of version %d: want %d or later", b[0], reportVersion)
	}
	load := math.Float32frombits(binary.BigEndian.Uint32(b[5:]))
	cpus := math.Float32frombits(binary.BigEndian.Uint32(b[9:]))
	if load != finite(float64(load)) || cpus != finite(float64(cpus)) {
		return fmt.Errorf("load report with load %v and %v CPUs: want finite numbers from 0 up", load, cpus)
	}
	*r = Report{
		Slots: int(binary.BigEndian.Uint16(b[1:])),
		Jobs:  int(binary.BigEndian.Uint16(b[3:])),
		Load:  float64(load),
		CPUs:  float64(cpus),
	}
	return nil
}

// finite gives f as a number from 0 to the largest that a float32 holds.
func finite(f float64) float32 {
	if !(f > 0) {
		return 0
	}
	return float32(math.Min(f, math.MaxFloat32))
}
