package soak

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// arriveLimit is how long a signal may take that could be sent.
const arriveLimit = 15 * time.Second

// queue sends an agent some signals with values, one after the other, and sees that each comes once.
func (d *driver) queue(a *agent) {
	to, pid := d.target(a)
	if to == nil {
		return
	}
	var under []*sent
	for range 1 + d.rng.IntN(6) {
		number := firstQueued + d.rng.IntN(lastQueued-firstQueued+1)
		s := d.book.sending(a, to, number)
		call := d.book.now()
		d.book.note(to, "signal %d with value %d, by %s", number, s.id, a)
		r, err := d.tell(a, answerLimit, "queue %d %d %d", pid, number, s.id)
		if err != nil {
			d.book.operate(to, op{call: call, ret: never, in: input{verb: sends}, out: errUnknown})
			break
		}
		if d.judgeSend(a, to, call, errnoOf(r[0]), s) {
			under = append(under, s)
		}
	}
	for _, s := range under {
		d.awaitSignal(s)
	}
}

// kill sends an agent a signal without a value.
func (d *driver) kill(a *agent) {
	to, pid := d.target(a)
	if to == nil {
		return
	}
	number := slotNumbers[d.rng.IntN(len(slotNumbers))]
	s := d.book.slot(to, number, a.name)
	if s == nil {
		return
	}
	s.may = a.may(to)
	verb := "kill"
	if a.at == a.home && a.home == to.home && pid == to.pid && d.rng.IntN(4) == 0 && !bornElsewhere(to) {
		verb = "pidfd"
	}
	call := d.book.now()
	d.book.note(to, "signal %d, by %s", number, a)
	r, err := d.tell(a, answerLimit, "%s %d %d", verb, pid, number)
	if err != nil {
		d.book.operate(to, op{call: call, ret: never, in: input{verb: sends}, out: errUnknown})
		to.free(s, true)
		return
	}
	came := d.judgeSend(a, to, call, errnoOf(r[0]), s) && d.awaitSignal(s)
	to.free(s, !came)
}

// bornElsewhere says that pidfd_open at home has nothing to open for an agent: it has been born elsewhere.
func bornElsewhere(a *agent) bool { return a.pid >= names.FirstLease }

// judgeSend says whether a signal has to come, and takes in what its sending gave. by is nil for a signal from outside.
func (d *driver) judgeSend(by, to *agent, call time.Duration, err error, s *sent) bool {
	ret := d.book.now()
	if !s.may {
		switch {
		case err == nil:
			d.book.finding(to, "%s was allowed", s)
			return false
		case errors.Is(err, syscall.EPERM):
			return false
		}
	}
	loose := by == nil || by.at != to.at || to.at != to.home || to.parent == nil || to.parent.dying()
	switch {
	case err != nil && by != nil && d.book.excused(by, call): // one that is just coming back knows nobody elsewhere
		return false
	case err == nil || errors.Is(err, syscall.ESRCH):
		if to.dying() || !d.book.excused(to, call) {
			var out error
			if err != nil {
				out = syscall.ESRCH
			}
			d.book.operate(to, op{call: call, ret: ret, in: input{verb: sends, loose: loose}, out: out})
		}
		if err == nil {
			return !d.book.excused(to, call)
		}
		if !to.dying() && !d.ending(ret) && !to.session.ending(ret) && !d.book.excused(to, to.spawned) {
			d.book.finding(to, "%s is not there, says %s", s, who(by))
		}
		return false
	case d.book.excused(to, call) || by != nil && d.book.excused(by, call) || to.session.ending(ret) || d.ending(ret):
		return false
	}
	d.book.finding(to, "%s by %s: %v", s, who(by), err)
	return false
}

func who(a *agent) string {
	if a == nil {
		return "a daemon"
	}
	return a.name
}

// awaitSignal waits until a signal that was sent has come.
func (d *driver) awaitSignal(s *sent) bool {
	began := d.book.now()
	timer := time.NewTimer(arriveLimit)
	defer timer.Stop()
	for {
		select {
		case <-s.came:
			return true
		case <-s.to.gone:
			return false
		case <-d.ctx.Done():
			return false
		case <-timer.C:
		}
		if !s.to.stops.TryLock() { // somebody has stopped it
			timer.Reset(time.Second)
			continue
		}
		s.to.stops.Unlock()
		if s.to.dying() || s.to.session.ending(d.book.now()) || d.book.excused(s.to, began) {
			return false
		}
		select {
		case <-s.came:
			return true
		default:
		}
		d.book.finding(s.to, "%s has not come", s)
		return false
	}
}

