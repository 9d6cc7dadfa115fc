package split

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/onehost/onehost/names"
)

// Quota is CPU time per time, in thousandths of a CPU.
type Quota int

// Bounds of a quota: the kernel's smallest is 1 ms of CPU in 1 s; far more CPUs than any machine has is a slip of the finger.
const (
	minQuota = 10         // 0.01 CPU
	maxQuota = 4096 * 1e3 // 4096 CPUs
)

// ParseQuota reads a number of CPUs, such as 0.45 or 2, to a thousandth.
func ParseQuota(s string) (Quota, error) {
	f, err := strconv.ParseFloat(s, 64)
	q := math.Round(f * 1000)
	if err != nil || math.IsNaN(f) || q < minQuota || q > maxQuota {
		return 0, fmt.Errorf("CPU quota %q: want a number of CPUs from 0.01 to 4096, such as 0.45", s)
	}
	return Quota(q), nil
}

// String gives the quota in CPUs, "0.45".
func (q Quota) String() string { return strconv.FormatFloat(float64(q)/1000, 'f', -1, 64) }

// bandwidth turns the quota into the kernel's terms. The period is 20 ms and not the kernel's 100: a host that has used its share
// waits for the rest of the period, and with 0.45 CPU that is 11 ms instead of 55. A slice under 1 ms is refused, so small quotas get a longer one.
func (q Quota) bandwidth() (quota, period time.Duration) {
	period = 20 * time.Millisecond
	if least := time.Microsecond * time.Duration(math.Ceil(1e6/float64(max(q, 1)))); period < least {
		period = min(least, time.Second)
	}
	return period * time.Duration(q) / 1000, period
}

// Rate is a network rate in bit/s.
type Rate uint64

var rateUnits = []struct {
	suffix string
	factor Rate
}{{"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {"bit", 1}} // "bit" last: the others end in it

// Bounds of a rate: a packet of 1500 bytes a second, and the most a veth is good for.
const (
	minRate = 12 * 1000
	maxRate = 400 * 1000 * 1000 * 1000
)

// ParseRate reads a rate as tc does: 100mbit, 1gbit, 512kbit.
func ParseRate(s string) (Rate, error) {
	bad := fmt.Errorf("rate %q: want a number with bit, kbit, mbit or gbit, from 12kbit to 400gbit, such as 100mbit", s)
	lower := strings.ToLower(s)
	for _, u := range rateUnits {
		num, ok := strings.CutSuffix(lower, u.suffix)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(num, 64)
		v := f * float64(u.factor)
		if err != nil || math.IsNaN(v) || v < minRate || v > maxRate {
			return 0, bad
		}
		return Rate(math.Round(v)), nil
	}
	return 0, bad
}

// String gives the rate as ParseRate reads it, "100mbit".
func (r Rate) String() string {
	for _, u := range []int{2, 1, 0} {
		if f := rateUnits[u].factor; r >= f && r%f == 0 {
			return strconv.FormatUint(uint64(r/f), 10) + rateUnits[u].suffix
		}
	}
	return strconv.FormatUint(uint64(r), 10) + "bit"
}

// Bind shows a directory (or file) of the machine at the same path in one host, or in all when Host is empty.
type Bind struct {
	Dir  string         `json:"dir"`
	Host names.HostName `json:"host,omitempty"`
}

// ParseBind reads DIR or DIR:HOST.
func ParseBind(s string) (Bind, error) {
	dir, host := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		dir, host = s[:i], s[i+1:]
	}
	if dir == "" || strings.ContainsRune(dir, 0) {
		return Bind{}, fmt.Errorf("bind %q: want DIR or DIR:HOST, such as /data or /data:h2", s)
	}
	if dir == s {
		return Bind{Dir: dir}, nil
	}
	name, err := names.ParseHostName(host)
	if err != nil {
		return Bind{}, fmt.Errorf("bind %q: want DIR or DIR:HOST, such as /data or /data:h2: %w", s, err)
	}
	return Bind{Dir: dir, Host: name}, nil
}
