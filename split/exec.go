package split

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
)

// Cmd is a program in a host, used like exec.Cmd. The zero Dir is /; a nil Env is this process's environment.
type Cmd struct {
	Args   []string
	Env    []string
	Dir    string
	User   string // empty: root
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer

	dirElse bool
	host    *Host
	ctx     context.Context
	conn    *control.Conn
	pid     int
	stop    func() bool
	copies  sync.WaitGroup
	pipes   []*os.File // our ends
	pipeErr error
	mu      sync.Mutex // guards pipeErr
}

// ExitError says that a program in a host did not end well.
type ExitError struct {
	Code   int            // exit status, when Signal is 0
	Signal syscall.Signal // that killed it
}

func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return "killed by " + unix.SignalName(e.Signal)
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// Status is the exit status a shell would show.
func (e *ExitError) Status() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

// ErrLost says that the host went away while a program ran in it.
var ErrLost = errors.New("the host crashed or was killed")

// Command prepares a program. When ctx ends it gets SIGHUP, and SIGKILL a second later.
func (h *Host) Command(ctx context.Context, args ...string) *Cmd {
	return &Cmd{Args: args, host: h, ctx: ctx}
}

// request fills in what the init is asked.
func (c *Cmd) request() execRequest {
	r := execRequest{Args: c.Args, Env: c.Env, Dir: c.Dir, DirElse: c.dirElse, User: c.User}
	if r.Env == nil {
		r.Env = os.Environ()
	}
	return r
}

// dial opens a connection to the host's init, or says why there is none.
func (h *Host) dial(ctx context.Context) (*control.Conn, error) {
	_, st, err := h.state()
	if err != nil {
		return nil, err
	}
	if !st.alive() {
		return nil, h.errDown()
	}
	if st.Frozen {
		return nil, fmt.Errorf("%s is frozen: let it go on with 'onehost split thaw %s%s'", h.name, h.name, h.in.flags())
	}
	c, err := control.Dial(ctx, h.in.initSocket(h.name))
	if err != nil {
		return nil, fmt.Errorf("%s's init does not answer: %w", h.name, errors.Unwrap(err))
	}
	return c, nil
}

// Start starts the program and returns once it runs; a program that cannot run is an error here.
func (c *Cmd) Start() error {
	files, err := c.files()
	defer closeAll(files.ours)
	if err != nil {
		c.closePipes()
		return err
	}
	conn, err := c.host.dial(c.ctx)
	if err != nil {
		c.closePipes()
		return err
	}
	c.conn = conn
	c.stop = context.AfterFunc(c.ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	var e execEvent
	err = conn.Open(opExec, c.request(), files.all...)
	if err == nil {
		var came []*os.File
		came, err = conn.Receive(&e)
		closeAll(came)
	}
	if err != nil {
		c.finish()
		c.closePipes()
		return c.explain(err)
	}
	c.pid = e.Pid
	return nil
}

// explain turns the end of a connection into what it means.
func (c *Cmd) explain(err error) error {
	var f *control.Failure
	switch {
	case c.ctx.Err() != nil:
		return fmt.Errorf("%s in %s: %w", c.Args[0], c.host.name, c.ctx.Err())
	case errors.As(err, &f):
		return fmt.Errorf("%s: %w", c.host.name, err)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("%s: %w", c.host.name, ErrLost)
	}
	return fmt.Errorf("%s: %w", c.host.name, err)
}

// finish ends the connection; the init then ends the program if it still runs.
func (c *Cmd) finish() {
	if c.stop != nil {
		c.stop()
	}
	c.conn.Close()
}

// Pid is the host's own number of the program, once started.
func (c *Cmd) Pid() int { return c.pid }

// Signal sends a signal to the program's process group.
func (c *Cmd) Signal(sig syscall.Signal) error { return c.conn.Send(execOrder{Signal: int(sig)}) }

// Wait waits for the program to end, and for its output if that goes to something other than files. The error is an
// *ExitError if it ran and failed, and wraps ErrLost if the host went away.
func (c *Cmd) Wait() error {
	var e execEvent
	for e.Kind != execExited {
		came, err := c.conn.Receive(&e)
		closeAll(came)
		if err != nil {
			c.finish()
			c.closePipes()
			c.copies.Wait()
			return c.explain(err)
		}
	}
	release := context.AfterFunc(c.ctx, c.closePipes) // a child of the program may hold its output open
	c.copies.Wait()
	release()
	c.finish()
	c.closePipes()
	if e.Code != 0 || e.Signal != 0 {
		return &ExitError{Code: e.Code, Signal: syscall.Signal(e.Signal)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pipeErr
}

// Run is Start and Wait.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the program and returns what it wrote to stdout.
func (c *Cmd) Output() ([]byte, error) {
	var out lockedBuffer
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err
}

// CombinedOutput runs the program and returns what it wrote to stdout and stderr.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var out lockedBuffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}
