package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// psDefault and psFull are the columns of ps without and with -f.
const (
	psDefault = "pid,host,user,stat,pcpu,rss,started,command"
	psFull    = "user,pid,ppid,host,pcpu,started,tty,time,command"
)

// psOptions are the flags of ps.
type psOptions struct {
	every, full, wide        bool
	users, pids, commands    []string
	hosts                    hostsValue
	jobs, tree, asJSON, bare bool
	order                    string
	columns                  []string
}

func (a *app) psCommand() *cobra.Command {
	o := psOptions{}
	cmd := &cobra.Command{
		Use:   "ps [flags]",
		Short: "List the processes of all hosts",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return Usage(cmd, "ps takes no argument, and %q was given: -e shows everyone's processes, -f more of each", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return a.ps(cmd, &o) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.every, "all", "e", false, "all processes, of all users")
	f.BoolP("every", "A", false, "the same as -e")
	f.BoolVarP(&o.full, "full", "f", false, "more columns")
	f.BoolVarP(&o.wide, "wide", "w", false, "whole lines, also on a terminal")
	f.StringArrayVarP(&o.users, "user", "u", nil, "those of these `users`, names or numbers")
	f.StringArrayVarP(&o.pids, "pid", "p", nil, "these `processes`, numbers or host:pid")
	f.StringArrayVarP(&o.commands, "command", "C", nil, "those with these short `names` of their commands")
	f.Var(&o.hosts, "host", "only what runs on these `hosts`")
	f.BoolVar(&o.jobs, "jobs", false, "only what runs away from its home")
	f.StringVar(&o.order, "sort", "pid", "order by these `columns`, - before one for falling order")
	f.StringArrayVarP(&o.columns, "format", "o", nil, "show these `columns`")
	f.BoolVarP(&o.tree, "forest", "H", false, "show who is whose parent")
	f.BoolVar(&o.asJSON, "json", false, "print a JSON array")
	f.BoolVar(&o.bare, "no-headers", false, "no line of headings")
	return cmd
}

func (a *app) ps(cmd *cobra.Command, o *psOptions) error {
	o.every = o.every || cmd.Flags().Changed("every")
	if len(o.columns) == 0 {
		o.columns = []string{psDefault}
		if o.full {
			o.columns = []string{psFull}
		}
	}
	columns, err := psColumns(o.columns)
	if err != nil {
		return Usage(cmd, "ps: %w", err)
	}
	order, err := psOrder(o.order)
	if err != nil {
		return Usage(cmd, "ps: --sort: %w", err)
	}
	wanted, err := a.psSelection(cmd, o)
	if err != nil {
		return err
	}
	reply, err := a.procs(cmd.Context(), control.ProcsRequest{Hosts: o.hosts})
	if err != nil {
		return failed("ps", err)
	}
	now := time.Now()
	chosen := slices.DeleteFunc(reply.Procs, func(p control.Proc) bool { return !wanted(&p) || o.jobs && p.Host == p.Home })
	if o.asJSON {
		err = writeJSON(a.env.Stdout, chosen)
	} else {
		rows := psRows(chosen, now)
		slices.SortFunc(rows, order)
		if o.tree {
			rows = forest(rows)
		}
		wide := 0
		if !o.wide {
			wide = a.screenWidth(a.env.Stdout)
		}
		err = writeRows(a.env.Stdout, columns, rows, now, !o.bare, wide)
	}
	tellFailed(a.env.Stderr, "ps", reply.Failed)
	switch {
	case err != nil:
		return err
	case len(reply.Failed) > 0, len(chosen) == 0 && o.named():
		return &statusError{status: exitFailed}
	}
	return nil
}

// tellFailed says in a line for each host that it could not be asked.
func tellFailed(w io.Writer, command string, hosts map[names.HostName]string) {
	for _, h := range slices.Sorted(maps.Keys(hosts)) {
		tell(w, fmt.Errorf("%s: %s: %s", command, h, hosts[h]))
	}
}

// named reports whether certain processes were asked for, so that none is a failure.
func (o *psOptions) named() bool { return len(o.users)+len(o.pids)+len(o.commands) > 0 }

// psSelection makes the test of who is shown. As for ps(1), what any of -u, -p and -C names is.
func (a *app) psSelection(cmd *cobra.Command, o *psOptions) (func(p *control.Proc) bool, error) {
	pids, err := a.pids(cmd.Context()).list(o.pids)
	if err != nil {
		if errors.Is(err, control.ErrNoDaemon) {
			return nil, err
		}
		return nil, Usage(cmd, "ps: %w", err)
	}
	users, commands := words(o.users), words(o.commands)
	uid := uint32(a.env.UID)
	switch {
	case o.every:
		return func(*control.Proc) bool { return true }, nil
	case !o.named() && uid == 0:
		return func(p *control.Proc) bool { return !p.Kernel }, nil
	case !o.named():
		return func(p *control.Proc) bool { return p.UID == uid }, nil
	}
	for i, c := range commands {
		commands[i] = c[:min(len(c), 15)] // the kernel keeps no more of a name
	}
	return func(p *control.Proc) bool {
		return slices.Contains(pids, p.Pid) || slices.Contains(commands, p.Comm) ||
			slices.Contains(users, p.User) || slices.Contains(users, strconv.FormatUint(uint64(p.UID), 10))
	}, nil
}

// words splits the values of a flag that may be given several times at their commas.
func words(values []string) []string {
	var all []string
	for _, v := range values {
		all = slices.AppendSeq(all, strings.FieldsFuncSeq(v, func(r rune) bool { return r == ',' }))
	}
	return all
}

// psRows makes rows of processes; %CPU is over a process's whole life, as in ps(1).
func psRows(procs []control.Proc, now time.Time) []*psRow {
	name := map[names.Pid]string{}
	homes := map[names.Host]names.HostName{}
	for i := range procs {
		name[procs[i].Pid] = procs[i].Name
		homes[procs[i].Pid.Host()] = procs[i].Home
	}
	named := func(pid names.Pid) string {
		if pid == 0 {
			return "-"
		}
		if n, ok := name[pid]; ok {
			return n
		}
		return fmt.Sprintf("%s:%d", homes[pid.Host()], pid.Local())
	}
	rows := make([]*psRow, len(procs))
	for i, p := range procs {
		r := &psRow{Proc: p, named: named}
		if age := now.Sub(p.Started); age > 0 {
			r.cpu = 100 * p.CPU.Seconds() / age.Seconds()
		}
		rows[i] = r
	}
	return rows
}
