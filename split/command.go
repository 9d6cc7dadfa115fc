package split

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/onehost/onehost/cli"
	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// Exit statuses of exec and sh when the program did not run, as a shell's.
const (
	statusFailed     = 125
	statusCannotExec = 126
	statusNotFound   = 127
)

// Env is what the commands see of the world. Exit ends the process with the status of a program that exec ran; nil means os.Exit.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Exit   func(status int)
}

// Command is `onehost split` with its subcommands.
func Command(env Env) *cobra.Command {
	if env.Exit == nil {
		env.Exit = os.Exit
	}
	a := &app{env: env}
	cmd := a.upCommand()
	cmd.PersistentFlags().Var((*nameValue)(&a.name), "name", "a private split of that `name`, beside the machine's own")
	cmd.AddCommand(a.execCommand(), a.shCommand(), a.statusCommand(), a.downCommand())
	for _, v := range []struct {
		use, short string
		do         func(*Host, context.Context) error
	}{
		{"kill", "Crash a host at once, as if its power were cut", (*Host).Kill},
		{"start", "Boot a host again, with the disk it had", (*Host).Start},
		{"restart", "Kill a host's onehostd and start it again", (*Host).Restart},
		{"freeze", "Stop all of a host, as a machine that hangs", (*Host).Freeze},
		{"thaw", "Let a frozen host go on", (*Host).Thaw},
		{"cut", "Drop all that a host sends and is sent", (*Host).Cut},
		{"heal", "Put a host back on the network", (*Host).Heal},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: v.use + " HOST...", Short: v.short, Args: cli.Arguments(1, -1, "the host"), SilenceUsage: true,
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.interruptible(cmd, func(ctx context.Context) error {
					c, err := Open(a.name)
					if err != nil {
						return err
					}
					for _, name := range args { // all of them before the first is touched
						if _, _, err := c.Host(names.HostName(name)).state(); err != nil {
							return err
						}
					}
					for _, name := range args {
						if err := v.do(c.Host(names.HostName(name)), ctx); err != nil {
							return err
						}
					}
					return nil
				})
			},
		})
	}
	return cmd
}

type app struct {
	env  Env
	name string
}

// nameValue is the flag that names a split.
type nameValue string

func (n *nameValue) Type() string   { return "name" }
func (n *nameValue) String() string { return string(*n) }

func (n *nameValue) Set(s string) error {
	*n = nameValue(s)
	return checkName(s)
}

// interruptible runs f with a context that ends with ^C or SIGTERM.
func (a *app) interruptible(cmd *cobra.Command, f func(ctx context.Context) error) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := f(ctx)
	if err != nil && ctx.Err() != nil && cmd.Context().Err() == nil {
		return fmt.Errorf("interrupted: %w", err)
	}
	return err
}

