package split

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// passed are the signals that a caller passes on to its program.
var passed = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM}

// runAsCaller runs the program in place of this process: signals and stops of this process are passed on, and between terminals
// the program gets a terminal of the host.
func (c *Cmd) runAsCaller() error {
	in, _ := c.Stdin.(*os.File)
	out, _ := c.Stdout.(*os.File)
	if in != nil && out != nil && term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(out.Fd())) {
		return c.runTTY(in, out)
	}
	sigs := make(chan os.Signal, 8)
	signal.Notify(sigs, append(slices.Clone(passed), unix.SIGTSTP, unix.SIGCONT)...)
	defer signal.Stop(sigs)
	if err := c.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case <-done:
				return
			case s := <-sigs:
				c.passOn(s.(syscall.Signal))
			}
		}
	}()
	return c.Wait()
}

// passOn passes one signal. A stop stops the program's whole group, which as an orphan would ignore SIGTSTP, and then this process.
func (c *Cmd) passOn(sig syscall.Signal) {
	if sig != unix.SIGTSTP {
		_ = c.Signal(sig)
		return
	}
	_ = c.Signal(unix.SIGSTOP)
	_ = unix.Kill(os.Getpid(), unix.SIGSTOP) // the SIGCONT that ends this is passed on like any other
}

// runTTY relays between this terminal, made raw, and one in the host.
func (c *Cmd) runTTY(in, out *os.File) error {
	req := c.request()
	req.TTY = true
	if ws, err := unix.IoctlGetWinsize(int(in.Fd()), unix.TIOCGWINSZ); err == nil {
		req.Rows, req.Cols = ws.Row, ws.Col
	}
	var own []*os.File
	if f, ok := c.Stderr.(*os.File); ok && !term.IsTerminal(int(f.Fd())) {
		own = []*os.File{f}
	}
	sigs := make(chan os.Signal, 8)
	signal.Notify(sigs, append(slices.Clone(passed), unix.SIGWINCH)...)
	defer signal.Stop(sigs)
	conn, err := c.host.dial(c.ctx)
	if err != nil {
		return err
	}
	c.conn = conn
	defer c.finish()
	var e execEvent
	err = conn.Open(opExec, req, own...)
	var files []*os.File
	if err == nil {
		files, err = conn.Receive(&e)
	}
	if err != nil {
		return c.explain(err)
	}
	defer closeAll(files)
	if len(files) != 1 {
		return fmt.Errorf("%s: its init sent no terminal", c.host.name)
	}
	r := &relay{cmd: c, in: in, out: out, master: files[0]}
	if err := r.raw(); err != nil {
		return err
	}
	defer r.restore()
	return r.run(sigs)
}

// relay carries a terminal session.
type relay struct {
	cmd         *Cmd
	in, out     *os.File
	master      *os.File
	mu          sync.Mutex // guards saved
	saved       *term.State
	outputEnded chan struct{}
}

func (r *relay) raw() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	st, err := term.MakeRaw(int(r.in.Fd()))
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	r.saved = st
	return nil
}

func (r *relay) restore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.saved != nil {
		_ = term.Restore(int(r.in.Fd()), r.saved)
		r.saved = nil
	}
}

func (r *relay) run(sigs <-chan os.Signal) error {
	r.outputEnded = make(chan struct{})
	go func() {
		defer close(r.outputEnded)
		_, _ = io.Copy(r.out, r.master) // EIO: the last program left the terminal
	}()
	stopIn := r.input()
	defer stopIn()
	events := make(chan execEvent)
	fault := make(chan error, 1)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			var e execEvent
			files, err := r.cmd.conn.Receive(&e)
			closeAll(files)
			if err != nil {
				fault <- err
				return
			}
			select {
			case events <- e:
			case <-done:
				return
			}
		}
	}()
	for {
		select {
		case s := <-sigs:
			if s == unix.SIGWINCH {
				r.resize()
			} else {
				_ = r.cmd.Signal(s.(syscall.Signal))
			}
		case err := <-fault:
			r.drain()
			return r.cmd.explain(err)
		case e := <-events:
			switch e.Kind {
			case execStopped:
				if err := r.suspend(); err != nil {
					return err
				}
			case execExited:
				r.drain()
				if e.Code != 0 || e.Signal != 0 {
					return &ExitError{Code: e.Code, Signal: syscall.Signal(e.Signal)}
				}
				return nil
			}
		}
	}
}

// input copies from our terminal, woken by a pipe when it is to stop: a plain read would swallow the next key.
func (r *relay) input() (stop func()) {
	wakeR, wakeW, err := os.Pipe()
	if err != nil {
		return func() {}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		fds := []unix.PollFd{{Fd: int32(r.in.Fd()), Events: unix.POLLIN}, {Fd: int32(wakeR.Fd()), Events: unix.POLLIN}}
		buf := make([]byte, 32<<10)
		for {
			if _, err := unix.Poll(fds, -1); err != nil {
				if errors.Is(err, unix.EINTR) {
					continue
				}
				return
			}
			if fds[1].Revents != 0 {
				return
			}
			n, err := unix.Read(int(r.in.Fd()), buf)
			if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
				continue
			}
			if n <= 0 || err != nil {
				return
			}
			if _, err := r.master.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	return func() {
		wakeW.Close()
		_ = r.master.SetWriteDeadline(time.Unix(1, 0))
		<-ended
		wakeR.Close()
	}
}

func (r *relay) resize() {
	if ws, err := unix.IoctlGetWinsize(int(r.in.Fd()), unix.TIOCGWINSZ); err == nil {
		r.control(func(fd int) { _ = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, ws) })
	}
}

// control uses the master's descriptor without making it block, as Fd would.
func (r *relay) control(f func(fd int)) {
	if rc, err := r.master.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { f(int(fd)) })
	}
}

// suspend stops our own process group, as the terminal would have done, and lets the program go on when we do.
func (r *relay) suspend() error {
	// The stop reaches this thread a moment after kill returned: only SIGCONT says that it is over.
	goOn := make(chan os.Signal, 1)
	signal.Notify(goOn, unix.SIGCONT)
	defer signal.Stop(goOn)
	r.restore()
	if err := unix.Kill(0, unix.SIGSTOP); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	select {
	case <-goOn:
	case <-r.cmd.ctx.Done():
		return r.cmd.ctx.Err()
	}
	if err := r.raw(); err != nil {
		return err
	}
	r.resize()
	return r.cmd.Signal(unix.SIGCONT)
}

// drain shows what the program wrote before it ended. A child of it may keep the terminal open; then silence is the end.
func (r *relay) drain() {
	t := time.NewTimer(200 * time.Millisecond)
	defer t.Stop()
	select {
	case <-r.outputEnded:
	case <-t.C:
		_ = r.master.SetReadDeadline(time.Unix(1, 0))
		<-r.outputEnded
	}
}
