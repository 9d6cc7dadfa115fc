package soak

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// spawn has an agent make a child: by fork alone, or of a program that goes elsewhere or stays.
func (d *driver) spawn(a *agent) {
	if len(d.book.living(func(o *agent) bool { return o.session == d.session })) >= maxAgents {
		d.endChild(a)
		return
	}
	d.groups.RLock()
	defer d.groups.RUnlock()
	child := d.newAgent(a)
	var r []int
	var err error
	switch way := d.rng.IntN(6); {
	case way == 0:
		r, err = d.tell(a, answerLimit, "fork %s", child.name)
	case way < 4:
		r, err = d.tell(a, answerLimit, "spawn %s %s", progAgent, child.name)
	case way == 4:
		r, err = d.tell(a, answerLimit, "spawn %s %s", progSpreader, child.name)
	default:
		r, err = d.tell(a, answerLimit, "spawn %s %s", progLocal, child.name)
	}
	if err != nil {
		return
	}
	if r[0] <= 0 {
		d.book.finding(a, "%s cannot fork: %v", a, syscall.Errno(-r[0]))
		return
	}
	child.mu.Lock()
	child.said = r[0]
	child.mu.Unlock()
	a.mu.Lock()
	a.children++
	a.mu.Unlock()
	switch err := d.awaitUp(d.ctx, child); {
	case d.ctx.Err() != nil || d.ending(d.book.now()):
	case err == nil && child.pid != r[0]:
		d.book.finding(child, "%s is %d to its parent and %d to itself", child, r[0], child.pid)
	case errors.Is(err, errSilent):
		if !d.book.excused(a, child.spawned) && !d.book.suspect(child.spawned) && !a.dying() {
			d.book.finding(child, "%s, %d to its parent, does not begin", child, r[0])
		}
	case err == nil:
		d.inherits(a, child)
	}
}

// inherits checks what a child is told of its family.
func (d *driver) inherits(a, child *agent) {
	a.mu.Lock()
	pgid, sid := a.pgid, a.sid
	a.mu.Unlock()
	if a.dying() {
		return
	}
	if child.ppid != a.pid || child.pgid != pgid || child.sid != sid {
		d.book.finding(child, "%s was born with parent %d, group %d, session %d, of %d, %d, %d", child, child.ppid, child.pgid, child.sid, a.pid, pgid, sid)
	}
	if child.home != child.at && child.at != a.at && a.at != a.home {
		d.book.finding(child, "%s runs on %s, its parent on %s", child, child.at, a.at)
	}
}

// childOf takes a living child of an agent.
func (d *driver) childOf(a *agent) *agent {
	return d.pick(func(o *agent) bool { return o.parent == a })
}

// endChild ends a child of the agent in one of many ways, and lets the agent wait for it in one of many ways, or not at all.
func (d *driver) endChild(a *agent) {
	c := d.childOf(a)
	if c == nil || !c.cmd.TryLock() {
		return
	}
	defer c.cmd.Unlock()
	others := d.watchEnd(c)
	if d.rng.IntN(4) == 0 { // it waits already when the child ends
		c2, err := a.say("wait %d 0", c.pid)
		if err != nil {
			return
		}
		began := d.book.now()
		d.doom(c)
		r, err := a.hear(d.ctx, c2, endLimit+answerLimit)
		d.book.note(a, "> wait %d: %v, %v", c.pid, r, err)
		d.tookChild(a, c, began, r, err)
	} else {
		d.doom(c)
		d.reap(a, c)
	}
	d.sawEnd(c, others)
}

// doom does something to an agent that ends it, and waits for that.
func (d *driver) doom(c *agent) {
	began := d.book.now()
	switch d.rng.IntN(5) {
	case 0, 1:
		code := d.rng.IntN(256)
		d.book.cause(c, exited(code), "told to exit")
		_, _ = c.say("exit %d", code)
	case 2:
		sig := []unix.Signal{unix.SIGTERM, unix.SIGKILL, unix.SIGABRT, unix.SIGHUP, unix.SIGUSR1, 60}[d.rng.IntN(6)]
		d.book.cause(c, killedBy(sig), "told to die by "+sig.String())
		_, _ = c.say("die %d", int(sig))
	default:
		sig := []unix.Signal{unix.SIGKILL, unix.SIGKILL, unix.SIGTERM, unix.SIGINT, 61}[d.rng.IntN(5)]
		if sig != unix.SIGKILL {
			if _, err := d.tell(c, answerLimit, "mortal %d", int(sig)); err != nil {
				return
			}
		}
		d.book.cause(c, killedBy(sig), "killed by "+sig.String())
		d.deadly(c, int(sig))
	}
	select {
	case <-c.gone:
	case <-d.ctx.Done():
	case <-time.After(endLimit):
		if !d.book.excused(c, began) {
			d.book.finding(c, "%s does not end", c)
		}
	}
}

