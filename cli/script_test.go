package cli_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/onehost/onehost/cli"
	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// TestMain makes the test binary be onehost for the scripts: the real command line, and a Run that prints what it was
// given and ends as the script asks.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"onehost": func() {
		uid, _ := strconv.Atoi(os.Getenv("FAKE_UID")) // unset: root
		env := cli.Env{
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
			SystemConfig: os.Getenv("SYSTEM_CONFIG"), Version: "1.2.3", UID: uid,
		}
		os.Exit(cli.Main(env, cli.Parts{Run: fakeRun, Death: fakeDeath}, os.Args[1:]))
	}})
}

// fakeRun prints its options as JSON; RUN_STATUS and RUN_ERROR say how it ends.
func fakeRun(_ context.Context, o cli.RunOptions) (int, error) {
	o.Control = filepath.Base(o.Control)
	if err := json.NewEncoder(os.Stdout).Encode(o); err != nil {
		return 0, err
	}
	status, _ := strconv.Atoi(os.Getenv("RUN_STATUS")) // unset: 0
	switch os.Getenv("RUN_ERROR") {
	case "":
		return status, nil
	case "enoent":
		return status, fmt.Errorf("nosuch: %w", syscall.ENOENT)
	case "eacces":
		return status, fmt.Errorf("plain.txt: %w", syscall.EACCES)
	default:
		return status, errors.New("the session could not start\nat all")
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			path := filepath.Join(e.WorkDir, "c.sock")
			d := &daemon{log: filepath.Join(e.WorkDir, "killed")}
			srv, err := control.Listen(path, d.handlers())
			if err != nil {
				return err
			}
			e.Defer(srv.Close)
			e.Setenv("ONEHOST_CONTROL", path)
			e.Setenv("SYSTEM_CONFIG", filepath.Join(e.WorkDir, "etc", "config"))
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": exitStatus, "either": either},
	})
}

