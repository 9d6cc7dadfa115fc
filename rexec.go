package onehost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// Cmd is a command for Rexec. Its fields are as those of exec.Cmd.
type Cmd struct {
	Args []string // the program, looked up in the PATH that it will have, and its arguments
	Env  []string // NAME=VALUE, laid over what a login of this user on the host has
	// Dir is the working directory. Where the host has none of that name, or the user may not enter it, it is the user's home directory
	// there, else /. Empty: as this process's.
	Dir    string
	Stdin  io.Reader // nil: there is no input
	Stdout io.Writer // nil: the output is thrown away
	Stderr io.Writer // the same as Stdout is allowed; then one goroutine at a time writes to it
}

// Proc is a command that Rexec has started.
type Proc struct {
	Cmd
	Pid  Pid            // its number, of the host that it runs on
	Host names.HostName // that host

	ctx    context.Context
	call   *control.OnCall
	stop   func() bool
	output sync.WaitGroup
	mu     sync.Mutex // guards failed
	failed error      // the first write that went wrong
	once   sync.Once  // of Wait
	err    error      // of Wait
}

// ExitError says that a command ran and did not end with status 0.
type ExitError struct {
	Code   int            // exit status, when Signal is 0
	Signal syscall.Signal // that ended it
	Core   bool           // and it dumped core there
}

func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return "signal: " + e.Signal.String()
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// Rexec starts a command as a process of another host, given by its name or its number, or of this one: in that host's own tree, with the
// credentials of this process. It returns when the command runs. A command that cannot be executed gives the errno of execve(2),
// ENOENT and EACCES among them; a host that is not in the cluster gives an error that names those that are.
//
// The command lives as long as ctx and this process: when either ends, or the way to the host is cut, it and all that it started gets
// SIGHUP, and what lives 2 s later is killed. Call Wait to give up what Rexec holds.
func Rexec(ctx context.Context, host string, cmd Cmd) (*Proc, error) {
	if len(cmd.Args) == 0 {
		return nil, fmt.Errorf("rexec on %s: no command: %w", host, syscall.EINVAL)
	}
	p := &Proc{Cmd: cmd, ctx: ctx}
	var ours, theirs [3]*os.File
	done := func(files [3]*os.File) {
		for _, f := range files {
			if f != nil {
				f.Close()
			}
		}
	}
	for i := range ours {
		r, w, err := os.Pipe()
		if err != nil {
			done(ours)
			done(theirs)
			return nil, fmt.Errorf("rexec on %s: %w", host, err)
		}
		if ours[i], theirs[i] = r, w; i == 0 {
			ours[i], theirs[i] = w, r
		}
	}
	call, err := control.StartOn(ctx, socket(), control.OnCommand{Host: host, Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir}, theirs[:]...)
	done(theirs)
	if err != nil {
		done(ours)
		return nil, fmt.Errorf("rexec on %s: %w", host, err)
	}
	p.call, p.Pid, p.Host = call, call.Pid, call.Host
	p.stop = context.AfterFunc(ctx, func() { call.Close() })
	go p.input(ours[0])
	out, errs := cmd.Stdout, cmd.Stderr
	if out != nil && same(out, errs) {
		out = &locked{w: out}
		errs = out
	}
	p.output.Go(func() { p.copy(out, ours[1]) })
	p.output.Go(func() { p.copy(errs, ours[2]) })
	return p, nil
}

// same reports whether two writers are one.
func same(a, b io.Writer) bool {
	defer func() { _ = recover() }() // not comparable: not the same
	return a == b
}

func (p *Proc) input(w *os.File) {
	defer w.Close()
	if p.Stdin != nil {
		_, err := io.Copy(w, p.Stdin)
		if !errors.Is(err, syscall.EPIPE) { // a command need not read all
			p.fail(err)
		}
	}
}

// copy brings one descriptor's output to its writer. A writer that fails closes the pipe, as one does that is gone.
func (p *Proc) copy(w io.Writer, r *os.File) {
	defer r.Close()
	if w == nil {
		w = io.Discard
	}
	_, err := io.Copy(w, r)
	p.fail(err)
}

// locked lets stdout and stderr share a writer.
type locked struct {
	mu sync.Mutex // held while w is written to
	w  io.Writer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func (p *Proc) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil {
		p.failed = err
	}
}

// Signal sends a signal to the process group of the command. It returns when the daemon of this host has been told. A command that
// has ended needs none: then it gives EPIPE or net.ErrClosed.
func (p *Proc) Signal(sig syscall.Signal) error { return p.call.Signal(sig) }

// Wait waits until the command has ended and all of its output is written, also what it left running has of it. It does not wait for Stdin:
// a Read that is under way goes on. The error is an *ExitError if the command ran and failed, ctx's if that ended first, one that
// wraps EHOSTDOWN if the host was lost, else the first failure of reading Stdin or writing Stdout or Stderr. A second Wait gives the
// same.
func (p *Proc) Wait() error {
	p.once.Do(func() { p.err = p.wait() })
	return p.err
}

func (p *Proc) wait() error {
	e, err := p.call.Wait()
	p.output.Wait()
	p.stop()
	p.call.Close()
	switch {
	case err != nil && p.ctx.Err() != nil:
		return fmt.Errorf("%s on %s: %w", p.Args[0], p.Host, p.ctx.Err())
	case err != nil:
		return fmt.Errorf("%s on %s: %w", p.Args[0], p.Host, err)
	case e.Code != 0 || e.Signal != 0:
		return &ExitError{Code: e.Code, Signal: syscall.Signal(e.Signal), Core: e.Core}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}
