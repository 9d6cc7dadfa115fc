package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
)

// lastSignal is the highest number of a signal: SIGRTMAX.
const lastSignal = 64

// otherNames are names that signals have besides those that are listed.
var otherNames = map[string]int{"EXIT": 0, "IOT": int(unix.SIGABRT), "CLD": int(unix.SIGCHLD), "POLL": int(unix.SIGIO)}

// signalNumber reads a signal as kill(1) does: a number, or a name with or without SIG, in any case; RTMIN+n and RTMAX-n too.
func signalNumber(word string) (int, error) {
	if n, err := strconv.Atoi(word); err == nil && n >= 0 && n <= lastSignal {
		return n, nil
	}
	name := strings.TrimPrefix(strings.ToUpper(word), "SIG")
	for _, rt := range []struct {
		name string
		n    int
	}{{"RTMIN", 34}, {"RTMAX", lastSignal}} { // as glibc counts them
		if rest, ok := strings.CutPrefix(name, rt.name); ok {
			off, err := strconv.Atoi(rest)
			if rest == "" {
				off, err = 0, nil
			}
			if n := rt.n + off; err == nil && n >= 34 && n <= lastSignal {
				return n, nil
			}
		}
	}
	if n, ok := otherNames[name]; ok {
		return n, nil
	}
	if n := unix.SignalNum("SIG" + name); n != 0 && name != "" {
		return int(n), nil
	}
	return 0, fmt.Errorf("no signal is called %q: 'onehost kill -l' lists them", word)
}

// signalName gives the name of a signal, without SIG; the number if it has none.
func signalName(n int) string {
	if name := unix.SignalName(syscall.Signal(n)); name != "" {
		return strings.TrimPrefix(name, "SIG")
	}
	switch {
	case n == 34:
		return "RTMIN"
	case n > 34 && n <= 49:
		return fmt.Sprintf("RTMIN+%d", n-34)
	case n > 49 && n < lastSignal:
		return fmt.Sprintf("RTMAX-%d", lastSignal-n)
	case n == lastSignal:
		return "RTMAX"
	}
	return strconv.Itoa(n)
}

func (a *app) killCommand() *cobra.Command {
	var signal string
	var list bool
	cmd := &cobra.Command{
		Use:   "kill [-SIGNAL | -s SIGNAL] PID ...",
		Short: "Send a signal to processes, wherever they run",

		DisableFlagParsing: true, // -9 and -KILL are no flags: they are made into some first
		RunE: func(cmd *cobra.Command, words []string) error {
			args, err := a.killFlags(cmd, words)
			switch {
			case errors.Is(err, pflag.ErrHelp):
				return cmd.Help()
			case err != nil:
				return &usageError{err: fmt.Errorf("kill: %w", err), path: cmd.CommandPath()}
			case list:
				return a.listSignals(cmd, args)
			case len(args) == 0:
				return Usage(cmd, "kill: the processes are missing")
			}
			n, err := signalNumber(signal)
			if err != nil {
				return Usage(cmd, "kill: %w", err)
			}
			return a.kill(cmd.Context(), n, args)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&signal, "signal", "s", "TERM", "send this `signal`, a name or a number; 0 only asks whether one could be sent")
	f.BoolVarP(&list, "list", "l", false, "list the names of signals, or name those whose numbers follow")
	return cmd
}

// killFlags makes a signal like -9 into a flag, reads the flags, and gives the other words, which are processes: what begins with a dash after
// a signal is a process group, as for kill(1).
func (a *app) killFlags(cmd *cobra.Command, words []string) ([]string, error) {
	var flags, args []string
	given := false // the signal
	for len(words) > 0 && len(args) == 0 {
		w := words[0]
		words = words[1:]
		rest, dashed := strings.CutPrefix(w, "-")
		_, wrong := signalNumber(rest)
		switch {
		case w == "--":
			args, words = append(args, words...), nil
		case !dashed || rest == "":
			args = append(args, w)
		case w == "-s" || w == "--signal" || w == "--control":
			given = given || w != "--control"
			flags = append(flags, w)
			flags, words = append(flags, words[:min(1, len(words))]...), words[min(1, len(words)):]
		case w == "-l" || w == "-h" || rest[0] == '-':
			given = given || strings.HasPrefix(w, "--signal=")
			flags = append(flags, w)
		case given:
			args = append(args, w)
		case rest[0] == 's' && wrong != nil:
			flags, given = append(flags, w), true
		default:
			flags, given = append(flags, "--signal="+rest), true
		}
	}
	cmd.DisableFlagParsing = false
	defer func() { cmd.DisableFlagParsing = true }()
	if err := cmd.ParseFlags(flags); err != nil {
		return nil, err
	}
	if help, err := cmd.Flags().GetBool("help"); err == nil && help {
		return nil, pflag.ErrHelp
	}
	return append(args, words...), nil
}

// listSignals prints the names of all signals, or of those that args number; of a name the number.
func (a *app) listSignals(cmd *cobra.Command, args []string) error {
	var out []string
	for _, word := range args {
		n, err := strconv.Atoi(word)
		if err == nil && n > 128 {
			n -= 128 // as a shell says that a signal ended a program
		}
		if err == nil && n >= 0 && n <= lastSignal {
			out = append(out, signalName(n))
			continue
		}
		if n, err = signalNumber(word); err != nil {
			return Usage(cmd, "kill: %w", err)
		}
		out = append(out, strconv.Itoa(n))
	}
	if len(args) == 0 {
		for n := 1; n <= lastSignal; n++ {
			if name := signalName(n); name != strconv.Itoa(n) {
				out = append(out, name)
			}
		}
		fmt.Fprintln(a.env.Stdout, strings.Join(out, " "))
		return nil
	}
	fmt.Fprintln(a.env.Stdout, strings.Join(out, "\n"))
	return nil
}

// kill sends a signal to each of the processes and groups, and says which did not get it.
func (a *app) kill(ctx context.Context, signal int, words []string) error {
	pids := a.pids(ctx)
	bad := false
	for _, word := range words {
		err := a.killOne(ctx, pids, signal, word)
		if errors.Is(err, control.ErrNoDaemon) {
			return err
		}
		if err != nil {
			tell(a.env.Stderr, fmt.Errorf("kill: %s: %w", word, err))
			bad = true
		}
	}
	if bad {
		return &statusError{status: exitFailed}
	}
	return nil
}

func (a *app) killOne(ctx context.Context, pids *pids, signal int, word string) error {
	name, group := strings.CutPrefix(word, "-")
	if group && name == "1" {
		return errors.New("every process of all hosts is more than anybody means: name them")
	}
	pid, err := pids.parse(name)
	if err != nil {
		return err
	}
	return inWords(a.call(ctx, askLimit, control.OpKill, control.KillRequest{Pid: pid, Group: group, Signal: signal}, &struct{}{}))
}

// inWords gives what a kernel says of a process in its own words, whichever host said it; that it is said of this process stands before them.
func inWords(err error) error {
	f, ok := errors.AsType[*control.Failure](err)
	if !ok {
		return err
	}
	switch f.Errno {
	case syscall.ESRCH, syscall.EPERM, syscall.EHOSTDOWN:
		return f.Errno
	}
	return err
}
