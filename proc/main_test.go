package proc

import (
	"os/exec"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	user  = 65534
	other = 65533
)

// callerOf makes a plain caller: no group but his own, no capability.
func callerOf(uid uint32) *Caller {
	return &Caller{UID: [3]uint32{uid, uid, uid}, GID: [3]uint32{uid, uid, uid}}
}

// root is a caller with all rights who is not this daemon.
func root() *Caller { return &Caller{Capabilities: ^uint64(0)} }

func needRoot(t testing.TB) {
	t.Helper()
	if unix.Geteuid() != 0 {
		t.Skip("taking on another user's rights needs root")
	}
}

// sleeper starts a process of the user that leads a group and a session of its own.
func sleeper(t testing.TB, uid uint32) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // the test may have
	})
	return cmd
}
