package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/onehost/onehost/control"
)

// onLimit bounds the start of a command on another host.
const onLimit = 30 * time.Second

func (a *app) onCommand() *cobra.Command {
	var tty bool
	cmd := &cobra.Command{
		Use:   "on [-t] HOST [--] [CMD [ARG ...]]",
		Short: "Run CMD as a process of HOST",
		Args:  Arguments(1, -1, "the host"),

		Annotations: map[string]string{PassesStatus: "yes"},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // the command's own flags are the command's
	f.BoolVarP(&tty, "tty", "t", false, "give the command a terminal of HOST")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		host := args[0]
		if err := f.Parse(args[1:]); err != nil { // flags may follow the host
			return Usage(cmd, "%w", err)
		}
		if help, err := f.GetBool("help"); err == nil && help {
			return cmd.Help()
		}
		o := &onFront{
			path: a.control, stdin: a.env.Stdin, stdout: a.env.Stdout, stderr: a.env.Stderr,
			cmd: control.OnCommand{Host: host, Args: f.Args(), Env: a.taken()},
		}
		in, isFile := a.env.Stdin.(*os.File)
		isTerminal := isFile && term.IsTerminal(int(in.Fd()))
		if isTerminal {
			o.keyboard = in
		}
		o.cmd.TTY = tty || isTerminal && len(o.cmd.Args) == 0
		e, err := o.run(cmd.Context())
		if err != nil {
			return &statusError{status: onStatus(err), err: err}
		}
		if status := a.parts.Death(e.Code, syscall.Signal(e.Signal)); status != 0 {
			return &statusError{status: status}
		}
		return nil
	}
	return cmd
}

// taken is what of the environment goes along: how to write to this terminal, and in what language.
func (a *app) taken() []string {
	var env []string
	for _, name := range []string{
		"TERM", "LANG", "LANGUAGE", "LC_ALL", "LC_ADDRESS", "LC_COLLATE", "LC_CTYPE", "LC_IDENTIFICATION", "LC_MEASUREMENT",
		"LC_MESSAGES", "LC_MONETARY", "LC_NAME", "LC_NUMERIC", "LC_PAPER", "LC_TELEPHONE", "LC_TIME",
	} {
		if v := a.env.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// onStatus chooses the exit status of a command that could not be run.
func onStatus(err error) int {
	n, executed := errors.AsType[*control.NotExecuted](err)
	switch {
	case !executed:
		return exitRun
	case errors.Is(n.Errno, fs.ErrNotExist), n.Errno == syscall.ENOTDIR:
		return exitNotFound
	}
	return exitCannotExec
}

// start starts the command, and turns what went wrong into a line for a person.
func (o *onFront) start(ctx context.Context, files ...*os.File) (*control.OnCall, error) {
	ctx, cancel := context.WithTimeout(ctx, onLimit)
	defer cancel()
	call, err := control.StartOn(ctx, o.path, o.cmd, files...)
	if n, ok := errors.AsType[*control.NotExecuted](err); ok {
		return nil, fmt.Errorf("on %s: %w", o.cmd.Host, n)
	}
	return call, failed("on "+strings.ToValidUTF8(o.cmd.Host, "?"), err)
}
