package session

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/place"
	"github.com/onehost/onehost/sys"
)

// The test binary stands in for onehost: with envRun set it runs its arguments in a session.
const (
	envRun    = "ONEHOST_TEST_RUN"    // path of the control socket, or "local"
	envReport = "ONEHOST_TEST_REPORT" // file the reports go to
	envSpread = "ONEHOST_TEST_SPREAD" // one more spreader
	envRetry  = "ONEHOST_TEST_FALLBACK"
)

func TestMain(m *testing.M) {
	if Reexec(os.Args) {
		return
	}
	if where := os.Getenv(envRun); where != "" {
		os.Exit(runMain(where))
	}
	os.Exit(m.Run())
}

func runMain(where string) int {
	cfg := Config{Argv: os.Args[1:], ControlPath: where, Local: where == "local", Fallback: os.Getenv(envRetry), Slots: -1}
	extra, err := place.ParseRules(strings.NewReader("go echo sh cat sleep true\nspread spawner python3 "+os.Getenv(envSpread)), "test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 125
	}
	cfg.Rules = place.DefaultRules().Merge(extra)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "ONEHOST_TEST_") {
			cfg.Env = append(cfg.Env, v)
		}
	}
	if p := os.Getenv(envReport); p != "" {
		f, err := os.OpenFile(p, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 125
		}
		defer f.Close()
		cfg.Report = &fileReport{f: f}
	}
	st, err := Run(context.Background(), cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, "onehost:", err)
		if st.Shell() == 0 {
			return 125
		}
	}
	return st.Death()
}

type fileReport struct{ f *os.File }

func (r *fileReport) JobLocal(_ uint64, cmd, why string) {
	fmt.Fprintf(r.f, "local\t%s\t%s\n", cmd, why)
}

func (r *fileReport) JobRemote(_ uint64, cmd string, h names.HostName) {
	fmt.Fprintf(r.f, "remote\t%s\t%s\n", cmd, h)
}

func (r *fileReport) JobDone(_ uint64, st int, _, _ time.Duration) {
	fmt.Fprintf(r.f, "done\t%d\n", st)
}
func (r *fileReport) Say(line string) { fmt.Fprintf(r.f, "say\t%s\n", line) }

// fake is a daemon whose hosts are imagined: the job's own words say what becomes of it.
type fake struct {
	t      *testing.T
	path   string
	srv    *control.Server
	mu     sync.Mutex
	orders []control.JobOrder
	execs  []control.ExecRequest
	placed int
	freed  map[uint64]int
	kept   map[uint64]kept // images by job
	home   bool            // every job stays
	never  bool            // and nothing may run at home
	only   string          // only commands with this word go
	hosts  int             // hosts 2..hosts+1
	conns  int             // that have carried jobs
	single bool            // each carries one only, as with daemons of before
	calls  control.Handler // what it makes of calls about processes elsewhere; nil: as a daemon that does not know them
}

type kept struct {
	fds   []control.FD
	files []*os.File
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, path: filepath.Join(t.TempDir(), "control.sock"), freed: map[uint64]int{}, kept: map[uint64]kept{}, hosts: 2}
	srv, err := control.Listen(f.path, map[string]control.Handler{control.OpSession: f.session, control.OpExec: f.exec, control.OpCall: f.call})
	if err != nil {
		t.Fatal(err)
	}
	f.srv = srv
	// Other users' sessions reach it too.
	if err := os.Chmod(filepath.Dir(f.path), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	return f
}

func (f *fake) call(ctx context.Context, who control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
	f.mu.Lock()
	h := f.calls
	f.mu.Unlock()
	if h == nil {
		return control.Refuse(syscall.ENOSYS, "the operation is not known")
	}
	return h(ctx, who, c, body, files)
}

