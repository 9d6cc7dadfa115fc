package soak

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
)

// margin is how much earlier than the soak hears of it something may have happened, and later.
const margin = 50 * time.Millisecond

// book is what is known: who lives, what was done to whom, and what is wrong.
type book struct {
	start time.Time
	out   io.Writer // findings, as they are made
	trace io.Writer // everything; may be nil

	mu       sync.Mutex
	agents   []*agent // of this round, in the order of their beginning
	faults   []fault
	sent     map[int]*sent // by the value that goes along
	values   int
	ops      map[*agent][]op
	findings []string
	counts   map[string]int
	round    int
}

// fault is what is done to a host. A host is suspect from the moment before it until it takes jobs again.
type fault struct {
	host     names.HostName
	from, to time.Duration // to 0: not over
}

// sent is a signal under way to one agent.
type sent struct {
	id     int
	to     *agent
	number int
	by     string
	from   *agent // nil: somebody else
	may    bool   // it may be sent
	got    int
	came   chan struct{} // closed when it has come
}

func newBook(out io.Writer) *book {
	b := &book{start: time.Now(), out: out, counts: map[string]int{}}
	b.fresh()
	return b
}

// fresh forgets a round.
func (b *book) fresh() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.round++
	b.agents, b.faults, b.sent, b.ops = nil, nil, map[int]*sent{}, map[*agent][]op{}
}

func (b *book) now() time.Duration { return time.Since(b.start) }

// note keeps what happened to an agent, for the case that it has to be told.
func (b *book) note(a *agent, format string, args ...any) {
	line := fmt.Sprintf("%9.4f %s: ", b.now().Seconds(), a) + fmt.Sprintf(format, args...)
	if b.trace != nil {
		fmt.Fprintln(b.trace, line)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.notes = append(a.notes, line); len(a.notes) > 60 {
		a.notes = slices.Delete(a.notes, 10, 11) // how it began is worth keeping
	}
}

// finding keeps what is wrong, and tells it.
func (b *book) finding(a *agent, format string, args ...any) {
	var s strings.Builder
	fmt.Fprintf(&s, "%9.4f FINDING ", b.now().Seconds())
	fmt.Fprintf(&s, format, args...)
	for i := 0; a != nil && i < 3; a, i = a.parent, i+1 { // with its parents
		a.mu.Lock()
		fmt.Fprintf(&s, "\n\t%s: home %s, at %s, pid %d, serial %d", a, a.home, a.at, a.pid, a.serial)
		for _, n := range a.notes {
			s.WriteString("\n\t\t" + n)
		}
		a.mu.Unlock()
	}
	b.mu.Lock()
	for _, f := range b.faults {
		fmt.Fprintf(&s, "\n\tfault of %s from %.3f to %.3f", f.host, f.from.Seconds(), f.to.Seconds())
	}
	b.findings = append(b.findings, s.String())
	b.mu.Unlock()
	fmt.Fprintln(b.out, s.String())
}

func (b *book) count(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[what]++
}

// failing begins a fault; the function that it gives ends it.
func (b *book) failing(h names.HostName) func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := len(b.faults)
	b.faults = append(b.faults, fault{host: h, from: b.now()})
	faults := b.faults
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if faults = b.faults; i < len(faults) {
			faults[i].to = b.now()
		}
	}
}

// suspect says whether one of the hosts was suspect at any time since.
func (b *book) suspect(since time.Duration, hosts ...names.HostName) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.faults, func(f fault) bool {
		return (f.to == 0 || f.to+margin > since) && (len(hosts) == 0 || slices.Contains(hosts, f.host))
	})
}

// excused says whether a fault since then may have ended an agent, or kept it from what is expected of it. What `onehost on` started may
// end a while after a fault that it has lived through, when the hosts have settled who was lost to whom.
func (b *book) excused(a *agent, since time.Duration) bool {
	if a.native {
		since = min(since, a.session.root.spawned)
	}
	select {
	case <-a.up:
	default:
		return b.suspect(since) // it may have been sent to any of them
	}
	return b.suspect(since, a.at) || a.at != a.home && b.suspect(since, a.home) || a.native && b.suspect(since, a.session.front)
}

