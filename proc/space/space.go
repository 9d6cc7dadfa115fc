// Package space is the daemon's part in the pid space of the cluster: it finds the process that a pid names (package proc has what
// can be done with it), and serves what other hosts and the control socket ask.
//
// Where a pid is looked for. Its host part says whose pid space the number is of: 0 and this host's own number mean here. A number of this
// host's own space is a job that is elsewhere (the ghost knows its family, the helper all else), or is leased to a helper, whose nest has it,
// or else is a local process. A number of another space is asked for at its home, which looks again. A helper is asked by the home only, for
// what runs in its nest. So a request goes over two links at most, and never round: a host that is asked for a number of somebody else's
// space by anybody but its owner says ESRCH.
//
// Lives. A link carries the incarnation of its peer, and a nest is of one life of its home, so that a word from an earlier life finds nobody.
//
// Process groups are their home's. The members at home, ghosts included, get a signal from the home's kernel in one stroke, and the ghosts
// pass it on: those in the group of their run know that it went to all of it (package session). Ghosts of other groups would not, so
// there their jobs are told by us, and the ghosts are left out.
//
// Locks: none of its own.
package space

import (
	"context"
	"errors"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc"
	"github.com/onehost/onehost/proc/jobs"
)

// Links gives the connection to a host.
type Links interface {
	Conn(ctx context.Context, h names.Host) (*link.Conn, error)
}

// Jobs is what a space needs to know of this home's jobs.
type Jobs interface {
	Away(pid int) (jobs.AwayJob, bool)
	Going(pid int) (names.Host, bool)
	AllAway() []jobs.AwayJob
}

// Leases is what a space needs to know of this home's numbers.
type Leases interface {
	Holder(pid int) (names.Host, bool)
	Holders() map[names.Host]int
}

// Nests is what a space needs to know of the processes of other homes that run here.
type Nests interface {
	Nested(home link.Peer, pid int) (*os.File, error)
	NestedNumbers(home link.Peer) []int
	NestedProc(home link.Peer) (*os.File, error) // its /proc
	Applied(ctx context.Context, home link.Peer, seq uint64) error
}

// Tree makes every change so far at home known to a helper, and gives the number that it must have applied.
type Tree interface {
	Drain(ctx context.Context, to names.Host) (seq uint64, err error)
}

// Config is what a Space is made of.
type Config struct {
	Self   func() names.Host // names.Here while this host is in no cluster
	Links  Links
	Jobs   Jobs
	Leases Leases
	Nests  Nests
	Tree   Tree
}

// Space resolves pids.
type Space struct{ cfg Config }

// New makes a space.
func New(cfg Config) *Space { return &Space{cfg} }

// Self gives this host's number; names.Here while it is in no cluster.
func (s *Space) Self() names.Host { return s.cfg.Self() }

// Own gives a number of this host's own pid space as a pid of the cluster.
func (s *Space) Own(pid int) names.Pid { return names.MakePid(s.cfg.Self(), pid) }

// IsOwn reports whether a pid is of this host's own pid space.
func (s *Space) IsOwn(pid names.Pid) bool {
	return pid.Host() == names.Here || pid.Host() == s.cfg.Self()
}

// Process finds the process or thread that a pid names. Whether there is one shows when it is called.
func (s *Space) Process(pid names.Pid) proc.Process {
	n := pid.Local()
	switch {
	case n == 0:
		return proc.Nobody
	case !s.IsOwn(pid):
		return s.elsewhere(pid)
	}
	if j, ok := s.cfg.Jobs.Away(n); ok {
		return &proc.Away{Remote: s.remote(n, j.Host), Ghost: proc.Here(n)}
	}
	if holder, ok := s.cfg.Leases.Holder(n); ok {
		return &leased{s.remote(n, holder), s}
	}
	return proc.Here(n)
}

// sought is Process for who asks only where it is.
func (s *Space) sought(pid names.Pid) proc.Process {
	p := s.Process(pid)
	if ghost, ok := p.(*proc.Local); ok {
		if to, ok := s.cfg.Jobs.Going(pid.Local()); ok {
			return &going{ghost, to}
		}
	}
	return p
}