func (f *fake) session(_ context.Context, _ control.Caller, c *control.Conn, _ json.RawMessage, _ []*os.File) error {
	if err := c.Send(control.SessionReply{Session: 7, Home: "h1", CPUs: 2}); err != nil {
		return err
	}
	for {
		var req control.PlaceRequest
		if _, err := c.Receive(&req); err != nil {
			f.mu.Lock()
			for _, k := range f.kept {
				for _, fl := range k.files {
					fl.Close()
				}
			}
			f.mu.Unlock()
			return nil
		}
		f.mu.Lock()
		if req.Release != nil {
			f.freed[req.Release.Job]++
			f.mu.Unlock()
			continue
		}
		f.placed++
		rep := control.PlaceReply{Seq: req.Seq, Job: req.Job}
		if left := f.hosts - len(req.Avoid); f.home || left <= 0 || !strings.Contains(req.Command, f.only) {
			rep.Reason, rep.Refused = "no slot", f.never
		} else {
			rep.Host = names.Host(2 + len(req.Avoid))
			rep.Name = names.HostName("h" + rep.Host.String())
		}
		f.mu.Unlock()
		if err := c.Send(rep); err != nil {
			return nil
		}
	}
}

// exec plays the words after "job": each is what the host does next.
//
//	exit N, die N, hold (until a signal comes, and die by it), stop N, lose (the host is lost), lose1 (only host 2), drained (host 2 takes no new jobs),
//	refuse, murder (it is killed while it is held), regicide (run is, and its keeper stopped), the former followed by refuse or not, out TEXT (write to descriptor 1), belated N (of N orders each crosses old news; a new group follows), order (wait for one order), drop (close without a word)
func (f *fake) exec(ctx context.Context, who control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
	f.mu.Lock()
	f.conns++
	f.mu.Unlock()
	for {
		more, err := f.play(ctx, who, c, body, files)
		if err != nil || !more {
			return err
		}
		var next control.Request
		if files, err = c.Receive(&next); err != nil {
			return nil
		}
		body = next.Body
	}
}

