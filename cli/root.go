package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/onehost/onehost/control"
)

// New builds the command line. Nothing runs and nothing is read until it is executed.
func New(env Env, parts Parts) *cobra.Command {
	a := &app{env: env, parts: parts}
	root := &cobra.Command{
		Use:           "onehost",
		Short:         "Several Linux machines that behave as one host",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       env.Version,
		Args:          cobra.ArbitraryArgs,
		RunE:          a.noCommand,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.applySettings(cmd)
		},
		SuggestionsMinimumDistance: 2,

		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	def := env.ControlPath
	if def == "" {
		def = control.DefaultPath
	}
	root.PersistentFlags().StringVar(&a.control, "control", def, "the daemon's control socket, `path`")
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetVersionTemplate(env.versionLine())
	root.InitDefaultVersionFlag() // now, so that the manual page can be held against it
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{err: err, path: cmd.CommandPath()}
	})
	root.AddCommand(a.initCommand(), a.tokenCommand(), a.joinCommand(), a.leaveCommand(), a.drainCommand(), a.resumeCommand(), a.hostsCommand(),
		a.statusCommand(), a.doctorCommand(), a.versionCommand(), a.runCommand(), a.onCommand())
	root.AddCommand(a.psCommand(), a.topCommand(), a.killCommand(), a.whereCommand(), a.waitCommand(), a.procCommand())
	root.AddCommand(parts.Extra...)
	return root
}

// noCommand answers a command line that names no command that exists.
func (a *app) noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(a.env.Stderr, cmd.UsageString())
		return &statusError{status: exitUsage}
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return Usage(cmd, "no command is called %q; did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return Usage(cmd, "no command is called %q", args[0])
}

// Arguments checks the number of words after the flags; highest -1 is any number. want says in words what belongs there.
func Arguments(lowest, highest int, want string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < lowest && len(args) == 0:
			return Usage(cmd, "%s: %s is missing", cmd.Name(), want)
		case len(args) < lowest:
			return Usage(cmd, "%s: too few arguments: want %s", cmd.Name(), want)
		case highest == 0 && len(args) > 0:
			return Usage(cmd, "%s takes no argument, and %q was given", cmd.Name(), args[0])
		case highest >= 0 && len(args) > highest:
			return Usage(cmd, "%s: one argument too many: %q: want %s", cmd.Name(), args[highest], want)
		}
		return nil
	}
}

// failed names the command an error belongs to, unless the error already is a whole sentence for a person.
func failed(what string, err error) error {
	if err == nil || errors.Is(err, control.ErrNoDaemon) {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}
