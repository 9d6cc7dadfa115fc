package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Verdicts of a check.
const (
	verdictOK      = "ok"
	verdictWarn    = "warn"    // works, with a loss that the finding names
	verdictMissing = "missing" // onehost cannot do its work without it
)

// Finding is what one check of doctor found, and an element of doctor's JSON array.
type Finding struct {
	Check  string `json:"check"`
	State  string `json:"state"` // ok, warn, missing
	Detail string `json:"detail"`
	Mend   string `json:"mend,omitempty"`
}

func ok(check, format string, args ...any) Finding {
	return Finding{Check: check, State: verdictOK, Detail: fmt.Sprintf(format, args...)}
}

func warn(check, mend, format string, args ...any) Finding {
	return Finding{Check: check, State: verdictWarn, Detail: fmt.Sprintf(format, args...), Mend: mend}
}

func missing(check, mend, format string, args ...any) Finding {
	return Finding{Check: check, State: verdictMissing, Detail: fmt.Sprintf(format, args...), Mend: mend}
}

func (a *app) doctorCommand() *cobra.Command {
	var asJSON, noColor bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check what onehost needs of this machine, and say how to mend what is missing",
		Args:  Arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings := checkKernel()
			findings = append(findings, checkLimits()...)
			findings = append(findings, a.checkDaemon(cmd.Context())...)
			if asJSON {
				if err := writeJSON(a.env.Stdout, findings); err != nil {
					return err
				}
			} else {
				a.writeFindings(findings, a.colored(a.env.Stdout, noColor))
			}
			for _, f := range findings {
				if f.State == verdictMissing {
					return &statusError{status: exitFailed}
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	cmd.Flags().BoolVar(&noColor, "no-color", false, "no colour on a terminal")
	return cmd
}

func (a *app) writeFindings(findings []Finding, colored bool) {
	width, count := 0, map[string]int{}
	for _, f := range findings {
		width = max(width, len(f.Check))
		count[f.State]++
	}
	paint := map[string]string{verdictOK: green, verdictWarn: yellow, verdictMissing: red}
	for _, f := range findings {
		state := fmt.Sprintf("%-7s", f.State)
		if colored {
			state = "\x1b[" + paint[f.State] + "m" + state + "\x1b[0m"
		}
		fmt.Fprintf(a.env.Stdout, "%s  %-*s  %s\n", state, width, f.Check, f.Detail)
		if f.Mend != "" {
			fmt.Fprintf(a.env.Stdout, "%s  mend: %s\n", strings.Repeat(" ", len(verdictMissing)+2+width), f.Mend)
		}
	}
	fmt.Fprintf(a.env.Stdout, "%d ok, %d warn, %d missing\n", count[verdictOK], count[verdictWarn], count[verdictMissing])
}
