package report

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/place"
)

const (
	tick       = 100 * time.Millisecond // redraws are no closer together
	calm       = 300 * time.Millisecond // runs shorter than this get no live line
	maxPending = 4 << 20                // bytes that wait to be written before lines are dropped
	yieldTime  = 2 * time.Second        // after ^Z, for the process to be stopped; a command that ignores ^Z gets its live line back
	farewell   = 2 * time.Second        // Finish waits no longer for a terminal that is held
)

// Reasons with a meaning here.
const (
	interactive = place.ReasonInteractive // has the terminal to itself while it runs
	spreader    = place.ReasonSpreader    // runs all the time and waits for its jobs: not shown as running
)

// Options say what is shown, and where.
type Options struct {
	Out     *os.File             // where people read: standard error
	Quiet   bool                 // no live line and no summary
	Explain bool                 // a line for each command
	NoColor bool                 // no escape sequences at all: no colour and no live line
	Term    string               // $TERM: "" and "dumb" have no live line
	CPUs    float64              // CPUs home may use, for the factor; 0: no factor
	HomeCPU func() time.Duration // CPU time that the run used at home, asked for at the end; nil: this process's children
}

// Reporter collects what becomes of each job and shows it. It implements session.Reporter.
type Reporter struct {
	o     Options
	start time.Time
	color bool

	wake chan struct{} // something to write, or to stop; one is enough
	gone chan struct{} // closed when the writer has ended

	mu        sync.Mutex // guards all below
	jobs      map[uint64]*job
	hosts     map[names.HostName]*tally
	local     map[string]int // jobs done at home by reason
	total     tally
	home      int // jobs running at home
	talking   int // interactive ones among them
	again     int // jobs begun more than once
	remoteCPU time.Duration
	rate      rate
	pending   []byte
	dropped   int
	width     int // of the host column
	suspended bool
	waiting   []chan struct{} // to be closed once what was pending is written
	stopping  bool
}

type job struct {
	command string
	host    names.HostName // "" is home
	reason  string
	lost    names.HostName // where it was before
}

type tally struct{ running, done int }

// New starts a reporter; Finish ends it.
func New(o Options) *Reporter {
	if o.HomeCPU == nil {
		o.HomeCPU = childrenCPU
	}
	r := &Reporter{
		o: o, start: time.Now(),
		wake: make(chan struct{}, 1), gone: make(chan struct{}),
		jobs: map[uint64]*job{}, hosts: map[names.HostName]*tally{}, local: map[string]int{},
		width: len("home"),
	}
	s := newScreen(o.Out)
	r.color = !o.NoColor && s.terminal && o.Term != "" && o.Term != "dumb"
	if o.Quiet || !r.color {
		s = &screen{}
	}
	go r.write(s)
	return r
}

// JobLocal says that a job runs at home, and why.
func (r *Reporter) JobLocal(id uint64, command, reason string) {
	r.begin(id, command, "", reason)
}

// JobRemote says that a job runs on a host. Said again of the same job, it was lost with the host before.
func (r *Reporter) JobRemote(id uint64, command string, host names.HostName) {
	r.begin(id, command, host, "")
}

func (r *Reporter) begin(id uint64, command string, host names.HostName, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := &job{command: command, host: host, reason: reason}
	if before := r.jobs[id]; before != nil {
		r.count(before, -1)
		j.lost = before.host
		if before.lost == "" {
			r.again++
		}
	}
	r.jobs[id] = j
	r.width = max(r.width, len(host))
	r.count(j, 1)
}

// count keeps what is running.
func (r *Reporter) count(j *job, n int) {
	r.total.running += n
	if j.host != "" {
		r.tallyOf(j.host).running += n
		return
	}
	if j.reason != spreader {
		r.home += n
	}
	if j.reason == interactive {
		r.talking += n
		r.poke() // the terminal is theirs from now on
	}
}

func (r *Reporter) tallyOf(host names.HostName) *tally {
	t := r.hosts[host]
	if t == nil {
		t = &tally{}
		r.hosts[host] = t
	}
	return t
}

