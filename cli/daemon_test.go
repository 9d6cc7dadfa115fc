package cli_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/onehost/onehost/cli"
	"github.com/onehost/onehost/cli/mancheck"
)

func TestDaemonUsage(t *testing.T) {
	for _, tc := range []struct {
		args   []string
		status int
		out    string
		err    string
	}{
		{[]string{"--help"}, 0, "--log-level", ""},
		{[]string{"--version"}, 0, "onehostd 1.2.3 linux/", ""},
		{[]string{"--nosuch"}, 2, "", "onehostd: unknown flag: --nosuch (try"},
		{[]string{"now"}, 2, "", `onehostd: "now": no argument is taken`},
		{[]string{"--name", "No"}, 2, "", `onehostd: host name "No"`},
		{[]string{"--listen", "here"}, 2, "", `onehostd: address "here": want host:port`},
		{[]string{"--listen", "10.0.0.1:http2"}, 2, "", `onehostd: address "10.0.0.1:http2": want a port`},
		{[]string{"--control", ""}, 2, "", "onehostd: --control: the path is missing"},
		{[]string{"--log-level", "loud"}, 2, "", "onehostd: invalid argument"},
		{[]string{"--control", "/x"}, 1, "", "onehostd: no room for a daemon"},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			var out, errs strings.Builder
			status := cli.Daemon(tc.args, "1.2.3", &out, &errs, func(o cli.DaemonOptions) (func() error, error) {
				if tc.status != 1 {
					t.Errorf("started with %+v", o)
				}
				return nil, errors.New("no room for a daemon")
			})
			if status != tc.status || !strings.Contains(out.String(), tc.out) || !strings.HasPrefix(errs.String(), tc.err) {
				t.Errorf("status %d, stdout %q, stderr %q; want %d, %q, %q", status, out.String(), errs.String(), tc.status, tc.out, tc.err)
			}
		})
	}
}

// A daemon gets its flags, runs until a signal and is then stopped; what stopping says is the program's status.
func TestDaemonLife(t *testing.T) {
	for _, result := range []error{nil, errors.New("the registry would not close")} {
		var out, errs strings.Builder
		var got cli.DaemonOptions
		stopped := 0
		status := cli.Daemon([]string{"--state", "/s", "--name", "h1", "--listen", "10.0.0.1:1996"}, "1.2.3", &out, &errs, func(o cli.DaemonOptions) (func() error, error) {
			got = o
			if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
				return nil, err
			}
			return func() error { stopped++; return result }, nil
		})
		want := 0
		if result != nil {
			want = 1
		}
		if status != want || stopped != 1 || got.State != "/s" || got.Name != "h1" || got.Listen != "10.0.0.1:1996" || got.Log == nil {
			t.Errorf("status %d, stopped %d times, options %+v, log:\n%s", status, stopped, got, errs.String())
		}
	}
}

func TestDaemonPage(t *testing.T) {
	problems, err := mancheck.Flags(cli.DaemonFlagNames(), "../man/onehostd.8")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range slices.DeleteFunc(problems, func(p string) bool { return strings.Contains(p, ": --help ") || strings.Contains(p, ": -h ") }) {
		t.Error(p)
	}
}