// play plays one job. more: its connection takes another one.
func (f *fake) play(ctx context.Context, who control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) (more bool, _ error) {
	var req control.ExecRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return false, err
	}
	f.mu.Lock()
	f.execs = append(f.execs, req)
	if !req.Again {
		f.kept[req.Job] = kept{req.FDs, files}
	}
	image := f.kept[req.Job]
	f.mu.Unlock()
	again := false // the image stays for another host
	defer func() {
		if !again {
			for _, fl := range image.files {
				fl.Close()
			}
		}
	}()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(req.Pid) + "/cmdline")
	if err != nil {
		return false, err
	}
	words := strings.Fields(strings.ReplaceAll(string(b), "\x00", " "))
	for len(words) > 0 && words[0] != "job" {
		words = words[1:]
	}
	if len(words) > 1 && words[1] == "murder" {
		if err := unix.Kill(req.Pid, unix.SIGKILL); err != nil {
			return false, err
		}
		words = words[1:]
	}
	if len(words) > 1 && words[1] == "regicide" {
		keeper, err := sys.ReadProcStat(req.Pid)
		if err != nil {
			return false, err
		}
		return false, errors.Join(unix.Kill(keeper.Ppid, unix.SIGSTOP), unix.Kill(who.Pid, unix.SIGKILL))
	}
	if len(words) > 1 && words[1] == "refuse" {
		return false, c.Send(control.JobEvent{Kind: control.JobRefused, Reason: "imagined"})
	}
	if !req.Again {
		if err := c.Send(control.JobEvent{Kind: control.JobCaptured}); err != nil {
			return false, err
		}
		var o control.JobOrder
		if _, err := c.Receive(&o); err != nil {
			return false, nil // it was killed, and has no ghost
		}
		if st, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", req.Pid)); !o.Ghost || err == nil && !strings.Contains(string(st), "\nTracerPid:\t0\n") {
			return false, fmt.Errorf("job %d is to begin, and its process is no ghost that was let go: %+v, %s", req.Job, o, st)
		}
	}
	over := false
	orders := make(chan control.JobOrder, 256)
	go func() {
		defer close(orders)
		for {
			var o control.JobOrder
			if _, err := c.Receive(&o); err != nil {
				return
			}
			if o.Over {
				over = true
				return
			}
			f.mu.Lock()
			f.orders = append(f.orders, o)
			f.mu.Unlock()
			orders <- o
		}
	}()
	exited := func(ev control.JobEvent) (bool, error) {
		f.mu.Lock()
		ev.Next = !f.single
		f.mu.Unlock()
		if err := c.Send(ev); err != nil || !ev.Next {
			return false, err
		}
		for range orders { // until the session has no more to say
		}
		return over, nil
	}
	num := func(i int) int {
		if i >= len(words) {
			return 0
		}
		n, _ := strconv.Atoi(words[i])
		return n
	}
	for i := 1; i < len(words); i++ {
		switch words[i] {
		case "exit":
			return exited(control.JobEvent{Kind: control.JobExited, Code: num(i + 1)})
		case "die":
			return exited(control.JobEvent{Kind: control.JobExited, Signal: num(i + 1)})
		case "lose":
			again = req.Host == 2
			return false, c.Send(control.JobEvent{Kind: control.JobLost, Reason: "imagined"})
		case "lose1":
			if req.Host == 2 {
				again = true
				return false, c.Send(control.JobEvent{Kind: control.JobLost, Reason: "imagined"})
			}
		case "drained":
			if req.Host == 2 {
				again = true
				return false, c.Send(control.JobEvent{Kind: control.JobLost, Reason: "imagined", Unbegun: true})
			}
		case "drop":
			return false, nil
		case "out":
			for j, fd := range image.fds {
				if fd.N == 1 {
					fmt.Fprintln(image.files[j], words[i+1])
				}
			}
			i++
		case "stop":
			if err := c.Send(control.JobEvent{Kind: control.JobStopped, Signal: num(i + 1)}); err != nil {
				return false, err
			}
			i++
		case "hold":
			for o := range orders {
				switch syscall.Signal(o.Signal) {
				case unix.SIGTSTP, unix.SIGSTOP, unix.SIGTTIN, unix.SIGTTOU:
					if err := c.Send(control.JobEvent{Kind: control.JobStopped, Signal: o.Signal, Done: o.N}); err != nil {
						return false, err
					}
				case unix.SIGCONT:
					if err := c.Send(control.JobEvent{Kind: control.JobContinued, Done: o.N}); err != nil {
						return false, err
					}
				default:
					return exited(control.JobEvent{Kind: control.JobExited, Signal: o.Signal})
				}
			}
			return false, nil
		case "belated": // news of a stop comes when the job has been sent a SIGCONT, and one of a continue when it has been sent a SIGSTOP
			news := map[int]control.JobEvent{
				int(unix.SIGCONT): {Kind: control.JobStopped, Signal: int(unix.SIGTSTP)}, int(unix.SIGSTOP): {Kind: control.JobContinued},
			}
			for range num(i + 1) {
				o, ok := <-orders
				if !ok {
					return false, nil
				}
				ev := news[o.Signal]
				ev.Done = o.N - 1
				if err := errors.Join(c.Send(ev), c.Send(control.JobEvent{Kind: control.JobRegrouped, Group: req.Pid})); err != nil {
					return false, err
				}
			}
			i++
		case "order":
			select {
			case <-orders:
			case <-ctx.Done():
				return false, nil
			}
		}
	}
	return exited(control.JobEvent{Kind: control.JobExited})
}

// count changes how many hosts there are.
func (f *fake) count(hosts int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hosts = hosts
}

// set changes what the hosts do.
func (f *fake) set(home bool, only string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.home, f.only = home, only
}

func (f *fake) ordered() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []int
	for _, o := range f.orders {
		out = append(out, o.Signal)
	}
	return out
}

// session is one run of the test binary as `onehost run`.
type outcome struct {
	out    string
	status syscall.WaitStatus
	report string
}

func (f *fake) command(t *testing.T, env []string, argv ...string) (*exec.Cmd, *bytes.Buffer, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report")
	cmd := exec.Command(self, argv...)
	cmd.Env = append(os.Environ(), envRun+"="+f.path, envReport+"="+report)
	cmd.Env = append(cmd.Env, env...)
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out, report
}

func (f *fake) run(t *testing.T, env []string, argv ...string) outcome {
	t.Helper()
	cmd, out, report := f.command(t, env, argv...)
	err := withLimit(t, cmd, 60*time.Second)
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		t.Fatal(err)
	}
	b, err := os.ReadFile(report)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return outcome{out: out.String(), status: cmd.ProcessState.Sys().(syscall.WaitStatus), report: string(b)}
}

func withLimit(t *testing.T, cmd *exec.Cmd, limit time.Duration) error {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	return cmd.Wait()
}

// eventually polls a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("timeout: %s", what)
}
