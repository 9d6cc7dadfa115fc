package proc

import (
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
)

// TestContinueAway: a job is continued through its ghost if that is stopped, whose stop the job may not have heard of yet; otherwise
// it is itself.
func TestContinueAway(t *testing.T) {
	sleep := func() int {
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		return cmd.Process.Pid
	}
	send := func(pid int, sig syscall.Signal) {
		t.Helper()
		if err := unix.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
	}
	becomes := func(pid int, stopped bool) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); Here(pid).Stopped() != stopped; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d does not become stopped=%v", pid, stopped)
			}
		}
	}
	ghost, job := sleep(), sleep()
	a := &Away{Remote: &Remote{Pid: names.MakePid(1, ghost), To: 2, By: wire{Here(job)}}, Ghost: Here(ghost)}
	send(job, unix.SIGSTOP)
	becomes(job, true)
	send(ghost, unix.SIGSTOP) // about to stop is enough
	if err := a.Signal(t.Context(), Daemon, Signal{Number: int(unix.SIGCONT)}); err != nil {
		t.Fatal(err)
	}
	becomes(ghost, false)
	if !Here(job).Stopped() {
		t.Error("the job was told as well")
	}
	if err := a.Signal(t.Context(), Daemon, Signal{Number: int(unix.SIGCONT)}); err != nil {
		t.Fatal(err)
	}
	becomes(job, false)
}
