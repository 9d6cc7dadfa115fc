// Command onehost makes several Linux machines behave as one host: see onehost(1).
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/onehost/onehost/cli"
	"github.com/onehost/onehost/proc/procfs"
	"github.com/onehost/onehost/proc/session"
	"github.com/onehost/onehost/split"
)

var version = "dev" // set by the linker

func main() {
	if session.Reexec(os.Args) || split.Reexec(os.Args) || procfs.Reexec(os.Args) {
		return
	}
	os.Exit(cli.Main(
		cli.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, UID: os.Geteuid(), Version: version},
		cli.Parts{
			Run: run, Death: death, MountProc: procfs.Mount, UnmountProc: procfs.Unmount,
			Extra: []*cobra.Command{split.Command(split.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})},
		},
		os.Args[1:]))
}
