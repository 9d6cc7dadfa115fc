package cli

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// How long a command waits for the daemon: what the daemon knows by itself, and what it has to agree on with others.
const (
	askLimit    = 10 * time.Second
	changeLimit = 60 * time.Second
)

// maxTokenFile bounds what is read of a token file, in bytes.
const maxTokenFile = 4 << 10

func (a *app) initCommand() *cobra.Command {
	var host, addr string
	cmd := &cobra.Command{
		Use:   "init NAME",
		Short: "Make this host the first of a new cluster",
		Args:  Arguments(1, 1, "the new cluster's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cluster, err := names.ParseClusterName(args[0])
			if err != nil {
				return Usage(cmd, "init: %w", err)
			}
			name, err := self(cmd, host, addr)
			if err != nil {
				return err
			}
			var st control.StatusReply
			req := control.InitRequest{Cluster: cluster, Name: name, Addr: addr}
			if err := a.call(cmd.Context(), changeLimit, control.OpInit, req, &st); err != nil {
				return failed("init", err)
			}
			a.sayMember(st)
			return nil
		},
	}
	selfFlags(cmd, &host, &addr)
	return cmd
}

func (a *app) tokenCommand() *cobra.Command {
	var rotate, quiet bool
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print the command that makes another host join",
		Args:  Arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var t control.TokenReply
			if err := a.call(cmd.Context(), changeLimit, control.OpToken, control.TokenRequest{Rotate: rotate}, &t); err != nil {
				return failed("token", err)
			}
			if quiet {
				fmt.Fprintln(a.env.Stdout, t.Token)
			} else {
				fmt.Fprintf(a.env.Stdout, "onehost join %s --token %s\n", t.Addr, t.Token)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&rotate, "rotate", false, "make a new token and void the old one")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the token only")
	return cmd
}

func (a *app) joinCommand() *cobra.Command {
	var token, file, host, addr string
	cmd := &cobra.Command{
		Use:   "join ADDR",
		Short: "Make this host a member of the cluster that listens at ADDR",
		Args:  Arguments(1, 1, "the address of a member, host:port"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkAddr(args[0]); err != nil {
				return Usage(cmd, "join: %w", err)
			}
			name, err := self(cmd, host, addr)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("token") && cmd.Flags().Changed("token-file") {
				return Usage(cmd, "join: --token and --token-file exclude each other")
			}
			t, err := a.joinToken(token, file)
			if err != nil {
				return failed("join", err)
			}
			var st control.StatusReply
			req := control.JoinRequest{Addr: args[0], Token: t, Name: name, SelfAddr: addr}
			if err := a.call(cmd.Context(), changeLimit, control.OpJoin, req, &st); err != nil {
				return failed("join", err)
			}
			a.sayMember(st)
			return nil
		},
	}
	cmd.Flags().StringVar(&token, "token", "", "the join `token`; others can see it in ps while join runs")
	cmd.Flags().StringVar(&file, "token-file", "", "read the token from `file`, - for standard input")
	selfFlags(cmd, &host, &addr)
	return cmd
}

func (a *app) leaveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "leave [HOST]",
		Short: "Take HOST, or this host, out of the cluster",
		Args:  Arguments(0, 1, "at most one host name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var req control.LeaveRequest
			if len(args) == 1 {
				name, err := names.ParseHostName(args[0])
				if err != nil {
					return Usage(cmd, "leave: %w", err)
				}
				req.Host = name
			}
			var st control.StatusReply
			if err := a.call(cmd.Context(), changeLimit, control.OpLeave, req, &st); err != nil {
				return failed("leave", err)
			}
			who := "this host"
			if req.Host != "" {
				who = string(req.Host)
			}
			fmt.Fprintf(a.env.Stdout, "%s left the cluster\n", who)
			return nil
		},
	}
}

func selfFlags(cmd *cobra.Command, host, addr *string) {
	cmd.Flags().StringVar(host, "host-name", "", "this host's `name` in the cluster (default: the kernel's host name)")
	cmd.Flags().StringVar(addr, "addr", "", "the `host:port` that the others reach this host by (default: chosen by the daemon)")
}

// self checks what a host says about itself.
func self(cmd *cobra.Command, host, addr string) (names.HostName, error) {
	if addr != "" {
		if err := checkAddr(addr); err != nil {
			return "", Usage(cmd, "%s: --addr: %w", cmd.Name(), err)
		}
	}
	if host == "" {
		return "", nil
	}
	name, err := names.ParseHostName(host)
	if err != nil {
		return "", Usage(cmd, "%s: --host-name: %w", cmd.Name(), err)
	}
	return name, nil
}

func checkAddr(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("address %q: want host:port, as 'onehost token' prints it", s)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("address %q: want a port from 1 to 65535", s)
	}
	return nil
}

// joinToken finds the token: flag, file, environment.
func (a *app) joinToken(token, file string) (string, error) {
	if file != "" {
		r := a.env.Stdin
		if file != "-" {
			f, err := os.Open(file)
			if err != nil {
				return "", fmt.Errorf("token file: %w", err)
			}
			defer f.Close()
			r = f
		}
		data, err := io.ReadAll(io.LimitReader(r, maxTokenFile))
		if err != nil {
			return "", fmt.Errorf("token file: %w", err)
		}
		if len(data) == maxTokenFile {
			return "", fmt.Errorf("token file %s holds more than a token: write the output of 'onehost token -q' there", file)
		}
		if token = strings.TrimSpace(string(data)); token == "" {
			return "", fmt.Errorf("token file %s is empty: write the output of 'onehost token -q' there", file)
		}
		return token, nil
	}
	if token == "" {
		token = a.env.Getenv("ONEHOST_TOKEN")
	}
	if token = strings.TrimSpace(token); token == "" {
		return "", errors.New("no token: give --token, --token-file or ONEHOST_TOKEN; 'onehost token' on a member prints it")
	}
	return token, nil
}

func (a *app) sayMember(st control.StatusReply) {
	fmt.Fprintf(a.env.Stdout, "%s is host %s of cluster %s, at %s\n", st.Name, st.Number, st.Cluster, st.Addr)
}