// exitStatus implements "status N command...": the command must end with N.
func exitStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command [arg ...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var e interface{ ExitCode() int }
	switch {
	case errors.As(err, &e):
		got = e.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// either implements "either command...": it may fail or not.
func either(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: either command [arg ...]")
	}
	_ = ts.Exec(args[0], args[1:]...)
}

// daemon is a cluster of three hosts, one of them failed, as far as a command can tell.
type daemon struct {
	mu      sync.Mutex // guards what follows
	cluster names.ClusterName
	name    names.HostName
	rotated int
	gone    map[names.HostName]bool
	states  map[names.HostName]string // of the hosts that were drained or resumed
	asked   map[names.HostName]int    // how often their jobs were asked after
	log     string                    // of what was killed
}

const goodToken = "ohj1-secret"

func (d *daemon) status() control.StatusReply {
	st := control.StatusReply{Version: "1.2.3"}
	if d.cluster != "" {
		st.Cluster, st.Name, st.Number, st.Incarnation, st.Addr = d.cluster, d.name, 1, 1, "10.77.0.1:7077"
	}
	return st
}

func (d *daemon) handlers() map[string]control.Handler {
	return map[string]control.Handler{
		control.OpOn:     onHere,
		control.OpStatus: answer(d, func(struct{}) (any, error) { return d.status(), nil }),
		control.OpInit: answer(d, func(r control.InitRequest) (any, error) {
			if d.cluster != "" {
				return nil, fmt.Errorf("this host already belongs to cluster %s: %w", d.cluster, syscall.EEXIST)
			}
			if d.cluster, d.name = r.Cluster, r.Name; d.name == "" {
				d.name = "kernel-name"
			}
			return d.status(), nil
		}),
		control.OpToken: answer(d, func(r control.TokenRequest) (any, error) {
			if r.Rotate {
				d.rotated++
			}
			return control.TokenReply{Token: fmt.Sprintf("%s%d", goodToken, d.rotated), Addr: "10.77.0.1:7077"}, nil
		}),
		control.OpJoin: answer(d, func(r control.JoinRequest) (any, error) {
			if r.Token != goodToken {
				return nil, errors.New("the token is not this cluster's: 'onehost token' on a member prints the right one")
			}
			d.cluster, d.name = "joined", r.Name
			return d.status(), nil
		}),
		control.OpLeave: answer(d, func(r control.LeaveRequest) (any, error) {
			if r.Host == "h9" {
				return nil, fmt.Errorf("no host is called h9: %w", syscall.ENOENT)
			}
			d.gone = map[names.HostName]bool{r.Host: true}
			return d.status(), nil
		}),
		control.OpDrain:  answer(d, func(r control.DrainRequest) (any, error) { return d.drain(r.Host, "drained") }),
		control.OpResume: answer(d, func(r control.DrainRequest) (any, error) { return d.drain(r.Host, "alive") }),
		control.OpHeld: answer(d, func(r control.DrainRequest) (any, error) {
			d.asked[r.Host]++
			return d.drain(r.Host, d.states[r.Host])
		}),
		control.OpHosts: answer(d, func(struct{}) (any, error) {
			ago := func(s int) time.Time { return time.Now().Add(-time.Duration(s) * time.Second) }
			list := []control.Host{
				{Name: "h1", Number: 1, Incarnation: 1, State: "alive", Since: ago(4000), Address: "10.77.0.1:7077", Slots: 2, Jobs: 1, Load: 0.51},
				{Name: "h2", Number: 2, Incarnation: 3, State: "alive", Since: ago(65), Address: "10.77.0.2:7077", Slots: 2, Load: 1.254},
				{Name: "h12", Number: 12, Incarnation: 1, State: "failed", Since: ago(200000), Address: "127.0.0.1:1", Slots: 4, Jobs: 4, Load: 1},
			}
			if d.gone["h2"] {
				list[1].State = "left"
			}
			if d.cluster == "empty" {
				list = nil
			}
			return control.HostsReply{Hosts: list, Standstill: d.cluster == "still"}, nil
		}),
		control.OpProcs: d.serveProcs,
		control.OpWhere: answer(d, serveWhere),
		control.OpKill:  answer(d, d.serveKill),
		control.OpWait:  answer(d, serveWait),
	}
}

// drain makes h2 busy with two jobs of others, of which one ends each time they are asked after; h3's job does not end; h4 is resumed by somebody
// else, and h5 crashes; h6 says nothing.
func (d *daemon) drain(host names.HostName, state string) (any, error) {
	switch host {
	case "":
		host = "h1"
	case "h12":
		return nil, fmt.Errorf("host h12 is failed: it takes no jobs anyway: %w", syscall.EINVAL)
	}
	if d.states == nil {
		d.states, d.asked = map[names.HostName]string{}, map[names.HostName]int{}
	}
	r := control.DrainReply{Host: host, Was: cmp.Or(d.states[host], "alive"), State: state}
	d.states[host] = state
	if d.asked[host] > 0 {
		r.State = cmp.Or(map[names.HostName]string{"h4": "alive", "h5": "failed"}[host], state)
	}
	if r.State == "drained" {
		r.Jobs = map[names.HostName]int{"h2": max(0, 2-d.asked[host]), "h3": 1, "h4": 1, "h5": 3, "h6": control.JobsUnknown}[host]
	}
	return r, nil
}

// answer makes a handler of one request and one reply, under the daemon's lock.
func answer[Req any](d *daemon, f func(Req) (any, error)) control.Handler {
	return func(_ context.Context, _ control.Caller, c *control.Conn, body json.RawMessage, _ []*os.File) error {
		var req Req
		if err := json.Unmarshal(body, &req); err != nil {
			return err
		}
		d.mu.Lock()
		reply, err := f(req)
		d.mu.Unlock()
		if err != nil {
			return err
		}
		return c.Send(reply)
	}
}
