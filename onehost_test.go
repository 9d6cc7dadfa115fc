package onehost_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/onehost/onehost"
	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// many is how many processes the fake's list has.
const many = 500

// daemon is a fake: a cluster farm of h1 to h4, of which h3 failed and h4 left, and processes, the first of which is 2:7. Commands run on this machine.
func daemon(t *testing.T) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.sock")
	s, err := control.Listen(path, map[string]control.Handler{
		control.OpStatus: answer(func(struct{}) (any, error) { return control.StatusReply{Cluster: "farm", Name: "h1", Number: 1}, nil }),
		control.OpHosts: answer(func(struct{}) (any, error) {
			return control.HostsReply{Hosts: []control.Host{
				{Name: "h1", Number: 1, State: "alive"},
				{Name: "h2", Number: 2, State: "drained"},
				{Name: "h3", Number: 3, State: "failed"},
				{Name: "h4", Number: 4, State: "left"},
			}}, nil
		}),
		control.OpProcs: func(_ context.Context, _ control.Caller, c *control.Conn, _ json.RawMessage, _ []*os.File) error {
			r := control.ProcsReply{
				Procs:  []control.Proc{{Pid: pid, Name: "h2:7", Command: "sleep 9"}},
				Failed: map[names.HostName]string{"h3": "it has failed", "h0": "no way"},
			}
			for range many - 1 { // more than a packet holds
				r.Procs = append(r.Procs, control.Proc{Command: strings.Repeat("x", 1000)})
			}
			return r.Send(c)
		},
		control.OpWhere: answer(func(r control.PidRequest) (any, error) {
			return control.WhereReply{Pid: pid, Home: "h2", Host: "h1"}, known(r.Pid)
		}),
		control.OpKill: answer(func(r control.KillRequest) (any, error) {
			if r.Group != (r.Signal == 15) {
				return nil, control.Refuse(syscall.EPERM, "not yours")
			}
			return struct{}{}, known(r.Pid)
		}),
		control.OpWait: answer(func(r control.PidRequest) (any, error) {
			return control.WaitReply{Known: true, Signal: 9}, known(r.Pid)
		}),
		control.OpOn: runHere,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	t.Setenv("ONEHOST_CONTROL", path)
}

var pid = names.MakePid(2, 7)

func known(p names.Pid) error {
	if p != pid {
		return control.Refuse(syscall.ESRCH, "no process %v", p)
	}
	return nil
}

func answer[Req any](f func(Req) (any, error)) control.Handler {
	return func(_ context.Context, _ control.Caller, c *control.Conn, body json.RawMessage, _ []*os.File) error {
		var req Req
		if err := json.Unmarshal(body, &req); err != nil {
			return err
		}
		reply, err := f(req)
		if err != nil {
			return err
		}
		return c.Send(reply)
	}
}

// runHere runs a command as a daemon would, but here.
func runHere(_ context.Context, _ control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
	var req control.OnRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return err
	}
	var words []byte
	for last := false; !last; {
		var w control.OnWords
		if _, err := c.Receive(&w); err != nil {
			return err
		}
		words, last = append(words, w.Data...), w.Last
	}
	list := strings.Split(strings.TrimSuffix(string(words), "\x00"), "\x00")
	if req.Host != "h2" {
		return control.Refuse(syscall.ENOENT, "no host %q", req.Host)
	}
	cmd := exec.Command(list[0], list[1:req.Args]...)
	cmd.Env, cmd.Dir = append(os.Environ(), list[req.Args:]...), string(req.Dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err := cmd.Start()
	for _, f := range files {
		f.Close()
	}
	if err != nil {
		return c.Send(control.OnEvent{Kind: control.OnRefused, Errno: names.Errno(err), Reason: err.Error()})
	}
	if err := c.Send(control.OnEvent{Kind: control.OnStarted, Host: "h2", Pid: names.MakePid(2, cmd.Process.Pid&0x7fff)}); err != nil {
		return err
	}
	go func() {
		for {
			var o control.OnOrder
			if _, err := c.Receive(&o); err != nil {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGHUP)
				return
			}
			_ = syscall.Kill(-cmd.Process.Pid, syscall.Signal(o.Signal))
		}
	}()
	_ = cmd.Wait()
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	e := control.OnEvent{Kind: control.OnExited, Host: "h2"}
	if e.Code = ws.ExitStatus(); ws.Signaled() {
		e.Code, e.Signal = 0, int(ws.Signal())
	}
	if os.Getenv("ONEHOST_TEST_CRASH") != "" {
		return control.Refuse(syscall.EHOSTDOWN, "host h2 is lost")
	}
	return c.Send(e)
}

func TestHosts(t *testing.T) {
	daemon(t)
	for _, name := range []string{"", "farm"} {
		hosts, err := onehost.GetClustByName(t.Context(), name)
		if err != nil || len(hosts) != 2 || hosts[0].Name != "h1" || hosts[1].Name != "h2" {
			t.Errorf("%q: %+v, %v", name, hosts, err)
		}
	}
	if _, err := onehost.GetClustByName(t.Context(), "other"); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("another cluster: %v", err)
	}
	t.Setenv("ONEHOST_CONTROL", "/nowhere")
	if _, err := onehost.GetClustByName(t.Context(), ""); !errors.Is(err, onehost.ErrNoDaemon) {
		t.Errorf("no daemon: %v", err)
	}
}

