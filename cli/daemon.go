package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/onehost/onehost/names"
)

// DaemonOptions are the flags of onehostd.
type DaemonOptions struct {
	Control string
	State   string
	Listen  string
	Name    names.HostName
	Log     *slog.Logger
}

// Daemon carries out the command line of onehostd, args without the program's name: it starts the daemon, waits for SIGTERM
// or SIGINT, stops it and returns the exit status. Errors have been told on stderr, one line each.
func Daemon(args []string, version string, stderr io.Writer, start func(DaemonOptions) (stop func() error, err error)) int {
	cmd := NewDaemon(version, stderr, start)
	cmd.SetArgs(args)
	if err := cmd.Execute(); err != nil {
		fmt.Fprintf(stderr, "onehostd: %v\n", err)
		var u *usageError
		if errors.As(err, &u) {
			return exitUsage
		}
		return exitFailed
	}
	return 0
}

// NewDaemon is the command of onehostd.
func NewDaemon(version string, stderr io.Writer, start func(DaemonOptions) (stop func() error, err error)) *cobra.Command {
	var o DaemonOptions
	var name, level string
	cmd := &cobra.Command{
		Use:           "onehostd [flags]",
		Short:         "The daemon of a host of a onehost cluster",
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var l slog.Level
			if err := l.UnmarshalText([]byte(level)); err != nil {
				return usage(cmd, "--log-level %q: want debug, info, warn or error", level)
			}
			o.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: l}))
			if name != "" {
				n, err := names.ParseHostName(name)
				if err != nil {
					return usage(cmd, "--name: %v", err)
				}
				o.Name = n
			}
			// Signals are caught before anything is made, so that whatever is made is also taken down.
			stopped := make(chan os.Signal, 1)
			signal.Notify(stopped, syscall.SIGTERM, syscall.SIGINT)
			defer signal.Stop(stopped)
			stop, err := start(o)
			if err != nil {
				return err
			}
			<-stopped
			return stop()
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, "%v", err) })
	f := cmd.Flags()
	f.StringVar(&o.Control, "control", "", "the control socket's `path` (default /run/onehost/control.sock)")
	f.StringVar(&o.State, "state", "", "`directory` of what must outlive the daemon (default /var/lib/onehost)")
	f.StringVar(&o.Listen, "listen", "", "`host:port` that other hosts reach this one by (default: chosen at init or join)")
	f.StringVar(&name, "name", "", "this host's `name` in a cluster (default: the kernel's host name)")
	f.StringVar(&level, "log-level", "info", "least `level` logged to standard error: debug, info, warn, error")
	return cmd
}