// began takes in an agent that has said hello.
func (b *book) began(a *agent) {
	b.mu.Lock()
	now := b.now()
	a.mu.Lock()
	a.began = now
	said := a.said
	a.mu.Unlock()
	var twin *agent
	for _, o := range b.agents {
		o.mu.Lock()
		if o.home == a.home && o.pid == a.pid && o.died == 0 {
			twin = o
		}
		o.mu.Unlock()
	}
	b.agents = append(b.agents, a)
	b.mu.Unlock()
	if twin != nil && !b.excused(twin, twin.spawned) {
		b.finding(a, "%s and %s of %s are both %d", a, twin, a.home, a.pid)
	}
	if said != 0 && said != a.pid {
		b.finding(a, "%s is %d to its parent and %d to itself", a, said, a.pid)
	}
	b.note(a, "began on %s as %d, ppid %d, pgid %d, sid %d", a.at, a.pid, a.ppid, a.pgid, a.sid)
	close(a.up)
}

// ended takes in that an agent's connection is gone, and it with that.
func (b *book) ended(a *agent) {
	now := b.now()
	a.mu.Lock()
	a.died = now
	known := len(a.causes) > 0
	a.mu.Unlock()
	b.note(a, "its connection ended")
	close(a.gone)
	b.noteEnd(a, a.began) // if nobody did anything to it: by the end of its session, or by a fault some time ago
	if !known && !a.session.ending(now) && !b.excused(a, a.spawned) {
		b.finding(a, "%s ended for no reason", a)
	}
}

// cause notes that something is about to be done that may end an agent.
func (b *book) cause(a *agent, status unix.WaitStatus, what string) {
	b.note(a, "%s", what)
	a.mu.Lock()
	a.causes = append(a.causes, cause{b.now(), status})
	a.mu.Unlock()
	b.noteEnd(a, b.now())
}

// noteEnd puts the end of an agent, at some time after call, into its history, unless it is there.
func (b *book) noteEnd(a *agent, call time.Duration) {
	a.mu.Lock()
	was := a.endNoted
	a.endNoted = true
	a.mu.Unlock()
	if !was {
		b.operate(a, op{call: call, ret: never, in: input{verb: ends}})
	}
}

// dying says whether something may have ended an agent by now.
func (a *agent) dying() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.causes) > 0 || a.died != 0 || a.reaped != 0
}

// exited and killed are statuses that wait gives.
func exited(code int) unix.WaitStatus             { return unix.WaitStatus(code << 8) }
func killedBy(sig syscall.Signal) unix.WaitStatus { return unix.WaitStatus(sig) }

// lost is how a job ends whose host was lost.
var lost = exited(1)

func showStatus(s unix.WaitStatus) string {
	switch {
	case s.Exited():
		return fmt.Sprintf("exit %d", s.ExitStatus())
	case s.Signaled():
		return fmt.Sprintf("signal %d", int(s.Signal()))
	case s.Stopped():
		return fmt.Sprintf("stopped by %d", int(s.StopSignal()))
	}
	return fmt.Sprintf("status %#x", uint32(s))
}

// plausible says whether an agent may have ended with this status.
func (b *book) plausible(a *agent, s unix.WaitStatus) bool {
	s &^= 0x80 // a core was dumped: of a ghost it never is
	a.mu.Lock()
	causes := slices.Clone(a.causes)
	spawned := a.spawned
	a.mu.Unlock()
	if slices.ContainsFunc(causes, func(c cause) bool { return c.status == s }) {
		return true
	}
	if !b.excused(a, spawned) {
		return a.session.ending(b.now()) && s == killedBy(unix.SIGKILL)
	}
	// What runs in a nest is killed with it; what began it has the status of what is lost.
	return s == lost || s == killedBy(unix.SIGKILL)
}

// waited takes in that a parent was told that its child has ended.
func (b *book) waited(a *agent, s unix.WaitStatus) {
	now := b.now()
	a.mu.Lock()
	before := a.reaped
	a.reaped = now
	a.mu.Unlock()
	b.note(a, "waited for: %s", showStatus(s))
	b.noteEnd(a, a.began)
	if before != 0 {
		b.finding(a, "%s was waited for twice, at %.4f before", a, before.Seconds())
	}
	if !b.plausible(a, s) {
		b.finding(a, "%s ended by %s, which nobody did to it", a, showStatus(s))
	}
}

