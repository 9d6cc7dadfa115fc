// Command onehostd is the daemon of a host: see onehostd(8).
package main

import (
	"os"

	"github.com/onehost/onehost/cli"
	"github.com/onehost/onehost/node"
	"github.com/onehost/onehost/proc/nest"
)

var version = "dev" // set by the linker

func main() {
	if nest.Reexec(os.Args) || node.Reexec(os.Args) {
		return
	}
	os.Exit(cli.Daemon(os.Args[1:], version, os.Stdout, os.Stderr, func(o cli.DaemonOptions) (func() error, error) {
		n, err := node.Start(node.Config{
			Control: o.Control, State: o.State, Listen: o.Listen, Name: o.Name, Version: version, Log: o.Log,
		})
		if err != nil {
			return nil, err
		}
		return n.Close, nil
	}))
}
