package soak

import (
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
)

// TestLinear: the model takes what a kernel may do, and nothing else.
func TestLinear(t *testing.T) {
	const ms = time.Millisecond
	end := op{10 * ms, never, input{verb: ends}, nil}
	wait := func(at time.Duration, out error) op { return op{at, at + ms, input{verb: waits}, out} }
	kill := func(at time.Duration, out error) op { return op{at, at + ms, input{verb: sends}, out} }
	loose := func(o op) op { o.in.loose = true; return o }
	for name, c := range map[string]struct {
		ops  []op
		want porcupine.CheckResult
	}{
		"a life":                             {[]op{kill(0, nil), wait(5*ms, errAlive), end, wait(20*ms, nil), wait(30*ms, syscall.ECHILD), kill(40*ms, syscall.ESRCH)}, porcupine.Ok},
		"a zombie can be signalled":          {[]op{end, kill(20*ms, nil), wait(30*ms, nil)}, porcupine.Ok},
		"it has not ended yet":               {[]op{end, wait(20*ms, errAlive), wait(30*ms, nil)}, porcupine.Ok},
		"waited for twice":                   {[]op{end, wait(20*ms, nil), wait(30*ms, nil)}, porcupine.Illegal},
		"waited for before its end":          {[]op{wait(0, nil), end}, porcupine.Illegal},
		"alive after it was waited for":      {[]op{end, wait(20*ms, nil), wait(30*ms, errAlive)}, porcupine.Illegal},
		"signalled after it was waited for":  {[]op{end, wait(20*ms, nil), kill(30*ms, nil)}, porcupine.Illegal},
		"gone before its end":                {[]op{kill(0, syscall.ESRCH), end}, porcupine.Illegal},
		"gone and not waited for":            {[]op{end, kill(20*ms, syscall.ESRCH), wait(30*ms, nil)}, porcupine.Illegal},
		"gone elsewhere, and not waited for": {[]op{end, loose(kill(20*ms, syscall.ESRCH)), wait(30*ms, nil)}, porcupine.Ok},
		"no child, and not waited for":       {[]op{end, wait(20*ms, syscall.ECHILD)}, porcupine.Illegal},
		"at the same time":                   {[]op{end, {20 * ms, 40 * ms, input{verb: waits}, nil}, kill(30*ms, syscall.ESRCH), kill(20*ms, nil)}, porcupine.Ok},
		"a wait that was not answered":       {[]op{end, {20 * ms, never, input{verb: waits}, errUnknown}, kill(30*ms, syscall.ESRCH)}, porcupine.Ok},
	} {
		if got := linear(c.ops); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// bench is a book with two agents at h1, of which one runs elsewhere.
func bench() (b *book, near, far *agent) {
	b = newBook(io.Discard)
	s := &session{rig: &rig{book: b}, name: "s", home: "h1", user: "root", loose: map[int]bool{}}
	grow := func(name string, at names.HostName, pid int) *agent {
		a := &agent{name: name, session: s, home: "h1", at: at, pid: pid, up: make(chan struct{}), gone: make(chan struct{}), slots: map[int]*sent{}, spawned: b.now()}
		b.began(a)
		return a
	}
	return b, grow("near", "h1", 100), grow("far", "h2", 101)
}

// TestFindings: each thing that must not be is found, and what a fault excuses is not.
func TestFindings(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(b *book, near, far *agent)
		want string // part of the finding; empty: there is none
	}{
		{"a number twice", func(b *book, near, far *agent) {
			b.began(&agent{name: "third", session: near.session, home: "h1", at: "h3", pid: 101, up: make(chan struct{}), gone: make(chan struct{})})
		}, "are both 101"},
		{"the same number at another home", func(b *book, near, far *agent) {
			b.began(&agent{name: "third", session: near.session, home: "h2", at: "h3", pid: 101, up: make(chan struct{}), gone: make(chan struct{})})
		}, ""},
		{"an end without a reason", func(b *book, near, far *agent) { b.ended(far) }, "for no reason"},
		{"an end with its host", func(b *book, near, far *agent) { b.failing("h2"); b.ended(far) }, ""},
		{"an end with its home", func(b *book, near, far *agent) { b.failing("h1"); b.ended(far) }, ""},
		{"an end with another host", func(b *book, near, far *agent) { b.failing("h3"); b.ended(far) }, "for no reason"},
		{"an end after a fault", func(b *book, near, far *agent) {
			b.faults = append(b.faults, fault{"h2", 1, 2})
			far.spawned = time.Second
			b.ended(far)
		}, "for no reason"},
		{"the right status", func(b *book, near, far *agent) { b.cause(far, exited(3), ""); b.waited(far, exited(3)) }, ""},
		{"the wrong status", func(b *book, near, far *agent) { b.cause(far, exited(3), ""); b.waited(far, exited(4)) }, "nobody did"},
		{"lost", func(b *book, near, far *agent) { b.failing("h2"); b.waited(far, lost) }, ""},
		{"lost without a fault", func(b *book, near, far *agent) { b.waited(far, lost) }, "nobody did"},
		{"killed with its session", func(b *book, near, far *agent) { far.session.end(); b.waited(far, killedBy(unix.SIGKILL)) }, ""},
		{"waited for twice", func(b *book, near, far *agent) {
			b.cause(far, exited(0), "")
			b.waited(far, exited(0))
			b.waited(far, exited(0))
		}, "twice"},
		{"a signal", func(b *book, near, far *agent) { b.arrived(far, 40, siQueue, 100, b.sending(near, far, 40).id) }, ""},
		{"a signal to another", func(b *book, near, far *agent) { b.arrived(near, 40, siQueue, 100, b.sending(near, far, 40).id) }, "which is"},
		{"another number", func(b *book, near, far *agent) { b.arrived(far, 41, siQueue, 100, b.sending(near, far, 40).id) }, "which is"},
		{"another sender", func(b *book, near, far *agent) { b.arrived(far, 40, siQueue, 7, b.sending(near, far, 40).id) }, "not from near"},
		{"a signal twice", func(b *book, near, far *agent) {
			s := b.sending(near, far, 40)
			b.arrived(far, 40, siQueue, 100, s.id)
			b.arrived(far, 40, siQueue, 100, s.id)
		}, "came 2 times"},
		{"a signal that nobody sent", func(b *book, near, far *agent) { b.arrived(far, 50, 0, 100, 0) }, "nobody sent it"},
		{"one without a value", func(b *book, near, far *agent) { b.slot(far, 50, ""); b.arrived(far, 50, 0, 100, 0) }, ""},
		{"one without a value, twice", func(b *book, near, far *agent) {
			b.slot(far, 50, "")
			b.arrived(far, 50, 0, 100, 0)
			b.arrived(far, 50, 0, 100, 0)
		}, "came 2 times"},
		{"a history that cannot be", func(b *book, near, far *agent) {
			b.operate(far, op{1, 2, input{verb: waits}, nil})
			b.checkLinear()
		}, "no order"},
	} {
		b, near, far := bench()
		c.do(b, near, far)
		if c.want == "" && len(b.findings) > 0 || c.want != "" && !slices.ContainsFunc(b.findings, func(f string) bool { return strings.Contains(f, c.want) }) {
			t.Errorf("%s: %q, want one with %q", c.name, b.findings, c.want)
		}
	}
}