// JobDone says that a job ended: status as a shell has it or -1 if unknown, cpu 0 if unknown. A job never begun is ignored.
func (r *Reporter) JobDone(id uint64, status int, cpu, wall time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.jobs[id]
	if j == nil {
		return
	}
	delete(r.jobs, id)
	r.count(j, -1)
	r.total.done++
	r.rate.add(time.Since(r.start))
	if j.host != "" {
		r.tallyOf(j.host).done++
		r.remoteCPU += cpu
	} else {
		r.local[reasonOr(j.reason)]++
	}
	if r.o.Explain {
		r.queue(explain(j, status, wall, r.width, r.color))
	}
}

// Say prints one line, whatever is quiet.
func (r *Reporter) Say(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue("onehost: " + printable(line) + "\n")
}

// Suspend gives the terminal back and returns when that is written, after two seconds at most: before the run stops. Resume takes it again.
func (r *Reporter) Suspend() {
	settled := make(chan struct{})
	r.mu.Lock()
	r.suspended = true
	r.waiting = append(r.waiting, settled)
	r.mu.Unlock()
	r.poke()
	select {
	case <-settled:
	case <-r.gone:
	case <-time.After(farewell):
	}
}

// Resume ends Suspend.
func (r *Reporter) Resume() {
	r.mu.Lock()
	r.suspended = false
	r.mu.Unlock()
	r.poke()
}

// Finish gives the terminal back, prints the summary and ends the reporter. It blocks until all is written, two seconds at
// most.
func (r *Reporter) Finish() {
	r.mu.Lock()
	if r.stopping {
		r.mu.Unlock()
		return
	}
	r.stopping = true
	if !r.o.Quiet && r.total.done > 0 {
		r.queue(r.summary(time.Since(r.start)))
	}
	r.mu.Unlock()
	r.poke()
	select {
	case <-r.gone:
	case <-time.After(farewell):
	}
}

// queue leaves a line for the writer; r.mu is held.
func (r *Reporter) queue(line string) {
	if len(r.pending)+len(line) > maxPending {
		r.dropped++
		return
	}
	r.pending = append(r.pending, line...)
	r.poke()
}

func (r *Reporter) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// childrenCPU is the CPU time of all descendants that have been waited for.
func childrenCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_CHILDREN, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// write is the one goroutine that writes.
func (r *Reporter) write(s *screen) {
	defer close(r.gone)
	signals := make(chan os.Signal, 8)
	var ticks <-chan time.Time
	if s.terminal {
		for _, sig := range []os.Signal{syscall.SIGWINCH, syscall.SIGTSTP, syscall.SIGCONT} {
			if !signal.Ignored(sig) {
				signal.Notify(signals, sig)
			}
		}
		defer signal.Stop(signals)
		t := time.NewTicker(tick)
		defer t.Stop()
		ticks = t.C
	}
	var yield time.Time // no live line before that
	for {
		select {
		case <-r.wake:
		case <-ticks:
		case sig := <-signals:
			switch sig {
			case syscall.SIGWINCH:
				s.resize()
			case syscall.SIGTSTP: // whoever runs the session stops this process once the command has stopped
				yield = time.Now().Add(yieldTime)
			case syscall.SIGCONT:
				yield = time.Time{}
			}
		}
		todo := r.next()
		draw := todo.line != "" && time.Now().After(yield) && s.ours()
		if !draw {
			s.leave()
		}
		writeAll(r.o.Out, todo.text)
		for _, c := range todo.waiting {
			close(c)
		}
		if todo.stop {
			return
		}
		if draw {
			s.draw(fit(todo.line, s.cols-1))
		}
	}
}

// todo is one round of the writer.
type todo struct {
	text    []byte
	line    string // empty while there should be no live line
	waiting []chan struct{}
	stop    bool
}

// next takes what is to be written.
func (r *Reporter) next() todo {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := todo{text: r.pending, waiting: r.waiting, stop: r.stopping}
	r.pending, r.waiting = nil, nil
	if r.dropped > 0 {
		t.text = append(t.text, droppedLine(r.dropped)...)
		r.dropped = 0
	}
	elapsed := time.Since(r.start)
	if !t.stop && !r.suspended && r.talking == 0 && elapsed >= calm && r.total.running+r.total.done > 1 {
		t.line = liveLine(live{hosts: r.hosts, home: r.home, done: r.total.done, rate: r.rate.at(elapsed), elapsed: elapsed})
	}
	return t
}
