package proc

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// children lists this process's, dead or alive.
func children(t *testing.T) string {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, task := range tasks {
		b, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err == nil { // a thread that has just ended has none
			all.Write(b)
		}
	}
	return all.String()
}

// TestStuck: a child that does not come back is killed when its time is over, and leaves nothing.
func TestStuck(t *testing.T) {
	needRoot(t)
	before := children(t)
	for _, other := range []int{0, 1} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		began := time.Now()
		err := asOn(ctx, callerOf(user), other, sys.NewCall(unix.SYS_PPOLL))
		cancel()
		if took := time.Since(began); !errors.Is(err, syscall.ETIMEDOUT) || took > killTime {
			t.Errorf("%v after %v", err, took)
		}
	}
	if after := children(t); after != before {
		t.Errorf("children %q, before %q", after, before)
	}
}

// TestIdentity: what a child is when it makes its calls.
func TestIdentity(t *testing.T) {
	needRoot(t)
	who := &Caller{UID: [3]uint32{1, 2, 3}, GID: [3]uint32{4, 5, 6}, Groups: []uint32{7, 8}, Capabilities: 1 << unix.CAP_SYS_NICE}
	for _, other := range []int{0, 1} {
		ids, groups, caps := make([]byte, 12), make([]byte, 16), make([]byte, 24)
		version := []byte{0x22, 0x05, 0x08, 0x20, 0, 0, 0, 0} // LINUX_CAPABILITY_VERSION_3, of oneself
		pid, sid := sys.NewCall(unix.SYS_GETPID), sys.NewCall(unix.SYS_GETSID, 0)
		err := asOn(t.Context(), who, other, pid, sid,
			sys.NewCall(unix.SYS_GETRESUID).Buffer(0, ids[:4]).Buffer(1, ids[4:8]).Buffer(2, ids[8:]),
			sys.NewCall(unix.SYS_GETGROUPS, 4).Buffer(1, groups),
			sys.NewCall(unix.SYS_CAPGET).Buffer(0, version).Buffer(1, caps))
		if err != nil {
			t.Fatal(err)
		}
		p, _ := pid.Result()
		if s, _ := sid.Result(); p == os.Getpid() || s != p {
			t.Errorf("its pid is %d and its session %d", p, s)
		}
		if string(ids) != "\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00" || string(groups[:8]) != "\x07\x00\x00\x00\x08\x00\x00\x00" {
			t.Errorf("ids %v, groups %v", ids, groups)
		}
		if want := string([]byte{0, 0, 0x80, 0, 0, 0, 0x80, 0}); string(caps[:8]) != want {
			t.Errorf("capabilities %v", caps)
		}
	}
}

// TestMany: many at a time, and none of them left.
func TestMany(t *testing.T) {
	needRoot(t)
	p := Here(sleeper(t, user).Process.Pid)
	before := children(t)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for range 10 {
				if err := p.Signal(t.Context(), callerOf(user), Signal{}); err != nil {
					t.Errorf("%d: %v", i, err)
				}
				if err := p.Signal(t.Context(), callerOf(other), Signal{}); !errors.Is(err, syscall.EPERM) {
					t.Errorf("%d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	if after := children(t); after != before {
		t.Errorf("children %q, before %q", after, before)
	}
}
