package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// heldEvery is how often drain --wait asks what a host still has.
const heldEvery = 100 * time.Millisecond

// startLimit is how long resume waits for a daemon that is just being started, as after it was replaced; startEvery is how often it looks.
const (
	startLimit = 3 * time.Second
	startEvery = 50 * time.Millisecond
)

func (a *app) drainCommand() *cobra.Command {
	var wait string
	cmd := &cobra.Command{
		Use:   "drain [HOST]",
		Short: "Let HOST, or this host, take no new jobs; those that run there go on",
		Args:  Arguments(0, 1, "at most one host name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := drainRequest(cmd, args)
			if err != nil {
				return err
			}
			var limit time.Duration
			if cmd.Flags().Changed("wait") {
				if limit, err = time.ParseDuration(wait); err != nil || limit <= 0 {
					return Usage(cmd, "drain: --wait %q: want a time such as 30s, 5m or 1h30m", wait)
				}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			var r control.DrainReply
			if err := a.call(ctx, changeLimit, control.OpDrain, req, &r); err != nil {
				return failed("drain", err)
			}
			takes := "takes no new jobs"
			if r.Was == r.State {
				takes = "took no new jobs already"
			}
			fmt.Fprintf(a.env.Stdout, "%s %s; %s there\n", r.Host, takes, running(r.Jobs))
			if limit == 0 || r.Jobs == 0 {
				return nil
			}
			return failed("drain", a.awaitDrained(ctx, limit, wait, r))
		},
	}
	cmd.Flags().StringVar(&wait, "wait", "", "wait until no job of another host runs there any more, for this `time` at most")
	return cmd
}

func (a *app) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume [HOST]",
		Short: "Let HOST, or this host, take jobs again",
		Args:  Arguments(0, 1, "at most one host name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := drainRequest(cmd, args)
			if err != nil {
				return err
			}
			var r control.DrainReply
			begin := time.Now()
			err = a.call(cmd.Context(), changeLimit, control.OpResume, req, &r)
			for errors.Is(err, control.ErrNoDaemon) && time.Since(begin) < startLimit {
				time.Sleep(startEvery)
				err = a.call(cmd.Context(), changeLimit, control.OpResume, req, &r)
			}
			if err != nil {
				return failed("resume", err)
			}
			takes := "takes jobs again"
			if r.Was == r.State {
				takes = "took jobs already"
			}
			fmt.Fprintf(a.env.Stdout, "%s %s\n", r.Host, takes)
			return nil
		},
	}
}

func drainRequest(cmd *cobra.Command, args []string) (control.DrainRequest, error) {
	var req control.DrainRequest
	if len(args) == 1 {
		name, err := names.ParseHostName(args[0])
		if err != nil {
			return req, Usage(cmd, "%s: %w", cmd.Name(), err)
		}
		req.Host = name
	}
	return req, nil
}

// running says how many jobs of other hosts a drained host still has.
func running(jobs int) string {
	switch jobs {
	case control.JobsUnknown:
		return "it is not known how many jobs still run"
	case 0:
		return "no job of another host runs"
	case 1:
		return "1 job still runs"
	}
	return strconv.Itoa(jobs) + " jobs still run"
}

// awaitDrained waits until a drained host has no job of another home any more, for limit at most, as word says it. It asks again and again,
// rather than have the daemon wait: whoever resumes the host meanwhile, or the host's end, is seen so.
func (a *app) awaitDrained(ctx context.Context, limit time.Duration, word string, r control.DrainReply) error {
	end := time.Now().Add(limit)
	waiting, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	over := func() bool { return ctx.Err() != nil || !time.Now().Before(end) } // the socket may know the deadline before waiting does
	tick := time.NewTicker(heldEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			var now control.DrainReply
			if err := a.call(waiting, askLimit, control.OpHeld, control.DrainRequest{Host: r.Host}, &now); err == nil {
				r = now
			} else if !over() {
				return fmt.Errorf("waiting for the jobs on %s, which stays drained: %w", r.Host, err)
			}
		case <-waiting.Done():
		}
		const stays = "it stays drained until 'onehost resume %s'"
		switch {
		case r.State == "failed":
			return fmt.Errorf("%s has failed meanwhile, and what ran there with it", r.Host)
		case r.State == "left":
			return fmt.Errorf("%s has left the cluster meanwhile", r.Host)
		case r.State != "drained":
			return fmt.Errorf("%s takes jobs again: it was resumed meanwhile, or has failed and come back", r.Host)
		case r.Jobs == 0:
			fmt.Fprintf(a.env.Stdout, "%s there any more\n", running(r.Jobs))
			return nil
		case ctx.Err() != nil:
			return &statusError{exitInterrupted, fmt.Errorf("drain: interrupted: %s on %s; "+stays, running(r.Jobs), r.Host, r.Host)}
		case over():
			return fmt.Errorf("%s on %s after %s; "+stays, running(r.Jobs), r.Host, word, r.Host)
		}
	}
}