func TestProcesses(t *testing.T) {
	daemon(t)
	ctx := t.Context()
	list, err := onehost.List(ctx)
	var part onehost.Incomplete
	if !errors.As(err, &part) || len(part) != 2 || err.Error() != "hosts that could not be asked: h0: no way; h3: it has failed" || len(list) != many || list[0].Pid != pid {
		t.Errorf("list: %+v, %v", list, err)
	}
	if p, err := onehost.Where(ctx, pid); err != nil || p.Home != "h2" || p.Host != "h1" {
		t.Errorf("where: %+v, %v", p, err)
	}
	if st, err := onehost.Wait(ctx, pid); err != nil || !st.Known || st.Signal != 9 {
		t.Errorf("wait: %+v, %v", st, err)
	}
	for _, err := range []error{onehost.Kill(ctx, pid, 9), onehost.Kill(ctx, pid, 0), onehost.KillGroup(ctx, pid, 15)} {
		if err != nil {
			t.Errorf("kill: %v", err)
		}
	}
	if err := onehost.Kill(ctx, pid, 15); !errors.Is(err, syscall.EPERM) {
		t.Errorf("kill of another's: %v", err)
	}
	_, werr := onehost.Where(ctx, 5)
	_, aerr := onehost.Wait(ctx, 5)
	for _, err := range []error{werr, aerr, onehost.Kill(ctx, 5, 9)} {
		if !errors.Is(err, syscall.ESRCH) {
			t.Errorf("a process that is not there: %v", err)
		}
	}
}

func TestRexec(t *testing.T) {
	daemon(t)
	var out, errs, both bytes.Buffer
	p, err := onehost.Rexec(t.Context(), "h2", onehost.Cmd{
		Args: []string{"sh", "-c", `cat; echo "$X $PWD $1" >&2; exit 3`, "sh", "\xff a"}, Env: []string{"X=y z"}, Dir: "/etc",
		Stdin: strings.NewReader(strings.Repeat("in\n", 100000)), Stdout: &out, Stderr: &errs,
	})
	if err != nil {
		t.Fatal(err)
	}
	if p.Host != "h2" || p.Pid.Host() != 2 || p.Pid.Local() == 0 {
		t.Errorf("it is %v on %s", p.Pid, p.Host)
	}
	for range 2 {
		var exit *onehost.ExitError
		if err := p.Wait(); !errors.As(err, &exit) || exit.Code != 3 || err.Error() != "exit status 3" {
			t.Errorf("wait: %v", err)
		}
	}
	if out.Len() != 300000 || errs.String() != "y z /etc \xff a\n" {
		t.Errorf("%d bytes out, err %q", out.Len(), errs.String())
	}
	if p, err = onehost.Rexec(t.Context(), "h2", onehost.Cmd{Args: []string{"sh", "-c", "yes | head -n 9999; yes 2>&1 >&2 | head -n 9999; cat"}, Stdout: &both, Stderr: &both}); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil || both.Len() != 4*9999 {
		t.Errorf("both: %d bytes, %v", both.Len(), err)
	}
	if p, err = onehost.Rexec(t.Context(), "h2", onehost.Cmd{Args: []string{"sleep", "1000"}}); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	var exit *onehost.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.Signal != syscall.SIGTERM {
		t.Errorf("a signal: %v", err)
	}
}

// full is a writer that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// never is a reader that has nothing.
type never chan struct{}

func (n never) Read([]byte) (int, error) { <-n; return 0, io.EOF }

func TestRexecFailures(t *testing.T) {
	daemon(t)
	for _, k := range []struct {
		host string
		args []string
		want error
	}{
		{"h9", []string{"true"}, syscall.ENOENT},
		{"h2", []string{"/etc/passwd"}, syscall.EACCES},
		{"h2", nil, syscall.EINVAL},
		{"h2", []string{"a\x00b"}, syscall.EINVAL},
		{"h2", []string{"true", strings.Repeat("x", control.MaxWords)}, syscall.E2BIG},
	} {
		if _, err := onehost.Rexec(t.Context(), k.host, onehost.Cmd{Args: k.args}); !errors.Is(err, k.want) {
			t.Errorf("%s %.20q: %v, want %v", k.host, k.args, err, k.want)
		}
	}
	p, err := onehost.Rexec(t.Context(), "h2", onehost.Cmd{Args: []string{"sh", "-c", "trap '' PIPE; yes; exit 0"}, Stdout: full{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a writer that fails: %v", err)
	}
	in := make(never)
	defer close(in)
	ctx, cancel := context.WithCancel(t.Context())
	if p, err = onehost.Rexec(ctx, "h2", onehost.Cmd{Args: []string{"sleep", "1000"}, Stdin: in}); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := p.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	t.Setenv("ONEHOST_TEST_CRASH", "yes")
	if p, err = onehost.Rexec(t.Context(), "h2", onehost.Cmd{Args: []string{"true"}}); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); !errors.Is(err, syscall.EHOSTDOWN) {
		t.Errorf("a host that is lost: %v", err)
	}
}
