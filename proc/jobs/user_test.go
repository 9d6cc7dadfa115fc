package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
)

// TestSessionIsItsUsers: who asks for a job must be the user of the session it names.
func TestSessionIsItsUsers(t *testing.T) {
	h := NewHome(HomeConfig{})
	h.OpenSession(7, 1001)
	for _, c := range []struct {
		name    string
		session uint64
		uid     uint32
		want    error
	}{
		{"another user", 7, 1002, unix.EPERM},
		{"root", 7, 0, unix.EPERM},
		{"no session", 8, 1001, unix.ESRCH},
	} {
		for _, again := range []bool{false, true} {
			body, err := json.Marshal(control.ExecRequest{Session: c.session, Pid: 1, Again: again})
			if err != nil {
				t.Fatal(err)
			}
			if err := h.ServeExec(context.Background(), control.Caller{UID: c.uid}, nil, body, nil); !errors.Is(err, c.want) {
				t.Errorf("%s, again %v: %v, want %v", c.name, again, err, c.want)
			}
		}
	}
	if err := h.mayUse(7, control.Caller{UID: 1001}); err != nil {
		t.Error(err)
	}
	h.DropSession(7)
	if err := h.mayUse(7, control.Caller{UID: 1001}); !errors.Is(err, unix.ESRCH) {
		t.Errorf("after its end: %v", err)
	}
}

// TestProcessIsItsCallers: a process goes elsewhere only when its own user holds it stopped at its exec.
func TestProcessIsItsCallers(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("running a program as another user needs root")
	}
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	const user, other = 65534, 65533
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}, Ptrace: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	pid := cmd.Process.Pid
	var w unix.WaitStatus
	if _, err := unix.Wait4(pid, &w, unix.WALL, nil); err != nil || !w.Stopped() {
		t.Fatalf("not stopped at its exec: %#x, %v", w, err)
	}
	us := unix.Getpid()
	for _, c := range []struct {
		name string
		who  control.Caller
		want error
	}{
		{"another user", control.Caller{Pid: us, UID: other}, unix.EPERM},
		{"its user, who does not hold it", control.Caller{Pid: 1, UID: user}, unix.EPERM},
		{"its user, who does", control.Caller{Pid: us, UID: user}, nil},
		{"root, who does", control.Caller{Pid: us}, nil},
	} {
		_, err := readImage(c.who, pid)
		if _, stays := errors.AsType[refusal](err); stays { // such as being in the test's own sandbox: it was allowed to ask
			err = nil
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := unix.PtraceDetach(pid); err != nil {
		t.Fatal(err)
	}
	if _, err := readImage(control.Caller{Pid: us, UID: user}, pid); !errors.Is(err, unix.EBUSY) {
		t.Errorf("not stopped: %v", err)
	}
}