// reap lets a parent wait for a child that has ended, or is about to.
func (d *driver) reap(a, c *agent) {
	began := d.book.now()
	switch d.rng.IntN(6) {
	case 0: // later, or never
	case 1: // WNOHANG, until there is something
		for end := time.Now().Add(endLimit); ; pause(d.ctx, 5*time.Millisecond) {
			call := d.book.now()
			r, err := d.tell(a, answerLimit, "wait %d %d", c.pid, unix.WNOHANG)
			if err == nil && r[0] == 0 && d.ctx.Err() != nil {
				return
			}
			if err == nil && r[0] == 0 && time.Now().Before(end) {
				d.book.operate(c, op{call: call, ret: d.book.now(), in: input{verb: waits}, out: errAlive})
				continue
			}
			d.tookChild(a, c, call, r, err)
			return
		}
	case 2: // looked at first, then fetched
		r, err := d.tell(a, endLimit, "waitid %d %d", c.pid, unix.WEXITED|unix.WNOWAIT)
		if err != nil {
			return
		}
		s := statusOf(r[2:])
		if r[0] != 0 || r[1] != c.pid || !d.book.plausible(c, s) {
			d.book.finding(c, "waitid with WNOWAIT of %s gave %v", c, r)
		}
		call := d.book.now()
		r, err = d.tell(a, answerLimit, "wait %d 0", c.pid)
		if err == nil && len(r) > 1 && unix.WaitStatus(r[1])&^0x80 != s&^0x80 {
			d.book.finding(c, "wait of %s gave %v, and waitid %s", c, r, showStatus(s))
		}
		d.tookChild(a, c, call, r, err)
	case 3:
		call := d.book.now()
		r, err := d.tell(a, endLimit, "waitid %d %d", c.pid, unix.WEXITED)
		if err == nil && r[0] == 0 {
			r = []int{r[1], int(statusOf(r[2:]))}
		}
		d.tookChild(a, c, call, r, err)
	default:
		r, err := d.tell(a, endLimit, "wait %d 0", c.pid)
		d.tookChild(a, c, began, r, err)
	}
}

// Codes of SIGCHLD.
const (
	cldExited = 1
	cldKilled = 2
	cldDumped = 3
)

// statusOf makes the status that wait gives of a waitid's code and status.
func statusOf(r []int) unix.WaitStatus {
	if r[0] == cldExited {
		return exited(r[1])
	}
	if r[0] == cldKilled || r[0] == cldDumped {
		return killedBy(syscall.Signal(r[1]))
	}
	return 0xff0000
}

// tookChild takes in what a wait for a child gave.
func (d *driver) tookChild(a, c *agent, call time.Duration, r []int, err error) {
	ret := d.book.now()
	switch {
	case err != nil:
		d.book.operate(c, op{call: call, ret: never, in: input{verb: waits}, out: errUnknown})
		if errors.Is(err, errSilent) && !a.dying() && !d.ending(ret) && !d.book.excused(a, call) && !d.book.excused(c, call) {
			d.book.finding(c, "the wait of %s for %s does not end", a, c)
		}
	case r[0] == c.pid:
		d.book.operate(c, op{call: call, ret: ret, in: input{verb: waits}})
		d.book.waited(c, unix.WaitStatus(r[1]))
		d.twice(a, c)
	case d.ending(ret):
	default:
		d.book.finding(c, "the wait of %s for %s gave %v", a, c, r)
	}
}

// twice sees that a child is waited for once, and then is nobody.
func (d *driver) twice(a, c *agent) {
	if d.rng.IntN(4) > 0 {
		return
	}
	call := d.book.now()
	r, err := d.tell(a, answerLimit, "wait %d %d", c.pid, unix.WNOHANG)
	if err != nil {
		return
	}
	d.book.operate(c, op{call: call, ret: d.book.now(), in: input{verb: waits}, out: errnoOf(r[0])})
	if r[0] != -int(unix.ECHILD) {
		d.book.finding(c, "after %s was waited for, a wait for it gave %v", c, r)
	}
}

// reapAny lets an agent wait for whichever of its children has ended.
func (d *driver) reapAny(a *agent) {
	call := d.book.now()
	// Those that may be told of; whoever ends one of them holds the agent, so there are no others.
	d.book.mu.Lock()
	var all []*agent
	for _, c := range d.book.agents {
		if c.parent == a {
			all = append(all, c)
		}
	}
	d.book.mu.Unlock()
	r, err := d.tell(a, answerLimit, "wait -1 %d", unix.WNOHANG)
	if err != nil {
		return
	}
	if r[0] == -int(unix.ECHILD) || r[0] == 0 {
		for _, c := range all {
			c.mu.Lock()
			reaped := c.reaped != 0
			c.mu.Unlock()
			switch {
			case reaped:
			case r[0] == 0:
				// It may be a child that has not begun for which there was nothing to tell; this one was alive or is not told of yet.
				d.book.operate(c, op{call: call, ret: d.book.now(), in: input{verb: waits, loose: true}, out: errAlive})
			case !d.book.excused(c, c.spawned):
				d.book.finding(c, "%s has no children, and was never told of the end of %s", a, c)
			}
		}
		return
	}
	for _, c := range all {
		c.mu.Lock()
		is := c.pid == r[0] && c.reaped == 0
		c.mu.Unlock()
		if is {
			d.book.operate(c, op{call: call, ret: d.book.now(), in: input{verb: waits}})
			d.book.waited(c, unix.WaitStatus(r[1]))
			return
		}
	}
	if r[0] < 0 || !d.book.suspect(a.began) { // a child that was lost before it began is none of those
		d.book.finding(a, "wait of any child gave %v", r)
	}
}

// pipe has an agent read what a child writes.
func (d *driver) pipe(a *agent) {
	began := d.book.now()
	n := d.rng.IntN(100_000)
	program := []string{progAgent, progLocal}[d.rng.IntN(2)]
	r, err := d.tell(a, beginLimit, "pipe %s %d", program, n)
	if err != nil || d.ending(d.book.now()) {
		return
	}
	if len(r) != 3 || r[0] <= 0 || r[1] != int(exited(n%200+2)) || r[2] != n {
		if d.book.suspect(began) && r[2] <= n && (r[1] == int(lost) || r[1] == int(exited(127)) || r[1] == int(killedBy(unix.SIGKILL))) {
			return
		}
		d.book.finding(a, "a child wrote %d bytes and exited with %d: %v", n, n%200+2, r)
	}
}
