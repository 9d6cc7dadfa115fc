package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/onehost/onehost/cli"
	"github.com/onehost/onehost/place"
	"github.com/onehost/onehost/proc/procfs"
	"github.com/onehost/onehost/proc/report"
	"github.com/onehost/onehost/proc/session"
	"github.com/onehost/onehost/sys"
)

// run joins the flags of onehost run, the rules of placement, the session and what people see of it.
func run(ctx context.Context, o cli.RunOptions) (int, error) {
	rules, err := place.ReadRules(place.RuleFiles(os.Getenv)...)
	if err != nil {
		return 0, err
	}
	cpus, err := sys.CPUCapacity()
	if err != nil {
		return 0, fmt.Errorf("reading this host's CPUs: %w", err)
	}
	rep := report.New(report.Options{
		Out: os.Stderr, Quiet: o.Quiet, Explain: o.Explain, NoColor: o.NoColor, Term: os.Getenv("TERM"), CPUs: cpus,
	})
	status, err := session.Run(ctx, session.Config{
		Proc: clusterProc(o), Argv: o.Command, ControlPath: o.Control, Hosts: o.Hosts, Slots: o.Slots, NoLocal: o.NoLocal, Local: o.Local,
		Fallback: o.Fallback, Rules: rules, Report: rep,
	})
	rep.Finish()
	if err != nil {
		return status.Shell(), err
	}
	return status.Death(), nil
}

// clusterProc makes the /proc of the cluster of a run that is to have one.
func clusterProc(o cli.RunOptions) func() (session.Proc, error) {
	if !o.Proc {
		return nil
	}
	return func() (session.Proc, error) {
		s, err := procfs.New(procfs.Config{ControlPath: o.Control, Dir: "/proc"})
		if errors.Is(err, syscall.EPERM) {
			return nil, errors.New("--proc: only root may mount a /proc: try again with sudo")
		}
		return s, err
	}
}

// death ends this process as a command did that ran on another host.
func death(code int, signal syscall.Signal) int {
	return session.Status{Code: code, Signal: signal}.Death()
}
