package space

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

const user = 65534

// TestKillIsTheCallers: the control socket sends with the rights of whoever asks.
func TestKillIsTheCallers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := cluster(t, 1)[1].space
	users := exec.Command("sleep", "1000")
	users.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	if err := users.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = users.Process.Kill()
		_ = users.Wait() // killed
	}()
	roots := sleeper(t)
	him, us := control.Caller{Pid: users.Process.Pid, UID: user, GID: user}, control.Caller{Pid: os.Getpid()}
	for _, c := range []struct {
		name string
		who  control.Caller
		pid  int
		sig  int
		want error
	}{
		{"a user, his own", him, users.Process.Pid, 0, nil},
		{"a user, root's", him, roots.Process.Pid, 0, syscall.EPERM},
		{"a user, with root's pid", control.Caller{Pid: os.Getpid(), UID: user, GID: user}, roots.Process.Pid, 0, syscall.EPERM},
		{"root, with a user's pid", control.Caller{Pid: users.Process.Pid}, roots.Process.Pid, 0, syscall.EPERM},
		{"nobody any more", control.Caller{Pid: 1 << 30, UID: user, GID: user}, users.Process.Pid, 0, syscall.ESRCH},
		{"a user from outside", control.Caller{UID: user, GID: user}, roots.Process.Pid, 0, syscall.EPERM},
		{"root from outside", control.Caller{}, roots.Process.Pid, 0, nil},
		{"root", us, users.Process.Pid, 0, nil},
		{"no such signal", us, users.Process.Pid, 99, syscall.EINVAL},
		{"no such process", us, 1 << 15, 0, syscall.ESRCH},
	} {
		body, err := json.Marshal(control.KillRequest{Pid: names.Pid(c.pid), Signal: c.sig})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.kill(t.Context(), c.who, body); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestControl: where, kill and wait over the socket.
func TestControl(t *testing.T) {
	s := cluster(t, 1)[1].space
	path := filepath.Join(t.TempDir(), "control.sock")
	srv, err := control.Listen(path, s.Handlers(func(h names.Host) (names.HostName, bool) { return names.HostName("h" + h.String()), true }))
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := sleeper(t)
	pid := names.Pid(cmd.Process.Pid)
	var w control.WhereReply
	if err := control.Call(ctx, path, control.OpWhere, control.PidRequest{Pid: pid}, &w); err != nil || w != (control.WhereReply{Pid: names.MakePid(1, pid.Local()), Home: "h1", Host: "h1"}) {
		t.Errorf("where: %+v, %v", w, err)
	}
	impatient, leave := context.WithTimeout(ctx, 100*time.Millisecond)
	defer leave()
	if err := control.Call(impatient, path, control.OpWait, control.PidRequest{Pid: pid}, &control.WaitReply{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a wait for what lives: %v", err)
	}
	ended := make(chan error, 1)
	var r control.WaitReply
	go func() { ended <- control.Call(ctx, path, control.OpWait, control.PidRequest{Pid: pid}, &r) }()
	if err := control.Call(ctx, path, control.OpKill, control.KillRequest{Pid: pid, Signal: 15}, &struct{}{}); err != nil {
		t.Error(err)
	}
	// Nobody but us fetches the status, which is known therefore: whether the wait began before the end or after it.
	if err := <-ended; err != nil || r != (control.WaitReply{Known: true, Signal: 15}) {
		t.Errorf("its end: %+v, %v", r, err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it ended well")
	}
	for _, op := range []string{control.OpWhere, control.OpWait, control.OpKill} {
		var f *control.Failure
		if err := control.Call(ctx, path, op, control.PidRequest{Pid: pid}, &struct{}{}); !errors.Is(err, syscall.ESRCH) || !errors.As(err, &f) {
			t.Errorf("%s of nobody: %v", op, err)
		}
	}
}
