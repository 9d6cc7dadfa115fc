package nest

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// limits are the hard resource limits above which the init may not raise a process; nil if it may (CAP_SYS_RESOURCE).
type limits []uint64

func ownLimits() limits {
	if ownStatus("CapEff")&(1<<unix.CAP_SYS_RESOURCE) != 0 {
		return nil
	}
	l := make(limits, unix.RLIMIT_RTTIME+1)
	for i := range l {
		var r unix.Rlimit
		if unix.Getrlimit(i, &r) != nil {
			r.Max = unix.RLIM_INFINITY
		}
		l[i] = r.Max
	}
	return l
}

// ownStatus gives a bit mask of the init's own /proc/PID/status, 0 if it cannot be read.
func ownStatus(field string) uint64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			if err == nil {
				return mask
			}
		}
	}
	return 0
}

func (l limits) cut(r Rlimit) Rlimit {
	if r.Resource >= 0 && r.Resource < len(l) {
		r.Hard = min(r.Hard, l[r.Resource])
		r.Soft = min(r.Soft, r.Hard)
	}
	return r
}

// program turns a Spec into the calls of the child. What can wait for the home's files (open, chdir, exec) comes after the
// descriptors that are not the child's are closed, so that a slow start holds up no other.
func (s *server) program(spec Spec, slots []slot, fds []int, report int) (*sys.Program, error) {
	p := &sys.Program{}
	p.Setpgid(s.maker.pass)
	if err := descriptors(p, slots, fds, report); err != nil {
		return nil, err
	}
	if spec.CwdIno != 0 {
		p.ChdirSame(spec.Cwd, spec.CwdIno)
	} else {
		p.Chdir(spec.Cwd)
	}
	p.Umask(spec.Umask)
	if spec.Scheduler != 0 {
		p.Scheduler(spec.Scheduler)
	}
	p.Nice(spec.Nice)
	if spec.IOPriority != 0 {
		p.IOPriority(spec.IOPriority)
	}
	p.TimerSlack(spec.TimerSlack)
	for _, r := range spec.Rlimits {
		r = s.limits.cut(r)
		p.Rlimit(r.Resource, r.Soft, r.Hard)
	}
	p.Credentials(spec.Groups, spec.GID, spec.UID)
	if spec.NoNewPrivs {
		p.NoNewPrivs()
	}
	for sig := 1; sig <= 64; sig++ {
		if sig == int(unix.SIGKILL) || sig == int(unix.SIGSTOP) {
			continue
		}
		if bit := uint64(1) << (sig - 1); spec.SigIgnored&bit != 0 {
			p.Ignore(sig)
		} else if s.ignored&bit != 0 {
			p.Default(sig)
		}
	}
	p.SigMask(spec.SigMask)
	p.Exec(spec.Exe, spec.Argv, spec.Env)
	return p, nil
}

// descriptors puts the given ones at their numbers and closes the rest. All sources first move above everything in use, so that
// none is overwritten before its turn.
func descriptors(p *sys.Program, slots []slot, fds []int, report int) error {
	base := report
	for _, fd := range fds {
		base = max(base, fd)
	}
	for _, sl := range slots {
		if sl.Index >= len(fds) {
			return fmt.Errorf("descriptor %d: it did not arrive: %w", sl.N, syscall.EBADF)
		}
		base = max(base, sl.N)
	}
	base++
	p.ReportTo(report, base)
	for i, fd := range fds {
		p.Dup(fd, base+1+i, true)
	}
	slots = slices.Clone(slots)
	slices.SortFunc(slots, func(a, b slot) int { return a.N - b.N })
	for _, sl := range slots {
		from := base // a placeholder, for what is opened below
		if sl.Index >= 0 {
			from = base + 1 + sl.Index
		}
		p.Dup(from, sl.N, false)
	}
	next := 0
	for _, sl := range slots {
		if sl.N > next {
			p.CloseRange(uint(next), uint(sl.N-1))
		}
		next = sl.N + 1
	}
	if next < base {
		p.CloseRange(uint(next), uint(base-1))
	}
	p.CloseRange(uint(base+1), ^uint(0)>>32)
	for _, sl := range slots {
		switch {
		case sl.Index >= 0:
		case sl.Ino != 0:
			p.OpenSame(sl.Path, sl.Flags, sl.Ino, sl.N)
		default:
			p.Open(sl.Path, sl.Flags, sl.N)
		}
	}
	return nil
}
