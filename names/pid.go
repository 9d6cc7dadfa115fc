package names

import (
	"fmt"
	"strconv"
	"strings"
)

// Pid is a cluster pid: host number in the top 16 bits, the home's own pid in the bottom 16.
type Pid uint32

// Bounds of the bottom half of a pid.
const (
	MaxNative  = 32767 // what a home's kernel hands out itself: 1..MaxNative
	FirstLease = 32768 // what a home leases to the nests of its processes: FirstLease..MaxLease
	MaxLease   = 65535
)

// MakePid joins a host and that host's own pid; local must be in 0..65535.
func MakePid(h Host, local int) Pid { return Pid(uint32(h)<<16 | uint32(local)&0xffff) }

// Host gives the home of the pid; Here for a pid of this host.
func (p Pid) Host() Host { return Host(p >> 16) }

// Local gives the pid in its home's own name space.
func (p Pid) Local() int { return int(p & 0xffff) }

// String gives the number in decimal, as the system calls take it.
func (p Pid) String() string { return strconv.FormatUint(uint64(p), 10) }

// ParsePid reads a pid as a number ("262153") or as host:pid ("4:9" or "h4:9"). Host names are looked up with
// lookup, which may be nil when only numbers are accepted.
func ParsePid(s string, lookup func(HostName) (Host, error)) (Pid, error) {
	host, local, named := strings.Cut(s, ":")
	if !named {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil || Pid(n).Host() > MaxHost || Pid(n).Local() == 0 {
			return 0, fmt.Errorf("pid %q: want a number whose top 16 bits are a host up to %d and whose bottom 16 are not 0, or host:pid", s, MaxHost)
		}
		return Pid(n), nil
	}
	n, err := strconv.ParseUint(local, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("pid %q: what follows the colon must be a number from 1 to %d", s, MaxLease)
	}
	if h, err := ParseHost(host); err == nil {
		return MakePid(h, int(n)), nil
	}
	name, err := ParseHostName(host)
	if err != nil {
		return 0, fmt.Errorf("pid %q: %w", s, err)
	}
	if lookup == nil {
		return 0, fmt.Errorf("pid %q: host names cannot be looked up here; give the host's number", s)
	}
	h, err := lookup(name)
	if err != nil {
		return 0, fmt.Errorf("pid %q: %w", s, err)
	}
	return MakePid(h, int(n)), nil
}
