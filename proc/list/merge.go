package list

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/list/listpb"
)

// unknown is the state of a process whose host does not list it: it is on its way there, or the host cannot be asked.
const unknown = "?"

// merger joins what the hosts say to one list in which each process is once.
type merger struct {
	name  func(names.Host) names.HostName
	users map[names.Host]map[uint32]string
	// By pid: what stands at home for a process that is elsewhere, and what runs.
	ghosts map[names.Pid]control.Proc
	procs  map[names.Pid]control.Proc
	jobs   map[names.Pid]names.Pid // of processes in nests, the job they belong to
}

func newMerger(name func(names.Host) names.HostName) *merger {
	return &merger{
		name: name, users: map[names.Host]map[uint32]string{},
		ghosts: map[names.Pid]control.Proc{}, procs: map[names.Pid]control.Proc{}, jobs: map[names.Pid]names.Pid{},
	}
}

// add takes what a host said.
func (m *merger) add(host names.Host, a *answer) {
	m.users[host] = a.users
	for _, p := range a.procs {
		row := m.row(host, p)
		switch {
		case p.Elsewhere != 0:
			row.Host = m.name(names.Host(p.Elsewhere))
			m.ghosts[row.Pid] = row
		case p.Home != 0:
			m.procs[row.Pid] = row // it has come here since its home was asked
			m.jobs[row.Pid] = names.MakePid(row.Pid.Host(), int(p.Job))
		default:
			if _, moved := m.procs[row.Pid]; !moved {
				m.procs[row.Pid] = row
			}
		}
	}
}

func (m *merger) row(host names.Host, p *listpb.Proc) control.Proc {
	home := names.Host(cmp.Or(p.Home, uint32(host)))
	pid := func(n uint32) names.Pid {
		if n == 0 {
			return 0
		}
		return names.MakePid(home, int(n))
	}
	return control.Proc{
		Pid: pid(p.Pid), Name: fmt.Sprintf("%s:%d", m.name(home), p.Pid), Home: m.name(home), Host: m.name(host),
		PPid: pid(p.Ppid), PGid: pid(p.Pgid), Session: pid(p.Session), UID: p.Uid, State: string(rune(p.State)), TTY: p.Tty,
		Nice: int(p.Nice), CPU: time.Duration(p.CpuNs), RSS: p.Rss, Started: time.Unix(0, p.StartedNs),
		Comm: string(p.Comm), Command: string(p.Command), Kernel: p.Kernel,
	}
}

// homes lists the homes of processes that run elsewhere which have not been asked.
func (m *merger) homes() []names.Host {
	var homes []names.Host
	for pid := range m.jobs {
		if h := pid.Host(); m.users[h] == nil && !slices.Contains(homes, h) {
			homes = append(homes, h)
		}
	}
	return homes
}

// list gives the processes for which want holds, by pid. What a process has at home it has from its ghost.
func (m *merger) list(want func(control.Proc) bool) []control.Proc {
	for pid, job := range m.jobs {
		p := m.procs[pid]
		g, ok := m.ghosts[job]
		if !ok {
			g, ok = m.ghosts[p.PGid] // of an orphan the group tells whose it was
		}
		if ok {
			m.procs[pid] = atHome(p, g)
		}
	}
	for pid, g := range m.ghosts {
		if _, runs := m.procs[pid]; !runs {
			g.State, g.CPU, g.RSS = unknown, 0, 0
			m.procs[pid] = g
		}
	}
	rows := make([]control.Proc, 0, len(m.procs))
	for _, p := range m.procs {
		if want(p) {
			name, ok := m.users[p.Pid.Host()][p.UID]
			if !ok {
				name = strconv.FormatUint(uint64(p.UID), 10)
			}
			p.User = name
			rows = append(rows, p)
		}
	}
	slices.SortFunc(rows, func(a, b control.Proc) int { return cmp.Compare(a.Pid, b.Pid) })
	return rows
}

// atHome gives p the parent, group, session and terminal that it has at home; g is the ghost of its job.
func atHome(p, g control.Proc) control.Proc {
	init := names.MakePid(p.Pid.Host(), 1)
	if p.Pid == g.Pid {
		p.PPid = g.PPid
	}
	if p.PGid == g.Pid {
		p.PGid = g.PGid
	}
	if p.Session == 0 || p.Session == init {
		p.Session = g.Session
		p.TTY = cmp.Or(p.TTY, g.TTY)
	}
	return p
}
