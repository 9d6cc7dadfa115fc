package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/onehost/onehost/control"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say who this host is and which cluster it belongs to",
		Args:  Arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var st control.StatusReply
			if err := a.call(cmd.Context(), askLimit, control.OpStatus, struct{}{}, &st); err != nil {
				return failed("status", err)
			}
			if asJSON {
				return writeJSON(a.env.Stdout, st)
			}
			if st.Cluster == "" {
				fmt.Fprintf(a.env.Stdout, "onehostd %s runs and belongs to no cluster: 'onehost init NAME' makes one, 'onehost join ADDR --token T' joins one\n", st.Version)
				return nil
			}
			fmt.Fprintf(a.env.Stdout, "cluster      %s\nhost         %s\nnumber       %s\nincarnation  %d\naddress      %s\nversion      %s\n",
				st.Cluster, st.Name, st.Number, st.Incarnation, st.Addr, st.Version)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  Arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(a.env.Stdout, a.env.versionLine())
			return err
		},
	}
}

// versionLine is what --version and the command version print. It holds nothing that a template would take for its own.
func (e Env) versionLine() string {
	return fmt.Sprintf("onehost %s %s/%s\n", e.Version, runtime.GOOS, runtime.GOARCH)
}
