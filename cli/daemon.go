package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// DaemonOptions are the flags of onehostd.
type DaemonOptions struct {
	Control string         // path of the control socket
	State   string         // directory of what must outlive the daemon; empty: the daemon's default
	Listen  string         // host:port that peers reach this host by; empty: chosen at init or join
	Name    names.HostName // this host's name; empty: the kernel's
	Log     *slog.Logger   // never nil
}

// daemonFlags declares the flags of onehostd.
func daemonFlags(o *DaemonOptions, name *string, level *slog.Level, version *bool) *pflag.FlagSet {
	f := pflag.NewFlagSet("onehostd", pflag.ContinueOnError)
	f.StringVar(&o.Control, "control", control.DefaultPath, "listen for commands at `path`")
	f.StringVar(&o.State, "state", "", "keep what must outlive the daemon in `dir` (default: /var/lib/onehost)")
	f.StringVar(&o.Listen, "listen", "", "the `host:port` that other hosts reach this one by (default: chosen at init or join)")
	f.StringVar(name, "name", "", "this host's `name` (default: the kernel's host name)")
	f.TextVar(level, "log-level", slog.LevelInfo, "say what is at least this bad: debug, info, warn, error")
	f.BoolVar(version, "version", false, "print the version and exit")
	return f
}

// DaemonFlagNames lists the flags of onehostd, to hold its page against.
func DaemonFlagNames() []string {
	var list []string
	daemonFlags(&DaemonOptions{}, new(string), new(slog.Level), new(bool)).VisitAll(func(f *pflag.Flag) { list = append(list, f.Name) })
	return list
}

// Daemon is the command line of onehostd: it reads args, the words after the program's name, starts the daemon, blocks
// until SIGINT, SIGTERM or SIGHUP, stops it, and returns the exit status. A second signal ends the process at once. The log
// and errors go to stderr, the answers to --help and --version to stdout.
func Daemon(args []string, version string, stdout, stderr io.Writer, start func(DaemonOptions) (stop func() error, err error)) int {
	fail := func(status int, err error) int {
		fmt.Fprintf(stderr, "onehostd: %v\n", err)
		return status
	}
	var o DaemonOptions
	var name string
	var level slog.Level
	var showVersion bool
	flags := daemonFlags(&o, &name, &level, &showVersion)
	flags.Usage = func() {}
	err := flags.Parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		fmt.Fprintf(stdout, "Usage:\n  onehostd [flags]\n\nFlags:\n%s", flags.FlagUsages())
		return 0
	case err == nil && flags.NArg() > 0:
		err = fmt.Errorf("%q: no argument is taken", flags.Arg(0))
	case err == nil && name != "":
		o.Name, err = names.ParseHostName(name)
	}
	if err == nil && o.Control == "" {
		err = errors.New("--control: the path is missing")
	}
	if err == nil && o.Listen != "" {
		err = checkAddr(o.Listen)
	}
	if err != nil {
		return fail(exitUsage, fmt.Errorf("%w (try 'onehostd --help')", err))
	}
	if showVersion {
		fmt.Fprintf(stdout, "onehostd %s %s/%s\n", version, runtime.GOOS, runtime.GOARCH)
		return 0
	}
	o.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))

	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // as under nohup
			signal.Notify(signals, s)
		}
	}
	stop, err := start(o)
	if err != nil {
		signal.Stop(signals)
		return fail(exitFailed, err)
	}
	o.Log.Info("onehostd runs", "version", version, "control", o.Control)
	s := <-signals
	signal.Stop(signals) // the next one does what signals do
	o.Log.Info("onehostd stops", "signal", s.String())
	if err := stop(); err != nil {
		return fail(exitFailed, err)
	}
	return 0
}
