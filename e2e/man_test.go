package e2e_test

import (
	"testing"

	"github.com/spf13/cobra"

	"github.com/onehost/onehost/cli"
	"github.com/onehost/onehost/cli/mancheck"
	"github.com/onehost/onehost/split"
)

// The pages and the whole command line agree, split's commands too.
func TestManPages(t *testing.T) {
	root := cli.New(cli.Env{Version: "1"}, cli.Parts{Extra: []*cobra.Command{split.Command(split.Env{})}})
	problems, err := mancheck.Commands(root, "../man")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}
