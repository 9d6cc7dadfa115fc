package cli_test

import (
	"testing"

	"github.com/onehost/onehost/cli"
	"github.com/onehost/onehost/cli/mancheck"
)

// The pages of section 1 and the commands agree. split is joined to the command line on a higher floor, where its
// commands are held against its page.
func TestManPages(t *testing.T) {
	problems, err := mancheck.Commands(cli.New(cli.Env{Version: "1"}, cli.Parts{}), "../man")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}