// going is a job that has been sent to a host: it may run there already, though its home has not heard so yet. To all that is done to it it is its
// ghost, which passes that on.
type going struct {
	*proc.Local
	to names.Host
}

// Where implements proc.Process.
func (g *going) Where(ctx context.Context) (names.Host, error) {
	if _, err := g.Local.Where(ctx); err != nil {
		return names.Here, err
	}
	return g.to, nil
}

// Group finds the process group that a pid names.
func (s *Space) Group(pid names.Pid) proc.Process {
	n := pid.Local()
	switch {
	case n == 0:
		return proc.Nobody
	case !s.IsOwn(pid):
		return s.elsewhere(pid)
	}
	if holder, ok := s.cfg.Leases.Holder(n); ok {
		return s.remote(n, holder) // it was made in the nest
	}
	g := &group{Local: proc.Here(n), s: s, number: n}
	if n != 1 && len(g.members()) == 0 {
		return g.Local
	}
	return g
}

// leased is a process that a job of this home has forked elsewhere. In its nest the job's group has the job's number, and the session is the
// nest's; at home both are what the ghost's are.
type leased struct {
	*proc.Remote
	s *Space
}

// Group implements proc.Process.
func (l *leased) Group(ctx context.Context, who *proc.Caller) (int, error) {
	n, err := l.Remote.Group(ctx, who)
	if _, ok := l.s.cfg.Jobs.Away(n); ok && err == nil {
		return proc.Here(n).Group(ctx, who)
	}
	return n, err
}

// Session implements proc.Process.
func (l *leased) Session(ctx context.Context, who *proc.Caller) (int, error) {
	n, err := l.Remote.Session(ctx, who)
	if n != nestInit || err != nil {
		return n, err
	}
	if n, err = l.Remote.Group(ctx, who); err != nil {
		return 0, err
	}
	if _, ok := l.s.cfg.Jobs.Away(n); ok {
		return proc.Here(n).Session(ctx, who)
	}
	return nestInit, nil
}

// nestInit leads the session of a nest.
const nestInit = 1

// Parent implements proc.Process. Orphans are init's.
func (l *leased) Parent(ctx context.Context, who *proc.Caller) (int, error) {
	n, err := l.Remote.Parent(ctx, who)
	if n == 0 && err == nil {
		n = 1
	}
	return n, err
}

// elsewhere is a process of another home's space.
func (s *Space) elsewhere(pid names.Pid) proc.Process {
	if s.cfg.Self() == names.Here || !pid.Host().Valid() {
		return proc.Nobody
	}
	return &proc.Remote{Pid: pid, To: pid.Host(), By: s}
}

// remote is a process of our own space that a helper has.
func (s *Space) remote(n int, helper names.Host) *proc.Remote {
	return &proc.Remote{Pid: s.Own(n), To: helper, By: s}
}

// nested finds a process or thread of a home that runs here. The caller closes it.
func (s *Space) nested(home link.Peer, pid names.Pid) (*proc.Nested, error) {
	f, err := s.cfg.Nests.Nested(home, pid.Local())
	if err != nil {
		return nil, err
	}
	return proc.NewNested(f)
}

// group is a process group of this home.
type group struct {
	*proc.Local
	s      *Space
	number int
}

// Signal implements proc.Process.
func (g *group) Signal(ctx context.Context, who *proc.Caller, sig proc.Signal) error {
	if sig.Scope == proc.ToAll {
		return g.s.signalAll(ctx, who, sig.Number)
	}
	told := g.apart()
	if sig.Number == int(unix.SIGCONT) { // stopped ghosts pass it on, see proc.Away
		told = slices.DeleteFunc(told, func(j jobs.AwayJob) bool { return proc.Here(j.Pid).Stopped() })
	}
	if len(told) == 0 || sig.Number == 0 {
		return g.Local.Signal(ctx, who, sig)
	}
	ghosts := map[int]bool{}
	for _, j := range told {
		ghosts[j.Pid] = true
	}
	err := proc.SignalMembers(ctx, who, g.number, sig.Number, func(pid int) bool { return ghosts[pid] })
	return better(err, g.s.tell(ctx, who, sig.Number, told))
}

