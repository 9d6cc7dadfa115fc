package jobs

import (
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReadLimits: what /proc says is what prlimit says, of a process of another user too.
func TestReadLimits(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if unix.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	got, err := ReadLimits("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/limits")
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != unix.RLIMIT_RTTIME+1 {
		t.Fatalf("%d limits", len(got))
	}
	for r, l := range got {
		var want unix.Rlimit
		if err := unix.Prlimit(0, r, nil, &want); err != nil { // inherited from us
			t.Fatal(err)
		}
		if r == unix.RLIMIT_NOFILE {
			want.Cur = l.Cur // the runtime raised ours
		}
		if l.Resource != uint32(r) || l.Cur != want.Cur || l.Max != want.Max {
			t.Errorf("limit %d: %v, want %v", r, l, want)
		}
	}
}

func FuzzParseLimits(f *testing.F) {
	f.Add([]byte("Limit                     Soft Limit           Hard Limit           Units     \nMax cpu time              unlimited            unlimited            seconds   \n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if ls, err := parseLimits(b); err == nil && len(ls) != unix.RLIMIT_RTTIME+1 {
			t.Errorf("%d limits", len(ls))
		}
	})
}