// askSignal asks whether an agent is there, which may have ended long ago.
func (d *driver) askSignal(a *agent) {
	d.book.mu.Lock()
	all := d.book.agents
	d.book.mu.Unlock()
	to := all[d.rng.IntN(len(all))]
	if a.native && to.session != a.session {
		return
	}
	to.mu.Lock()
	reaped := to.reaped
	to.mu.Unlock()
	if reaped != 0 && d.book.now()-reaped > 2*time.Second { // its number may be another's by now
		return
	}
	pid := d.number(a, to)
	call := d.book.now()
	r, err := d.tell(a, answerLimit, "kill %d 0", pid)
	if err != nil {
		return
	}
	ret := d.book.now()
	d.book.note(to, "asked for by %s: %v", a, errnoOf(r[0]))
	if d.book.excused(to, to.spawned) || d.book.excused(a, call) || to.session.ending(ret) || d.ending(ret) {
		return
	}
	loose := a.at != to.at || to.at != to.home || to.parent == nil || to.parent.dying()
	switch e := errnoOf(r[0]); {
	case e == nil:
		d.book.operate(to, op{call: call, ret: ret, in: input{verb: sends}})
	case errors.Is(e, syscall.EPERM) && !a.may(to):
	case errors.Is(e, syscall.ESRCH):
		d.book.operate(to, op{call: call, ret: ret, in: input{verb: sends, loose: loose}, out: syscall.ESRCH})
	case !d.book.excused(a, call):
		d.book.finding(to, "kill(%d, 0) by %s: %v", pid, a, e)
	}
}

// deadly sends a signal that ends an agent: by another of its session, or from any host.
func (d *driver) deadly(c *agent, sig int) {
	call := d.book.now()
	if a := d.pick(func(o *agent) bool { return o.may(c) && (!o.native || o.session == c.session) && o != c }); a != nil && d.rng.IntN(2) == 0 && a.cmd.TryLock() {
		defer a.cmd.Unlock()
		if r, err := d.tell(a, answerLimit, "kill %d %d", d.number(a, c), sig); err == nil && r[0] == 0 {
			return
		} else if err == nil && !d.book.excused(c, call) && !d.book.excused(a, call) && !d.ending(d.book.now()) {
			d.book.finding(c, "the signal %d that is to end %s: %v", sig, c, errnoOf(r[0]))
		}
	}
	for d.ctx.Err() == nil { // it has to end, or the rest of the deed has no sense
		h := d.anyHost(d.rng)
		err := d.controlKill(h, d.full(c), sig, false)
		if err == nil || errors.Is(err, syscall.ESRCH) || d.late() || d.ending(d.book.now()) {
			return
		}
		if !d.book.excused(c, call) && !d.book.suspect(call, h) {
			d.book.finding(c, "the signal %d that is to end %s, by the daemon of %s: %v", sig, c, h, err)
			return
		}
		select {
		case <-c.gone:
			return
		default:
		}
		pause(d.ctx, 100*time.Millisecond)
	}
}

// controlLimit is how long a daemon may take to answer, that of a host that fails included.
const controlLimit = 20 * time.Second

func (d *driver) controlKill(h names.HostName, pid names.Pid, sig int, group bool) error {
	ctx, cancel := context.WithTimeout(d.ctx, controlLimit)
	defer cancel()
	return control.Call(ctx, d.cluster.Host(h).Control(), control.OpKill, control.KillRequest{Pid: pid, Signal: sig, Group: group}, &struct{}{})
}