// tell sends a signal to jobs that are elsewhere, with all that they have started there and is in their groups.
func (s *Space) tell(ctx context.Context, who *proc.Caller, sig int, told []jobs.AwayJob) error {
	err := error(syscall.ESRCH)
	for _, j := range told {
		err = better(err, s.remote(j.Pid, j.Host).Signal(ctx, who, proc.Signal{Number: sig, Scope: proc.ToGroup}))
	}
	return err
}

// apart gives the jobs elsewhere whose ghosts are in the group and will not know that a signal went to all of it: it is not their run's.
func (g *group) apart() []jobs.AwayJob {
	var told []jobs.AwayJob
	for _, j := range g.members() {
		if run, err := proc.Here(j.Run).Group(context.Background(), proc.Daemon); err != nil || run != g.number {
			told = append(told, j)
		}
	}
	return told
}

// members gives the jobs elsewhere whose ghosts are in the group.
func (g *group) members() []jobs.AwayJob {
	var in []jobs.AwayJob
	for _, j := range g.s.cfg.Jobs.AllAway() {
		if n, err := proc.Here(j.Pid).Group(context.Background(), proc.Daemon); err == nil && n == g.number {
			in = append(in, j)
		}
	}
	return in
}

// SetPriority implements proc.Process.
func (g *group) SetPriority(ctx context.Context, who *proc.Caller, of proc.Which, nice int) error {
	err := g.Local.SetPriority(ctx, who, of, nice)
	for _, j := range g.members() {
		err = better(err, g.s.remote(j.Pid, j.Host).SetPriority(ctx, who, of, nice))
	}
	return err
}

// SetIOPriority implements proc.Process.
func (g *group) SetIOPriority(ctx context.Context, who *proc.Caller, of proc.Which, prio int) error {
	err := g.Local.SetIOPriority(ctx, who, of, prio)
	for _, j := range g.members() {
		err = better(err, g.s.remote(j.Pid, j.Host).SetIOPriority(ctx, who, of, prio))
	}
	return err
}

// signalAll sends to everybody of this home's pid space but the caller. Jobs elsewhere are told by us and not by their ghosts; and the
// keepers of their runs, which count what comes to a run's whole group and heed nothing else, get none, or they would count this.
func (s *Space) signalAll(ctx context.Context, who *proc.Caller, sig int) error {
	away := s.cfg.Jobs.AllAway()
	ghosts, runs := map[int]bool{}, map[int]bool{}
	for _, j := range away {
		ghosts[j.Pid], runs[j.Run] = true, true
	}
	if s.IsOwn(who.Pid) {
		ghosts[who.Pid.Local()] = true
	}
	err := proc.SignalAll(ctx, who, sig, func(pid int) bool {
		parent, perr := proc.Here(pid).Parent(ctx, who)
		return ghosts[pid] || perr == nil && runs[parent]
	})
	err = better(err, s.tell(ctx, who, sig, away))
	return better(err, s.SignalLeased(ctx, who, sig))
}

// SignalLeased sends to all that jobs of this home have forked elsewhere and that is not in the group of a job, as far as the caller may.
// ESRCH: there is nobody.
func (s *Space) SignalLeased(ctx context.Context, who *proc.Caller, sig int) error {
	err := error(syscall.ESRCH)
	for helper, first := range s.cfg.Leases.Holders() {
		err = better(err, s.remote(first, helper).Signal(ctx, who, proc.Signal{Number: sig, Scope: proc.ToAll}))
	}
	return err
}

// better gives the result of something done to many: it worked if it worked for one, and that one was missing says less than that one may not.
func better(a, b error) error {
	switch {
	case a == nil, b == nil:
		return nil
	case errors.Is(a, syscall.ESRCH):
		return b
	}
	return a
}
