package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/onehost/onehost/control"
)

// onPassed are the signals that go on to a command elsewhere, unless whoever started us had them ignored.
var onPassed = []os.Signal{
	unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTSTP, unix.SIGCONT,
}

// lastOutput is how long the output that came before a host was lost may take to be written.
const lastOutput = time.Second

// onFront stands here in place of a command that runs elsewhere: what comes in is brought there, what it writes is written here, signals
// are passed on. The daemon has pipes, and never our own descriptors, which may be others' too.
type onFront struct {
	path           string
	cmd            control.OnCommand
	stdin          io.Reader
	stdout, stderr io.Writer
	keyboard       *os.File // our terminal, if standard input is one

	call   *control.OnCall
	output sync.WaitGroup
	hungUp chan struct{} // our terminal is gone
	stop   bool          // we were told to stop before the command was there

	mu    sync.Mutex // guards saved
	saved *term.State
}

// run runs the command to its end.
func (o *onFront) run(ctx context.Context) (control.OnEvent, error) {
	o.hungUp = make(chan struct{})
	sigs := make(chan os.Signal, 16)
	for _, s := range append([]os.Signal{unix.SIGWINCH}, onPassed...) {
		if !signal.Ignored(s) {
			signal.Notify(sigs, s)
		}
	}
	defer signal.Stop(sigs)
	broken := make(chan os.Signal, 1) // so that a reader who is gone is an error of write, and the command hears of it
	signal.Notify(broken, unix.SIGPIPE)
	defer signal.Stop(broken)
	if o.cmd.TTY {
		o.cmd.Rows, o.cmd.Cols = o.size()
	}
	in, outs, sig, err := o.beginUnless(ctx, sigs)
	if err != nil || sig != 0 {
		return control.OnEvent{Kind: control.OnExited, Signal: int(sig)}, err
	}
	defer o.call.Close()
	if o.cmd.TTY && o.keyboard != nil {
		if err := o.raw(); err != nil {
			return control.OnEvent{}, err
		}
		defer o.restore()
	}
	go o.input(in)
	for i, r := range outs {
		o.output.Go(func() { o.write(r, []io.Writer{o.stdout, o.stderr}[i]) })
	}
	return o.attend(sigs)
}

// beginUnless begins, unless a signal comes before the command is there to take it: then that is ours. One that stops waits for the command, which may run
// already and is to stop as well.
func (o *onFront) beginUnless(ctx context.Context, sigs <-chan os.Signal) (*os.File, []*os.File, syscall.Signal, error) {
	type start struct {
		in   *os.File
		outs []*os.File
		err  error
	}
	begun := make(chan start, 1)
	go func() {
		in, outs, err := o.begin(ctx)
		begun <- start{in, outs, err}
	}()
	for {
		select {
		case b := <-begun:
			return b.in, b.outs, 0, b.err
		case s := <-sigs:
			switch s {
			case unix.SIGWINCH:
			case unix.SIGTSTP, unix.SIGCONT:
				o.stop = s == unix.SIGTSTP
			default:
				return nil, nil, s.(syscall.Signal), nil
			}
		}
	}
}

// begin starts the command, and gives our ends of its pipes.
func (o *onFront) begin(ctx context.Context) (in *os.File, outs []*os.File, err error) {
	var ours, theirs []*os.File
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
		if err != nil {
			for _, f := range ours {
				f.Close()
			}
		}
	}()
	want := 3
	if o.cmd.TTY {
		want = 2
	}
	for i := range want {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, nil, err
		}
		if i == 0 {
			ours, theirs = append(ours, w), append(theirs, r)
		} else {
			ours, theirs = append(ours, r), append(theirs, w)
		}
	}
	if o.call, err = o.start(ctx, theirs...); err != nil {
		return nil, nil, err
	}
	return ours[0], ours[1:], nil
}

// attend passes signals on until the command has ended or is lost.
func (o *onFront) attend(sigs <-chan os.Signal) (control.OnEvent, error) {
	if o.stop {
		o.pass(unix.SIGTSTP)
	}
	type end struct {
		event control.OnEvent
		err   error
	}
	ended := make(chan end, 1)
	go func() {
		e, err := o.call.Wait()
		ended <- end{e, err}
	}()
	for {
		select {
		case s := <-sigs:
			o.pass(s.(syscall.Signal))
		case <-o.hungUp:
			return control.OnEvent{Kind: control.OnExited, Signal: int(unix.SIGHUP)}, nil
		case e := <-ended:
			if e.err == nil {
				o.output.Wait()
				return e.event, nil
			}
			written := make(chan struct{})
			go func() {
				defer close(written)
				o.output.Wait()
			}()
			select {
			case <-written:
			case <-time.After(lastOutput): // who reads it has stopped
			}
			if errors.Is(e.err, io.EOF) || errors.Is(e.err, syscall.ECONNRESET) {
				e.err = errors.New("onehostd of this host is gone, and the command with it")
			}
			return e.event, fmt.Errorf("on %s: %w", o.cmd.Host, e.err)
		}
	}
}

// pass passes one signal on.
func (o *onFront) pass(sig syscall.Signal) {
	switch sig {
	case unix.SIGWINCH:
		if o.cmd.TTY {
			_ = o.call.Resize(o.size()) // a command that has ended needs none; so below
		}
	case unix.SIGTSTP:
		_ = o.call.Signal(sig)
		o.restore()
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP) // the SIGCONT that ends this is passed on like any other
	case unix.SIGCONT:
		if o.cmd.TTY && o.keyboard != nil { // whoever stopped us may have changed the terminal's modes
			_ = o.raw()
			_ = o.call.Resize(o.size())
		}
		_ = o.call.Signal(sig)
	default:
		_ = o.call.Signal(sig)
	}
}

// size is that of our terminal, 0 if there is none.
func (o *onFront) size() (rows, cols uint16) {
	for _, s := range []any{o.stdin, o.stdout} {
		if f, ok := s.(*os.File); ok {
			if ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
				return ws.Row, ws.Col
			}
		}
	}
	return 0, 0
}

// raw makes our terminal pass on every key.
func (o *onFront) raw() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	st, err := term.MakeRaw(int(o.keyboard.Fd()))
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	if o.saved == nil {
		o.saved = st
	}
	return nil
}

// restore gives our terminal its modes back.
func (o *onFront) restore() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.saved != nil {
		_ = term.Restore(int(o.keyboard.Fd()), o.saved) // a terminal that is gone has no modes
		o.saved = nil
	}
}

// input brings our input to the command, and its end. It is left waiting for more when the command has ended.
func (o *onFront) input(w *os.File) {
	defer w.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := o.stdin.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				if f, ok := o.stdin.(*os.File); ok && o.keyboard == nil {
					f.Close() // so that whoever writes to us hears that nobody reads
				}
				return
			}
		}
		if err != nil {
			if o.cmd.TTY && o.keyboard != nil { // a raw terminal has no end but that of its line
				close(o.hungUp)
			}
			return
		}
	}
}

// write writes the command's output. When nobody reads it any more, the command hears of it.
func (o *onFront) write(r *os.File, w io.Writer) {
	defer r.Close()
	_, err := io.Copy(w, r)
	if f, ok := w.(*os.File); ok && err == nil && w != o.stderr && !o.cmd.TTY {
		f.Close() // that is all: whoever reads it need not wait for the command's end
	}
}
