package soak

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/split"
)

// ids asks an agent who it is.
func (d *driver) ids(a *agent) {
	call := d.book.now()
	r, err := d.tell(a, answerLimit, "ids")
	if err != nil {
		return
	}
	a.mu.Lock()
	pid, ppid, pgid, sid := a.pid, a.ppid, a.pgid, a.sid
	a.mu.Unlock()
	if r[0] != pid || r[2] != pgid || r[3] != sid {
		d.book.finding(a, "%s is %d in group %d, session %d; it says %v", a, pid, pgid, sid, r)
	}
	if p := a.parent; p != nil && !p.dying() && r[1] != ppid {
		d.book.finding(a, "%s has the parent %d, and says %v", a, ppid, r)
	}
	if p := a.parent; p != nil {
		p.mu.Lock()
		over := p.reaped
		p.mu.Unlock()
		if over != 0 && over < call && r[1] == p.pid && !d.book.excused(a, over) {
			d.book.finding(a, "%s still has the parent %d, which has been waited for", a, p.pid)
		}
	}
}

// regroup lets an agent make a group or a session of its own. What it has started before would come along, so it has not.
func (d *driver) regroup(a *agent) {
	a.mu.Lock()
	fit := a.children == 0 && a.parent != nil && a.pgid != a.pid
	a.mu.Unlock()
	if !fit || !d.groups.TryLock() {
		return
	}
	defer d.groups.Unlock()
	verb := []string{"setpgid 0 0", "setsid"}[d.rng.IntN(2)]
	r, err := d.tell(a, answerLimit, "%s", verb)
	if err != nil {
		return
	}
	if r[0] < 0 {
		if !d.book.excused(a, a.spawned) {
			d.book.finding(a, "%s of %s: %v", verb, a, errnoOf(r[0]))
		}
		return
	}
	a.mu.Lock()
	a.pgid = a.pid
	if verb == "setsid" {
		a.sid = a.pid
	}
	a.mu.Unlock()
	d.ids(a)
	d.knownAtHome(a)
}

// knownAtHome waits until the home of an agent knows which group it is in. Until then a signal to the old one may still reach it.
func (d *driver) knownAtHome(a *agent) {
	call := d.book.now()
	var last []control.Proc
	for end := time.Now().Add(answerLimit); time.Now().Before(end); pause(d.ctx, 5*time.Millisecond) {
		ctx, cancel := context.WithTimeout(d.ctx, controlLimit)
		r, err := control.Procs(ctx, d.cluster.Host(a.home).Control(), control.ProcsRequest{Hosts: []names.HostName{a.home, a.at}})
		cancel()
		if d.passed(a, a.home, call) {
			return
		}
		last = nil
		for _, p := range r.Procs {
			if err == nil && p.Pid == d.full(a) {
				last = append(last, p)
			}
		}
		if len(last) == 1 && last[0].PGid == d.full(a) {
			return
		}
	}
	d.book.finding(a, "to its home, %s is not in its own group: %+v", a, last)
}

// where asks any host's daemon where an agent runs.
func (d *driver) where(*agent) {
	to := d.pick(func(*agent) bool { return true })
	if to == nil {
		return
	}
	h := d.anyHost(d.rng)
	call := d.book.now()
	ctx, cancel := context.WithTimeout(d.ctx, controlLimit)
	defer cancel()
	var r control.WhereReply
	err := control.Call(ctx, d.cluster.Host(h).Control(), control.OpWhere, control.PidRequest{Pid: d.full(to)}, &r)
	if d.passed(to, h, call) {
		return
	}
	if err != nil || r.Host != to.at || r.Home != to.home || r.Pid != d.full(to) {
		d.book.finding(to, "%s says that %s, which runs on %s, is %+v (%v)", h, to, to.at, r, err)
	}
}

// passed says whether an answer of a daemon about an agent that was asked for at call means nothing by now.
func (d *driver) passed(to *agent, h names.HostName, call time.Duration) bool {
	now := d.book.now()
	return d.late() || to.dying() || to.session.ending(now) || d.book.suspect(call, h) || d.book.excused(to, call)
}