// stop stops a child of the agent, which is told so, and lets it go on, which it is told as well.
func (d *driver) stop(a *agent) {
	c := d.childOf(a)
	if c == nil || !c.cmd.TryLock() {
		return
	}
	defer c.cmd.Unlock()
	c.stops.Lock()
	defer c.stops.Unlock()
	d = &driver{session: d.session, ctx: context.WithoutCancel(d.ctx), rng: d.rng} // nobody would continue it after the round
	began := d.book.now()
	by := d.pick(func(o *agent) bool { return o != c && o != a && o.may(c) && (!o.native || o.session == d.session) })
	if by == nil || !by.cmd.TryLock() {
		by = a
	} else {
		defer by.cmd.Unlock()
	}
	for _, k := range []struct {
		sig     unix.Signal
		options int
		want    unix.WaitStatus
	}{{unix.SIGSTOP, unix.WUNTRACED, unix.WaitStatus(int(unix.SIGSTOP)<<8 | 0x7f)}, {unix.SIGCONT, unix.WCONTINUED, 0xffff}} {
		d.book.note(c, "%v by %s", k.sig, by)
		r, err := d.tell(by, answerLimit, "kill %d %d", d.number(by, c), int(k.sig))
		if err != nil || r[0] != 0 {
			_ = d.controlKill(c.home, d.full(c), int(unix.SIGCONT), false) // not to leave it stopped
			now := d.book.now()
			if err == nil && !d.book.excused(c, began) && !d.book.excused(by, began) && !d.ending(now) && !by.session.ending(now) && !c.dying() {
				d.book.finding(c, "%v by %s gave %v", k.sig, by, errnoOf(r[0]))
			}
			return
		}
		call := d.book.now()
		r, err = d.awaitChange(a, c, began, k.options)
		switch {
		case err != nil:
			_ = d.controlKill(c.home, d.full(c), int(unix.SIGCONT), false)
			return
		case r[0] == c.pid && !unix.WaitStatus(r[1]).Stopped() && !unix.WaitStatus(r[1]).Continued():
			d.tookChild(a, c, call, r, nil) // it has ended: by a fault
			return
		case r[0] != c.pid || unix.WaitStatus(r[1]) != k.want:
			d.book.finding(c, "wait of %s after %v gave %v", c, k.sig, r)
		}
		r, err = d.tell(a, answerLimit, "wait %d %d", c.pid, k.options|unix.WNOHANG)
		if err == nil && r[0] != 0 {
			if r[0] == c.pid && !unix.WaitStatus(r[1]).Stopped() && !unix.WaitStatus(r[1]).Continued() {
				d.tookChild(a, c, call, r, nil)
				return
			}
			if bornElsewhere(c) {
				continue // a job is stopped and continued with all that it has started and is in its group, this one perhaps
			}
			d.book.finding(c, "a second wait of %s after %v gave %v", c, k.sig, r)
		}
	}
	_, _ = d.tell(c, answerLimit, "ids")
}

// awaitChange has a wait for the stop of its child, or for its continuing. Of a stop it may never hear, natively as well: the kernel undoes those of a
// group that nobody outside of it looks after any more, and tells who is in it by SIGHUP. Then it is stopped again.
func (d *driver) awaitChange(a, c *agent, began time.Duration, options int) ([]int, error) {
	if options != unix.WUNTRACED {
		return d.tell(a, answerLimit, "wait %d %d", c.pid, options)
	}
	stopped := began
	return d.tellWhile(a, answerLimit, func() {
		if now := d.book.now(); c.hungUpSince(stopped) {
			d.book.count("stops undone, for their group was orphaned")
			d.book.note(c, "stopped again")
			_ = d.controlKill(c.home, d.full(c), int(unix.SIGSTOP), false) // what is not stopped is found by the wait
			stopped = now
		}
	}, "wait %d %d", c.pid, options)
}

func (a *agent) hungUpSince(t time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hungUp > t
}

// killGroup sends a signal to the group of an agent, and sees that each member gets it once.
func (d *driver) killGroup(a *agent) {
	if !d.groups.TryLock() { // somebody is making a child, or a group
		return
	}
	defer d.groups.Unlock()
	a.mu.Lock()
	pgid := a.pgid
	a.mu.Unlock()
	number := slotNumbers[d.rng.IntN(len(slotNumbers))]
	var all []*sent
	free := func(may bool) {
		for _, s := range all {
			s.to.free(s, may)
		}
	}
	call := d.book.now()
	for _, m := range d.book.present(func(o *agent) bool { return o.session == d.session }) {
		m.mu.Lock()
		in := m.pgid == pgid
		m.mu.Unlock()
		if !in {
			continue
		}
		s := d.book.slot(m, number, fmt.Sprintf("%s to group %d", a, pgid))
		if s == nil {
			free(false)
			return
		}
		all = append(all, s)
		d.book.note(m, "signal %d to its group, by %s", number, a)
	}
	target := -pgid
	if d.rng.IntN(3) == 0 {
		target = 0
	}
	r, err := d.tell(a, answerLimit, "kill %d %d", target, number)
	if err != nil || r[0] != 0 {
		// Of those that were all born elsewhere, and outlive their job, the home knows nothing.
		orphans := err == nil && r[0] == -int(unix.ESRCH) && !slices.ContainsFunc(all, func(s *sent) bool { return !bornElsewhere(s.to) })
		if err == nil && !orphans && !d.book.suspect(call) && !a.dying() && !d.ending(d.book.now()) {
			d.book.finding(a, "kill(%d, %d): %v", target, number, errnoOf(r[0]))
		}
		free(true)
		d.loosen(number)
		return
	}
	missed := d.book.suspect(call) // the call is then not known to have reached all hosts
	if missed {
		d.loosen(number)
	}
	for _, s := range all {
		came := false
		if !missed {
			if came = d.awaitSignal(s); !came {
				d.loosen(number)
			}
		}
		s.to.free(s, !came)
	}
}
