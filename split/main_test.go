package split

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/onehost/onehost/cli"
)

// TestMain makes this program what a split needs: the init of its hosts, the command, and a listener and caller inside hosts.
func TestMain(m *testing.M) {
	if Reexec(os.Args) {
		return
	}
	switch os.Getenv("SPLIT_TEST") {
	case "command":
		env := cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
		split := Command(Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
		os.Exit(cli.Main(env, cli.Parts{Extra: []*cobra.Command{split}}, os.Args[1:]))
	case "listen": // answers every connection with a line
		ln, err := net.Listen("tcp", ":7")
		if err != nil {
			os.Exit(1)
		}
		fmt.Println("ready")
		for {
			c, err := ln.Accept()
			if err != nil {
				os.Exit(1)
			}
			_, _ = io.WriteString(c, "hello\n")
			c.Close()
		}
	case "dial": // exit 0 if the host of the argument answers within half a second
		c, err := net.DialTimeout("tcp", os.Args[1]+":7", 500*time.Millisecond)
		if err != nil {
			os.Exit(1)
		}
		_ = c.SetDeadline(time.Now().Add(500 * time.Millisecond))
		if b, err := io.ReadAll(c); err != nil || string(b) != "hello\n" {
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

// needRoot skips where no split can be made.
func needRoot(t *testing.T) {
	t.Helper()
	if err := checkMachine(); err != nil {
		t.Skip(err)
	}
}

// belongings lists what the machine holds that a split of this name could have left: mounts, cgroups, files, processes, network interfaces of
// the machine itself.
func belongings(t *testing.T, name string) []string {
	t.Helper()
	in := instance(name)
	left, err := in.leftovers()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(in.lockPath()); err == nil {
		left = append(left, in.lockPath())
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Name == bridgeName || strings.HasPrefix(l.Name, "h") {
			left = append(left, "interface "+l.Name)
		}
	}
	return left
}

// inits lists the processes of ours that make a host, on the whole machine.
func inits(t *testing.T) []int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, d := range dirs {
		data, _ := os.ReadFile(d)
		if arg0, _, _ := strings.Cut(string(data), "\x00"); arg0 == argInit || arg0 == argBoot || arg0 == argTTY {
			if pid, err := strconv.Atoi(strings.Split(d, "/")[2]); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	slices.Sort(pids)
	return pids
}

// clean checks at the end of a test that nothing is left.
func clean(t *testing.T, name string) {
	t.Helper()
	if err := Down(t.Context(), name); err == nil {
		t.Log("cleaned up what an earlier run left")
	}
	t.Cleanup(func() {
		_ = Down(context.WithoutCancel(t.Context()), name) // an error shows in what is left
		if left := belongings(t, name); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
}

func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// eventually waits for a condition, at most 10 s.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