// ps lists all processes, and sees that every agent is in the list once, where it runs.
func (d *driver) ps(*agent) {
	h := d.anyHost(d.rng)
	call := d.book.now()
	all := d.book.living(func(*agent) bool { return true })
	d.book.mu.Lock()
	ever := append([]*agent(nil), d.book.agents...)
	d.book.mu.Unlock()
	var before []*agent // that had been waited for
	for _, a := range ever {
		a.mu.Lock()
		if a.reaped != 0 && call-a.reaped < 2*time.Second {
			before = append(before, a)
		}
		a.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(d.ctx, controlLimit)
	defer cancel()
	r, err := control.Procs(ctx, d.cluster.Host(h).Control(), control.ProcsRequest{})
	if d.late() || d.book.suspect(call, h) {
		return
	}
	if err != nil {
		d.book.finding(nil, "the list of %s: %v", h, err)
		return
	}
	for of, why := range r.Failed {
		if !d.book.suspect(call, of) {
			d.book.finding(nil, "the list of %s lacks %s: %s", h, of, why)
		}
	}
	listed := map[names.Pid][]control.Proc{}
	for _, p := range r.Procs {
		listed[p.Pid] = append(listed[p.Pid], p)
	}
	for pid, ps := range listed {
		if len(ps) > 1 && !d.book.suspect(call) {
			d.book.finding(nil, "the list of %s has %v twice: %+v", h, pid, ps)
		}
	}
	for _, a := range all {
		if d.passed(a, h, call) {
			continue
		}
		if ps := listed[d.full(a)]; len(ps) != 1 || ps[0].Host != a.at || ps[0].Home != a.home {
			d.book.finding(a, "the list of %s has of %s, which runs on %s: %+v", h, a, a.at, ps)
		}
	}
	for _, a := range before {
		if ps := listed[d.full(a)]; len(ps) > 0 && !d.book.excused(a, a.spawned) && strings.HasSuffix(ps[0].Command, " "+a.name) && ps[0].State != "Z" {
			d.book.finding(a, "the list of %s has %s, which has been waited for: %+v", h, a, ps)
		}
	}
}

// command asks by the commands that a person has.
func (d *driver) command(*agent) {
	to := d.pick(func(*agent) bool { return true })
	h := d.anyHost(d.rng)
	if to == nil {
		return
	}
	name := fmt.Sprintf("%s:%d", to.home, to.pid)
	call := d.book.now()
	switch d.rng.IntN(2) {
	case 0:
		out, err := d.run(h, "onehost", "where", name)
		if !d.passed(to, h, call) && (err != nil || out != name+" "+string(to.at)+"\n") {
			d.book.finding(to, "onehost where on %s says of %s, which runs on %s: %q (%v)", h, to, to.at, out, err)
		}
	default:
		number := slotNumbers[d.rng.IntN(len(slotNumbers))]
		s := d.book.slot(to, number, "onehost kill on "+string(h))
		if s == nil {
			return
		}
		d.book.note(to, "signal %d by onehost kill on %s", number, h)
		out, err := d.run(h, "onehost", "kill", "-"+strconv.Itoa(number), name)
		var exit *split.ExitError
		switch {
		case d.late() || d.book.suspect(call, h):
			to.free(s, true)
			return
		case errors.As(err, &exit) && strings.Contains(out, "no such process"):
			err = syscall.ESRCH
		case err != nil:
			err = fmt.Errorf("%w: %s", err, out)
		}
		came := d.judgeSend(nil, to, call, err, s) && d.awaitSignal(s)
		to.free(s, !came)
	}
}

// run runs a command on a host to its end.
func (d *driver) run(h names.HostName, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(d.ctx, controlLimit)
	defer cancel()
	cmd := d.cluster.Host(h).Command(ctx, args...)
	cmd.Env = environment
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// watched is a wait for an agent by somebody who is not its parent.
type watched struct {
	h     names.HostName
	began time.Duration
	done  chan error
	reply control.WaitReply
	stop  context.CancelFunc
}

// watchEnd sometimes begins such a wait, on any host.
func (d *driver) watchEnd(c *agent) *watched {
	if d.rng.IntN(3) > 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(d.ctx)
	w := &watched{h: d.anyHost(d.rng), began: d.book.now(), done: make(chan error, 1), stop: cancel}
	c1, err := control.Dial(ctx, d.cluster.Host(w.h).Control())
	if err == nil {
		if err = c1.Open(control.OpWait, control.PidRequest{Pid: d.full(c)}); err != nil {
			c1.Close()
		}
	}
	if err != nil {
		cancel()
		return nil
	}
	d.running.Go(func() {
		defer c1.Close()
		defer context.AfterFunc(ctx, func() { c1.Close() })()
		_, err := c1.Receive(&w.reply)
		w.done <- err
	})
	return w
}

// sawEnd sees that such a wait has ended too, and with the same.
func (d *driver) sawEnd(c *agent, w *watched) {
	if w == nil {
		return
	}
	defer w.stop()
	select {
	case <-c.gone:
	default:
		return
	}
	timer := time.NewTimer(endLimit)
	defer timer.Stop()
	excused := func() bool {
		return d.late() || d.book.excused(c, w.began) || d.book.suspect(w.began, w.h) || d.ending(d.book.now())
	}
	select {
	case err := <-w.done:
		s := exited(w.reply.Code)
		if w.reply.Signal != 0 {
			s = killedBy(unix.Signal(w.reply.Signal))
		}
		d.book.note(c, "a wait on %s: %+v, %v", w.h, w.reply, err)
		switch {
		case excused():
		case errors.Is(err, syscall.ESRCH): // it had ended before the daemon looked at it
		case err != nil || w.reply.Known && !d.book.plausible(c, s):
			d.book.finding(c, "a wait for %s on %s gave %+v (%v)", c, w.h, w.reply, err)
		case !w.reply.Known:
			d.book.count("waits from outside without a status")
		}
	case <-timer.C:
		c.mu.Lock()
		reaped := c.reaped != 0
		c.mu.Unlock()
		if reaped && !excused() { // else it is a zombie, for which its ghost still stands
			d.book.finding(c, "a wait for %s on %s does not end", c, w.h)
		}
	}
}
