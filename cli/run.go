package cli

import (
	"errors"
	"io/fs"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"
)

func (a *app) runCommand() *cobra.Command {
	o := RunOptions{}
	slots := slotsValue(-1)
	cmd := &cobra.Command{
		Use:   "run [flags] [--] CMD [ARG ...]",
		Short: "Run CMD, with its jobs spread over the cluster",
		Args:  Arguments(1, -1, "the command to run"),

		Annotations: map[string]string{PassesStatus: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOfLocal(cmd, &o); err != nil {
				return err
			}
			o.Command, o.Slots, o.Control = args, int(slots), a.control
			o.NoColor = o.NoColor || a.env.Getenv("NO_COLOR") != ""
			status, err := a.parts.Run(cmd.Context(), o)
			if err == nil && status == 0 {
				return nil
			}
			return &statusError{status: runStatus(status, err), err: err}
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // the command's own flags are the command's
	f.Var((*hostsValue)(&o.Hosts), "hosts", "use only these `hosts`, names with commas between")
	f.Var(&slots, "slots", "jobs that home keeps at a time, `n` (default: chosen by what home is doing)")
	f.BoolVar(&o.Local, "local", false, "keep every job at home")
	f.BoolVar(&o.NoLocal, "no-local", false, "keep no job at home that can go")
	f.Var((*fallbackValue)(&o.Fallback), "fallback", "when a job's host is lost: `never` run it again, or retry whatever it is (default: make's recipes only)")
	f.BoolVar(&o.Explain, "explain", false, "print for each command where it ran and why")
	f.BoolVar(&o.Proc, "proc", false, "let CMD see the processes of all hosts in /proc")
	f.BoolVarP(&o.Quiet, "quiet", "q", false, "no live line and no summary")
	f.BoolVar(&o.NoColor, "no-color", false, "no colour on a terminal")
	slotsFlag := f.Lookup("slots")
	slotsFlag.DefValue = ""
	return cmd
}

// oneOfLocal settles --local against --no-local: the command line wins over settings; both at one level is a mistake.
func oneOfLocal(cmd *cobra.Command, o *RunOptions) error {
	if !o.Local || !o.NoLocal {
		return nil
	}
	local, noLocal := cmd.Flags().Changed("local"), cmd.Flags().Changed("no-local")
	switch {
	case local && !noLocal:
		o.NoLocal = false
	case noLocal && !local:
		o.Local = false
	default:
		return Usage(cmd, "run: --local and --no-local exclude each other")
	}
	return nil
}

// runStatus chooses the exit status of a run that ended with status and err.
func runStatus(status int, err error) int {
	switch {
	case err == nil || status != 0:
		return status
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return exitNotFound
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC):
		return exitCannotExec
	default:
		return exitRun
	}
}