// sending makes a signal known that is about to be sent with a value.
func (b *book) sending(from, to *agent, number int) *sent {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.values++
	s := &sent{id: b.values, from: from, to: to, number: number, by: from.name, may: from.may(to), came: make(chan struct{})}
	b.sent[s.id] = s
	return s
}

// slot makes a signal known that is about to be sent without a value. No other of its number may be under way to the agent: then there is none.
func (b *book) slot(to *agent, number int, by string) *sent {
	to.mu.Lock()
	defer to.mu.Unlock()
	if to.slots[number] != nil {
		return nil
	}
	s := &sent{to: to, number: number, by: by, may: true, came: make(chan struct{})}
	to.slots[number] = s
	return s
}

// free ends the use of a slot, unless its signal may still come.
func (a *agent) free(s *sent, may bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !may || s.got > 0 {
		delete(a.slots, s.number)
	}
}

// arrived takes in a signal.
func (b *book) arrived(a *agent, number, code, pid, value int) {
	b.note(a, "signal %d, code %d, from %d, value %d", number, code, pid, value)
	if number == int(unix.SIGHUP) {
		a.mu.Lock()
		a.hungUp = b.now()
		a.mu.Unlock()
	}
	switch {
	case number >= firstQueued && number <= lastQueued:
		b.mu.Lock()
		s := b.sent[value]
		b.mu.Unlock()
		if s == nil || code != siQueue || s.to != a || s.number != number {
			b.finding(a, "signal %d with code %d, value %d came to %s, which is %s", number, code, value, a, s)
			return
		}
		b.come(a, s)
		// 0 stands for any whose signal came by way of another host.
		if from := s.from; pid != 0 && pid != int(a.session.full(from)) && (pid != from.pid || from.home != a.home) {
			b.finding(a, "signal %d with value %d came from %d, not from %s, which is %d of %s", number, value, pid, from, from.pid, from.home)
		}
	case isSlot(number):
		a.mu.Lock()
		s := a.slots[number]
		a.mu.Unlock()
		if s == nil {
			if !a.session.mayGet(number) {
				b.finding(a, "signal %d came to %s, and nobody sent it", number, a)
			}
			return
		}
		b.come(a, s)
	}
}

func (b *book) come(a *agent, s *sent) {
	if !s.may {
		b.finding(a, "%s came, which is not allowed", s)
	}
	b.mu.Lock()
	s.got++
	n := s.got
	b.mu.Unlock()
	if n == 1 {
		close(s.came)
		return
	}
	b.finding(a, "%s came %d times", s, n)
}

func (s *sent) String() string {
	if s == nil {
		return "unknown"
	}
	return fmt.Sprintf("signal %d with value %d for %s from %s", s.number, s.id, s.to, s.by)
}

// Signals of the soak: those that are queued with values, and those of which one at a time is under way.
const (
	firstQueued, lastQueued = 40, 49
	siQueue                 = -1
)

var slotNumbers = []int{int(unix.SIGUSR1), int(unix.SIGUSR2), int(unix.SIGURG), int(unix.SIGIO), 50, 51, 52, 53, 54}

func isSlot(number int) bool { return slices.Contains(slotNumbers, number) }

// present gives agents that have begun and have not ended.
func (b *book) present(want func(*agent) bool) []*agent {
	b.mu.Lock()
	all := slices.Clone(b.agents)
	b.mu.Unlock()
	return slices.DeleteFunc(all, func(a *agent) bool {
		a.mu.Lock()
		died := a.died
		a.mu.Unlock()
		return died != 0 || !want(a)
	})
}

// living gives agents that have begun and to which nothing has been done that ends them.
func (b *book) living(want func(*agent) bool) []*agent {
	b.mu.Lock()
	all := slices.Clone(b.agents)
	b.mu.Unlock()
	return slices.DeleteFunc(all, func(a *agent) bool { return a.dying() || !want(a) })
}
