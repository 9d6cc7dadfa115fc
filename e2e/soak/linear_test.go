package soak

import (
	"fmt"
	"math"
	"syscall"
	"time"

	"github.com/anishathalye/porcupine"
)

// never is the end of an operation of which nothing was heard.
const never = time.Duration(math.MaxInt64)

// verb is an operation on a process.
type verb int

const (
	ends  verb = iota // it ends: from then on it is a zombie
	sends             // a signal, or a question where it is
	waits             // its parent waits for it
)

type input struct {
	verb verb
	// loose: the process may be gone as soon as it has ended. Its parent is not who waits for it, or whoever asks does so on another
	// host, where nothing keeps a dead process for its parent.
	loose bool
}

// op is one operation of the history of a process.
type op struct {
	call, ret time.Duration
	in        input
	out       error // nil; ESRCH or ECHILD; errAlive: a wait that had nothing to tell; errUnknown: not answered
}

var (
	errAlive   = fmt.Errorf("it lives")
	errUnknown = fmt.Errorf("not answered")
)

// operate adds an operation to the history of an agent.
func (b *book) operate(a *agent, o op) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ops[a] = append(b.ops[a], o)
}

// A process lives, is dead, and is waited for.
const (
	lives = iota
	dead
	over
)

var process = porcupine.NondeterministicModel{
	Init: func() []any { return []any{lives} },
	Step: func(state, in, out any) []any {
		i, _ := in.(input)
		err, _ := out.(error)
		s, _ := state.(int)
		if err == errUnknown {
			if i.verb == waits && s == dead { // it may have fetched it
				return []any{dead, over}
			}
			return []any{s}
		}
		ok := false
		next := s
		switch i.verb {
		case ends:
			ok = s == lives
			next = dead
		case sends:
			switch err {
			case nil:
				ok = s != over
			case syscall.ESRCH:
				ok = s == over || s == dead && i.loose
			}
		case waits:
			switch err {
			case nil:
				ok, next = s == dead, over
			case errAlive:
				ok = s == lives || s == dead && i.loose
			case syscall.ECHILD:
				ok = s == over
			}
		}
		if !ok {
			return nil
		}
		return []any{next}
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprint(in, out) },
}

// linear says whether there is an order of the operations on one process that explains what came of them.
func linear(ops []op) porcupine.CheckResult {
	var history []porcupine.Operation
	for i, o := range ops {
		history = append(history, porcupine.Operation{ClientId: i, Input: o.in, Output: o.out, Call: int64(o.call), Return: int64(o.ret)})
	}
	return porcupine.CheckOperationsTimeout(process.ToModel(), history, 10*time.Second)
}

// checkLinear checks the histories of a round.
func (b *book) checkLinear() {
	b.mu.Lock()
	all := b.ops
	b.mu.Unlock()
	for a, ops := range all {
		switch linear(ops) {
		case porcupine.Illegal:
			text := ""
			for _, o := range ops {
				text += fmt.Sprintf("\n\t\t%.4f..%.4f %v %v", o.call.Seconds(), o.ret.Seconds(), o.in, o.out)
			}
			b.finding(a, "no order of the operations on %s explains what came of them:%s", a, text)
		case porcupine.Unknown:
			b.count("histories too long to check")
		case porcupine.Ok:
			b.count("histories checked")
		}
	}
}