func (a *app) upCommand() *cobra.Command {
	var cpus int
	var quota, rate, daemon string
	var binds []string
	cmd := &cobra.Command{
		Use:   "split [N]",
		Short: "Divide this machine into hosts",
		Long: "Divide this machine into N hosts h1 to hN, each with its own name spaces, root, address and onehostd, joined to one cluster. " +
			"Without N each host gets 4 CPUs, and there are at least 2 hosts.",
		Args: cli.Arguments(0, 1, "the number of hosts, or a command"), SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg := Config{Name: a.name, CPUs: cpus}
			var err error
			if len(args) == 1 {
				if cfg.Hosts, err = strconv.Atoi(args[0]); err != nil || cfg.Hosts < 1 {
					return cli.Usage(cmd, "split: %q hosts: want a number from 1 to %d, or a command", args[0], MaxHosts)
				}
			}
			if cfg.Hosts > MaxHosts {
				return cli.Usage(cmd, "split: %d hosts: want a number from 1 to %d", cfg.Hosts, MaxHosts)
			}
			if cmd.Flags().Changed("cpus") && cpus < 1 {
				return cli.Usage(cmd, "split: --cpus %d: want at least 1", cpus)
			}
			if cmd.Flags().Changed("cpu-quota") {
				if cfg.Quota, err = ParseQuota(quota); err != nil {
					return cli.Usage(cmd, "split: %w", err)
				}
			}
			if cmd.Flags().Changed("rate") {
				if cfg.Rate, err = ParseRate(rate); err != nil {
					return cli.Usage(cmd, "split: %w", err)
				}
			}
			for _, b := range binds {
				bind, err := ParseBind(b)
				if err != nil {
					return cli.Usage(cmd, "split: %w", err)
				}
				cfg.Binds = append(cfg.Binds, bind)
			}
			if cfg.Onehost, err = os.Executable(); err != nil {
				return fmt.Errorf("this program: %w", err)
			}
			if cfg.Daemon = daemon; daemon == "" {
				cfg.Daemon = daemonOf(cfg.Onehost)
			} else if daemon == "none" {
				cfg.Daemon = ""
			}
			return a.interruptible(cmd, func(ctx context.Context) error { return a.up(ctx, cfg) })
		},
	}
	f := cmd.Flags()
	f.IntVar(&cpus, "cpus", 0, "pin each host to `k` CPUs of its own")
	f.StringVar(&quota, "cpu-quota", "", "bound each host's CPU time, in `cpus`: 0.45")
	f.StringVar(&rate, "rate", "", "bound each host's network, each way: 100mbit")
	f.StringArrayVar(&binds, "bind", nil, "show `dir[:host]` of this machine in all hosts, or in one; may be repeated")
	f.StringVar(&daemon, "daemon", "", "the onehostd to run, or none (default: beside this program or in sbin beside its directory)")
	return cmd
}

func (a *app) up(ctx context.Context, cfg Config) error {
	begin := time.Now()
	c, err := Up(ctx, cfg)
	if err != nil {
		return err
	}
	for _, n := range c.Notes {
		fmt.Fprintf(a.env.Stderr, "onehost: note: %s\n", n)
	}
	are := "1 host, h1, is up"
	if n := len(c.hosts); n > 1 {
		are = fmt.Sprintf("%d hosts, h1 to h%d, are up", n, n)
	}
	fmt.Fprintf(a.env.Stdout, "%s (%.2f s): try 'onehost split sh%s h1'\n", are, time.Since(begin).Seconds(), instance(a.name).flags())
	return nil
}

