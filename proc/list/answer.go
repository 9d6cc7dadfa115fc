package list

import (
	"os"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/list/listpb"
)

// pageSize is the unit of resident sets, in bytes.
var pageSize = int64(os.Getpagesize())

// answer makes the list of what was read. It keeps nothing of r.procs.
func (r *Reader) answer(ghosts map[int]names.Host) *answer {
	all := r.users.all()
	a := &answer{users: map[uint32]string{}}
	if len(ghosts) > 0 {
		a.users = all // of its processes elsewhere only this host knows the users
	}
	for pid, s := range r.procs {
		p := &listpb.Proc{
			Uid: s.known.status.uids[0], State: uint32(s.stat.State), Tty: ttyName(s.stat.TTY), Nice: int32(s.stat.Nice),
			CpuNs: int64(s.stat.Ticks) * int64(tick), Rss: s.stat.Pages * pageSize,
			StartedNs: r.boot.UnixNano() + int64(s.stat.Start)*int64(tick),
			Comm:      []byte(s.known.comm), Command: []byte(s.known.command), Kernel: s.stat.Flags&kernelThread != 0,
		}
		switch {
		case s.known.home != names.Here:
			if s.known.status.pids[1] == 1 {
				continue // the init of the nest is nobody's process
			}
			r.nested(p, s)
		case pid > names.MaxNative:
			a.unnamed++
			continue
		default:
			p.Pid, p.Ppid, p.Pgid, p.Session = uint32(pid), uint32(s.stat.Ppid), uint32(s.stat.Pgid), uint32(s.stat.Session)
			p.Elsewhere = uint32(ghosts[pid])
			if name, ok := all[p.Uid]; ok && len(ghosts) == 0 {
				a.users[p.Uid] = name
			}
		}
		a.procs = append(a.procs, p)
		a.own = append(a.own, owner(s.known.status.uids))
	}
	return a
}

// owner is the user whose own process it is; nobody's if it has several.
func owner(uids [4]uint32) uint32 {
	if uids[0] == uids[1] && uids[0] == uids[2] {
		return uids[0]
	}
	return nobody
}

// nobody is the uid that no user has, (uid_t)-1.
const nobody = ^uint32(0)

// nested fills in the numbers of a process of a nest, as its home has them.
func (r *Reader) nested(p *listpb.Proc, s *seen) {
	p.Home, p.Pid = uint32(s.known.home), uint32(s.known.status.pids[1])
	p.Ppid = r.inner(s.stat.Ppid, s.known.home)
	p.Pgid = r.inner(s.stat.Pgid, s.known.home)
	if p.Pgid == 0 && len(s.known.status.pgids) > 1 && s.known.pgid == s.stat.Pgid { // its leader is gone
		p.Pgid = uint32(s.known.status.pgids[1])
	}
	if p.Session = r.inner(s.stat.Session, s.known.home); p.Session == 0 && len(s.known.status.sids) > 1 && s.known.session == s.stat.Session {
		p.Session = uint32(s.known.status.sids[1])
	}
	// Whoever stands right below the init is a job, or an orphan.
	for up, hops := s, 0; up != nil && up.known.home == s.known.home && hops < len(r.procs); hops++ {
		n := up.known.status.pids[1]
		if n == 1 {
			break
		}
		p.Job = uint32(n)
		up = r.procs[up.stat.Ppid]
	}
}

// inner gives the number in its nest of a process of this host; 0 if it is not in the nest of that home.
func (r *Reader) inner(pid int, home names.Host) uint32 {
	if s := r.procs[pid]; s != nil && s.known.home == home {
		return uint32(s.known.status.pids[1])
	}
	return 0
}
