package mancheck_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/onehost/onehost/cli/mancheck"
)

// program is prog with the commands list [--json] and part, which has up [-n|--number N] and down.
func program() *cobra.Command {
	run := func(*cobra.Command, []string) {}
	root := &cobra.Command{Use: "prog"}
	root.PersistentFlags().String("socket", "", "")
	list := &cobra.Command{Use: "list", Run: run}
	list.Flags().Bool("json", false, "")
	up := &cobra.Command{Use: "up", Run: run}
	up.Flags().IntP("number", "n", 0, "")
	part := &cobra.Command{Use: "part"}
	part.AddCommand(up, &cobra.Command{Use: "down", Run: run})
	root.AddCommand(list, part)
	return root
}

const (
	progPage = `.Sh SYNOPSIS
.Nm
.Op Fl -socket Ar path
.Cm list
.Op Fl -json
.Nm
.Cm part
.Sh DESCRIPTION
.Bl -tag -width Ds
.It Fl -socket Ar path
Where it listens.
.It Cm list Op Fl \-json Op Fl - Op Ar word
Lists, as
.Ic ls Fl l
does.
.It Cm part
See the other page.
.El
`
	partPage = `.Sh SYNOPSIS
.Nm prog part
.Cm up
.Op Fl n Ar number
.Nm prog part
.Cm down
.Sh DESCRIPTION
.Bl -tag -width Ds
.It Cm up
.Bl -tag -width Ds
.It Fl n , Fl -number Ns = Ns Ar n
.El
.It Cm down
.It Cm word
Not a command, and not in the SYNOPSIS.
.El
`
)

func TestCommands(t *testing.T) {
	replace := strings.ReplaceAll
	for _, tc := range []struct {
		name, prog, part string
		want             []string
	}{
		{"as it should be", progPage, partPage, nil},
		{"no page", "", partPage, []string{"prog.1 does not exist"}},
		{"flag forgotten", replace(progPage, "-json", "-jsn"), partPage, []string{
			`prog.1: --jsn of "list" is documented and does not exist`, `prog.1: --json of "prog list" is not documented`,
		}},
		{"flag of another command", progPage, replace(partPage, ".It Cm down", ".It Cm down Op Fl n"), []string{
			`prog-part.1: -n of "down" is documented and does not exist`,
		}},
		{"shorthand forgotten", progPage, replace(replace(partPage, ".It Fl n ,", ".It"), "Fl n Ar", "Ar"), []string{
			`prog-part.1: -n of "prog part up" is not documented`,
		}},
		{"command forgotten", replace(progPage, "Cm part", "Ar part"), replace(partPage, "Cm down", "Ar down"), []string{
			`prog-part.1: command "down" is not documented`, `prog.1: command "part" is not documented`,
		}},
		{"command invented", progPage + ".Sh SYNOPSIS\n.Nm\n.Cm fly\n", partPage, []string{
			`prog.1: command "fly" is in the SYNOPSIS and does not exist`,
		}},
		{"global forgotten", replace(progPage, "-socket", "-json"), partPage, []string{
			`prog.1: --socket of "prog" is not documented`,
		}},
		{"no page of its own", progPage, "", []string{
			`prog.1: --number of "prog part up" is not documented`, `prog.1: -n of "prog part up" is not documented`,
			`prog.1: command "part down" is not documented`, `prog.1: command "part up" is not documented`,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "prog.1", tc.prog)
			write(t, dir, "prog-part.1", tc.part)
			got, err := mancheck.Commands(program(), dir)
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("got %v\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
}

func TestFlags(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "progd.8", ".Sh SYNOPSIS\n.Nm\n.Op Fl -listen Ar addr\n.Op Fl v\n")
	got, err := mancheck.Flags([]string{"listen", "state"}, filepath.Join(dir, "progd.8"))
	want := []string{"progd.8: --state is not documented", "progd.8: -v is documented and does not exist"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if _, err := mancheck.Flags(nil, filepath.Join(dir, "nosuch.8")); err == nil {
		t.Error("a page that is not there is no error")
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if text == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
