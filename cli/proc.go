package cli

import "github.com/spf13/cobra"

func (a *app) procCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "proc",
		Short: "Mount a /proc of the cluster",
		Args:  Arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return Usage(cmd, "proc: say mount or umount")
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "mount DIR",
		Short: "Mount a /proc of the cluster on DIR",
		Args:  Arguments(1, 1, "the directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return failed("proc mount", a.parts.MountProc(cmd.Context(), a.control, args[0]))
		},
	}, &cobra.Command{
		Use:   "umount DIR",
		Short: "Unmount it",
		Args:  Arguments(1, 1, "the directory"),
		RunE: func(_ *cobra.Command, args []string) error {
			return failed("proc umount", a.parts.UnmountProc(args[0]))
		},
	})
	return cmd
}
