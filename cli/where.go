package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// exitInterrupted is how a shell says that ^C ended a program.
const exitInterrupted = 128 + int(syscall.SIGINT)

func (a *app) whereCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "where PID ...",
		Short: "Say on which hosts processes run",
		Args:  Arguments(1, -1, "the processes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			found := []control.WhereReply{}
			bad := false
			for _, r := range each(cmd.Context(), a, args, func(ctx context.Context, pid names.Pid) (control.WhereReply, error) {
				var w control.WhereReply
				return w, a.call(ctx, askLimit, control.OpWhere, control.PidRequest{Pid: pid}, &w)
			}) {
				switch {
				case errors.Is(r.err, control.ErrNoDaemon):
					return r.err
				case r.err != nil:
					tell(a.env.Stderr, fmt.Errorf("where: %s: %w", r.word, r.err))
					bad = true
				default:
					found = append(found, r.reply)
				}
			}
			if asJSON {
				if err := writeJSON(a.env.Stdout, found); err != nil {
					return err
				}
			} else {
				for _, w := range found {
					fmt.Fprintf(a.env.Stdout, "%s:%d %s\n", w.Home, w.Pid.Local(), w.Host)
				}
			}
			if bad {
				return &statusError{status: exitFailed}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func (a *app) waitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "wait PID ...",
		Short: "Wait for processes to end, wherever they run",
		Args:  Arguments(1, -1, "the processes"),

		Annotations: map[string]string{PassesStatus: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			status := 0
			for _, r := range each(ctx, a, args, func(ctx context.Context, pid names.Pid) (control.WaitReply, error) {
				var w control.WaitReply
				return w, control.Call(ctx, a.control, control.OpWait, control.PidRequest{Pid: pid}, &w)
			}) {
				switch {
				case ctx.Err() != nil:
					return &statusError{status: exitInterrupted}
				case errors.Is(r.err, control.ErrNoDaemon):
					return r.err
				case r.err != nil:
					tell(a.env.Stderr, fmt.Errorf("wait: %s: %w", r.word, r.err))
					if status = exitRun; errors.Is(r.err, syscall.ESRCH) {
						status = exitNotFound
					}
				case r.reply.Signal != 0:
					status = 128 + r.reply.Signal
				default:
					status = r.reply.Code // 0 where it cannot be known
				}
			}
			if status != 0 {
				return &statusError{status: status}
			}
			return nil
		},
	}
}

// asked is what came of asking about one process.
type asked[Reply any] struct {
	word  string
	reply Reply
	err   error
}

// each asks about several processes at the same time, and returns when all are answered: who asks after one has ended may be too late for another.
func each[Reply any](ctx context.Context, a *app, words []string, ask func(context.Context, names.Pid) (Reply, error)) []asked[Reply] {
	all := make([]asked[Reply], len(words))
	pids := a.pids(ctx)
	var done sync.WaitGroup
	for i, word := range words {
		r := &all[i]
		r.word = word
		pid, err := pids.parse(word)
		if err != nil {
			r.err = err
			continue
		}
		done.Go(func() {
			reply, err := ask(ctx, pid)
			r.reply, r.err = reply, inWords(err)
		})
	}
	done.Wait()
	return all
}
