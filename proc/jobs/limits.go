package jobs

import (
	"bytes"
	"fmt"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/proc/jobs/jobspb"
)

// nameWidth is how wide /proc/PID/limits makes the names of the limits, with the blank after it.
const nameWidth = 26

// ReadLimits reads /proc/PID/limits: a limit for each resource, in the order of their numbers. prlimit would need CAP_SYS_RESOURCE for another user's process, which root in a container
// often lacks.
func ReadLimits(path string) ([]*jobspb.Rlimit, error) {
	b, err := slurp(path)
	if err != nil {
		return nil, err
	}
	ls, err := parseLimits(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return ls, nil
}

// parseLimits takes the lines by their order, which is that of the numbers; a line is a name, a soft and a hard limit, a unit.
func parseLimits(b []byte) ([]*jobspb.Rlimit, error) {
	lines := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	if len(lines) < unix.RLIMIT_RTTIME+2 {
		return nil, fmt.Errorf("%d lines: want a head and %d limits: %w", len(lines), unix.RLIMIT_RTTIME+1, syscall.EINVAL)
	}
	var ls []*jobspb.Rlimit
	for r, line := range lines[1 : unix.RLIMIT_RTTIME+2] {
		if len(line) < nameWidth {
			return nil, fmt.Errorf("limit %q: want a name, a soft and a hard limit: %w", line, syscall.EINVAL)
		}
		f := bytes.Fields(line[nameWidth:])
		if len(f) < 2 {
			return nil, fmt.Errorf("limit %q: want a name, a soft and a hard limit: %w", line, syscall.EINVAL)
		}
		soft, err := limit(string(f[0]))
		if err != nil {
			return nil, err
		}
		hard, err := limit(string(f[1]))
		if err != nil {
			return nil, err
		}
		ls = append(ls, &jobspb.Rlimit{Resource: uint32(r), Cur: soft, Max: hard})
	}
	return ls, nil
}

func limit(s string) (uint64, error) {
	if s == "unlimited" {
		return unix.RLIM_INFINITY, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("limit %q: want a number or unlimited: %w", s, syscall.EINVAL)
	}
	return n, nil
}
