package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/onehost/onehost/names"
)

// OnRequest asks for a command on a host, with the rights of whoever connects. The command's words and its environment follow as
// OnWords. With the request come the ends of pipes that the daemon is to read and write: standard input, output and error, or
// with TTY input and output. What is not asked is taken from the kernel: who the caller is, his umask, limits and nice value.
type OnRequest struct {
	Host string `json:"host"` // name or number
	Args int    `json:"args"` // how many of the words are the command's; 0: the user's login shell. The others are NAME=VALUE
	Dir  []byte `json:"dir,omitempty"`
	TTY  bool   `json:"tty,omitempty"`  // give it a terminal
	Rows uint16 `json:"rows,omitempty"` // of the terminal's window
	Cols uint16 `json:"cols,omitempty"`
}

// OnWords are some of the words of a request, each with a zero byte behind it; they may be cut anywhere.
type OnWords struct {
	Data []byte `json:"data"`
	Last bool   `json:"last,omitempty"`
}

// MaxWords bounds the words of a request together, in bytes. It is what the kernel's own bound is with the usual limit of the stack.
const MaxWords = 2 << 20

// Kinds of OnEvent.
const (
	OnRefused = "refused" // it could not be executed: Errno and Reason say why
	OnStarted = "started" // as Pid on Host
	OnExited  = "exited"  // with Code, or by Signal when that is not 0; all that it wrote has been written
)

// OnEvent is what the daemon says of a command.
type OnEvent struct {
	Kind   string         `json:"kind"`
	Pid    names.Pid      `json:"pid,omitempty"`
	Host   names.HostName `json:"host,omitempty"`
	Code   int            `json:"code,omitempty"`
	Signal int            `json:"signal,omitempty"`
	Core   bool           `json:"core,omitempty"`
	Errno  syscall.Errno  `json:"errno,omitempty"`
	Reason string         `json:"reason,omitempty"`
}

// OnOrder is a signal for the process group of a command, or the new size of its terminal.
type OnOrder struct {
	Signal int    `json:"signal,omitempty"`
	Rows   uint16 `json:"rows,omitempty"`
	Cols   uint16 `json:"cols,omitempty"`
}

// OnCommand is a command for another host.
type OnCommand struct {
	Host       string   // name or number
	Args       []string // empty: the user's login shell
	Env        []string // NAME=VALUE, laid over what a login on the host has
	Dir        string   // taken if the host has it and the user may enter it, else his home directory, else /; empty: this process's
	TTY        bool
	Rows, Cols uint16
}

// OnCall is a command that runs on another host. Its methods may be called by several goroutines, Wait by one.
type OnCall struct {
	Pid  names.Pid      // with the host's number as host part
	Host names.HostName // where it runs
	conn *Conn
}

// NotExecuted is the error of a command that its host could not execute.
type NotExecuted struct {
	Errno syscall.Errno
	Text  string // one line for a person
}

func (e *NotExecuted) Error() string { return e.Text }

// Unwrap gives the errno.
func (e *NotExecuted) Unwrap() error { return e.Errno }

// wordsChunk is how many bytes of words go into one packet; in JSON they take a third more.
const wordsChunk = 96 << 10

// StartOn starts a command by the daemon at path (empty: DefaultPath) and returns when it runs, or with a NotExecuted, or with
// what else went wrong. It blocks no longer than ctx, which has no part in the command once that runs. files are the ends that the
// daemon is given, as OnRequest has it; they stay the caller's. The command ends when its OnCall is closed or this process ends.
func StartOn(ctx context.Context, path string, cmd OnCommand, files ...*os.File) (*OnCall, error) {
	c, err := Dial(ctx, path)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	e, err := c.startOn(cmd, files)
	if !stop() && err == nil || err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%s did not answer: %w", cmd.Host, context.Cause(ctx))
	}
	if err == nil && e.Kind == OnRefused {
		err = &NotExecuted{Errno: e.Errno, Text: e.Reason}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return &OnCall{Pid: e.Pid, Host: e.Host, conn: c}, nil
}

func (c *Conn) startOn(cmd OnCommand, files []*os.File) (e OnEvent, err error) {
	var words bytes.Buffer
	for _, list := range [][]string{cmd.Args, cmd.Env} {
		for _, w := range list {
			if bytes.IndexByte([]byte(w), 0) >= 0 {
				return e, fmt.Errorf("a word with a zero byte in it: %w", syscall.EINVAL)
			}
			words.WriteString(w)
			words.WriteByte(0)
		}
	}
	if words.Len() > MaxWords {
		return e, &NotExecuted{Errno: syscall.E2BIG, Text: "the command: " + syscall.E2BIG.Error()}
	}
	r := OnRequest{Host: cmd.Host, Args: len(cmd.Args), Dir: []byte(cmd.Dir), TTY: cmd.TTY, Rows: cmd.Rows, Cols: cmd.Cols}
	if err := c.Open(OpOn, r, files...); err != nil {
		return e, err
	}
	for last := false; !last && err == nil; {
		w := OnWords{Data: words.Next(wordsChunk)}
		last = words.Len() == 0
		w.Last = last
		err = c.Send(w)
	}
	if err != nil && !errors.Is(err, syscall.EPIPE) { // a daemon that refuses has said why before it hung up
		return e, err
	}
	return e, c.event(&e)
}

// event waits for the next event.
func (c *Conn) event(e *OnEvent) error {
	came, err := c.Receive(e)
	closeAll(came)
	return err
}

// Signal sends a signal to the process group of the command, and returns when the daemon has been told.
func (o *OnCall) Signal(sig syscall.Signal) error { return o.conn.Send(OnOrder{Signal: int(sig)}) }

// Resize tells the command's terminal the size of its window.
func (o *OnCall) Resize(rows, cols uint16) error { return o.conn.Send(OnOrder{Rows: rows, Cols: cols}) }

// Wait waits until the command has ended, and all that it wrote to its descriptors has been written to the ends that the daemon was
// given. An error says that the host, or the way to it, was lost: the command is then ended there, but nobody can say how.
func (o *OnCall) Wait() (OnEvent, error) {
	for {
		var e OnEvent
		if err := o.conn.event(&e); err != nil {
			return e, err
		}
		if e.Kind == OnExited {
			return e, nil
		}
	}
}

// Close ends the command if it still runs: SIGHUP, and SIGKILL 2 s later.
func (o *OnCall) Close() error { return o.conn.Close() }