func (a *app) execCommand() *cobra.Command {
	var user, cwd string
	cmd := &cobra.Command{
		Use: "exec HOST [--] CMD [ARG...]", Short: "Run a program in a host", Args: cli.Arguments(2, -1, "a host and a command"), SilenceUsage: true,
		Long: "Run a program in a host, with this environment, in this directory if the host has it and in / if not. " +
			"Its exit status is this command's; 125 means that it was not tried, 126 that it cannot be executed, 127 that it is not there.",
		Annotations: map[string]string{cli.PassesStatus: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			rest := args[1:]
			if rest[0] == "--" { // cobra keeps it: flags end at the host's name
				rest = rest[1:]
			}
			if len(rest) == 0 {
				return cli.Usage(cmd, "exec: too few arguments: want a host and a command")
			}
			return a.exec(cmd.Context(), args[0], rest, user, cwd)
		},
	}
	cmd.Flags().StringVarP(&user, "user", "u", "", "run as this `user` of the host (default: root)")
	cmd.Flags().StringVar(&cwd, "cwd", "", "run in this `dir` of the host")
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func (a *app) shCommand() *cobra.Command {
	var user string
	cmd := &cobra.Command{
		Use: "sh HOST", Short: "Open a shell in a host", Args: cli.Arguments(1, 1, "one host"), SilenceUsage: true,
		Annotations: map[string]string{cli.PassesStatus: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			shell := os.Getenv("SHELL")
			if !filepath.IsAbs(shell) {
				shell = "/bin/sh"
			}
			return a.exec(cmd.Context(), args[0], []string{shell}, user, "")
		},
	}
	cmd.Flags().StringVarP(&user, "user", "u", "", "open it as this `user` of the host (default: root)")
	return cmd
}

// dropped are variables that name things of the machine which a host does not have.
var dropped = []string{"DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "SSH_AUTH_SOCK", "TMUX", "TMUX_PANE", "DISPLAY", "WAYLAND_DISPLAY", "ONEHOST_CONTROL", "PWD", "OLDPWD"}

func environment() []string {
	env := os.Environ()
	kept := env[:0]
next:
	for _, e := range env {
		for _, d := range dropped {
			if strings.HasPrefix(e, d+"=") {
				continue next
			}
		}
		kept = append(kept, e)
	}
	return kept
}

func (a *app) exec(ctx context.Context, host string, args []string, user, cwd string) error {
	status, err := a.runIn(ctx, host, args, user, cwd)
	if err != nil {
		fmt.Fprintf(a.env.Stderr, "onehost: %v\n", err)
	}
	if status != 0 {
		a.env.Exit(status)
	}
	return nil
}

// runIn gives the exit status, and an error if the program was not run to its end.
func (a *app) runIn(ctx context.Context, host string, args []string, user, cwd string) (int, error) {
	c, err := Open(a.name)
	if err != nil {
		return statusFailed, err
	}
	cmd := c.Host(names.HostName(host)).Command(ctx, args...)
	cmd.User, cmd.Dir, cmd.Env = user, cwd, environment()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.env.Stdin, a.env.Stdout, a.env.Stderr
	if cwd == "" {
		cmd.dirElse = true
		if cmd.Dir, err = os.Getwd(); err != nil {
			cmd.Dir = "/"
		}
	}
	err = cmd.runAsCaller()
	var exit *ExitError
	var f *control.Failure
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		return exit.Status(), nil
	case errors.As(err, &f) && f.Errno == syscall.ENOENT:
		return statusNotFound, err
	case errors.As(err, &f) && (f.Errno == syscall.EACCES || f.Errno == syscall.ENOEXEC):
		return statusCannotExec, err
	}
	return statusFailed, err
}

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show the hosts", Args: cli.Arguments(0, 0, ""), SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := Open(a.name)
			if err != nil {
				return err
			}
			rows, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(a.env.Stdout)
				e.SetIndent("", "  ")
				return e.Encode(rows)
			}
			w := tabwriter.NewWriter(a.env.Stdout, 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "HOST\tSTATE\tNETWORK\tADDRESS\tPID\tCPUS\tQUOTA\tRATE\tDAEMON")
			for _, r := range rows {
				fmt.Fprintln(w, r.line())
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func (r Status) line() string {
	network, pid, cpus, quota, rate := "up", "-", "all", "-", "-"
	if r.Cut {
		network = "cut"
	}
	if r.Pid != 0 {
		pid = strconv.Itoa(r.Pid)
	}
	if len(r.CPUs) > 0 {
		cpus = cpuList(r.CPUs)
	}
	if r.Quota != 0 {
		quota = strconv.FormatFloat(r.Quota, 'f', -1, 64)
	}
	if r.Rate != 0 {
		rate = Rate(r.Rate).String()
	}
	return strings.Join([]string{string(r.Name), r.State, network, r.Address, pid, cpus, quota, rate, r.Daemon}, "\t")
}

func (a *app) downCommand() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "End the split and leave nothing of it", Args: cli.Arguments(0, 0, ""), SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.interruptible(cmd, func(ctx context.Context) error { return Down(ctx, a.name) })
		},
	}
}

// daemonOf finds the onehostd that goes with a onehost: beside it, as when built, or in the sbin beside its bin, as when
// installed. Where there is neither, it names the first for the error.
func daemonOf(onehost string) string {
	dir := filepath.Dir(onehost)
	beside := filepath.Join(dir, "onehostd")
	for _, path := range []string{beside, filepath.Join(dir, "../sbin/onehostd")} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return beside
}
