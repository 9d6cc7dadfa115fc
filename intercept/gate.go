package intercept

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/onehost/onehost/sys"
)

// Gate lets execs that concern nobody pass before anything of the supervisor wakes up: see sys.Gate. A nil Gate lets nothing pass.
type Gate struct{ g *sys.Gate }

// Guard puts a gate before the listener's notifications: Serve hands on only what it does not let pass. Execs of names, last parts of
// paths or whole paths, are always handed on; command is the process whose execs are, too. Call it before Serve; nil means that this machine
// has no gate, or the names are too many for one.
func (l *Listener) Guard(names []string, command int) *Gate {
	g, err := sys.NewGate(l.fd, names, command)
	if err != nil {
		return nil
	}
	l.gate = g
	return &Gate{g}
}

// Spreader says that the children of the process, and it itself, are candidates from now on, or no longer. The keeper is never told.
func (g *Gate) Spreader(pid int, on bool) {
	if g == nil {
		return
	}
	more := 1
	if !on {
		more = -1
	}
	g.g.Watch(pid, on)
	g.g.Spreaders(more)
}

// Ghost says that the process is a ghost, whose exec means that it comes home, or no longer.
func (g *Gate) Ghost(pid int, on bool) {
	if g != nil {
		g.g.Watch(pid, on)
	}
}

// Settle says that the process stays here whatever it execs, or that it has ended.
func (g *Gate) Settle(pid int, on bool) {
	if g != nil {
		g.g.Settle(pid, on)
	}
}

// Hold says that every exec matters from now on, or no longer.
func (g *Gate) Hold(on bool) {
	if g != nil {
		g.g.Hold(on)
	}
}

// serveGate is Serve behind a gate.
func (l *Listener) serveGate(ctx context.Context, h Handler, rules map[int32]rule) error {
	defer context.AfterFunc(ctx, l.gate.Stop)()
	for {
		var raw sys.SeccompNotif
		switch err := l.gate.Receive(&raw); {
		case err == nil:
			dispatch(h, l.notification(&raw), rules[raw.Data.Nr])
		case errors.Is(err, io.EOF), errors.Is(err, os.ErrClosed):
			return ctx.Err()
		default:
			return fmt.Errorf("seccomp listener: %w", err)
		}
	}
}
