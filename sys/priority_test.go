package sys

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSetNice runs in a copy of this program: the value cannot be taken back without privilege.
func TestSetNice(t *testing.T) {
	if os.Getenv("SYS_TEST") != "nice" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestSetNice$")
		cmd.Env = append(os.Environ(), "SYS_TEST=nice")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	before, err := Nice()
	if err != nil {
		t.Fatal(err)
	}
	want := before + 3
	if err := SetNice(want); err != nil {
		t.Fatal(err)
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil || len(tasks) < 2 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		if err != nil {
			t.Fatal(err)
		}
		if n, err := unix.Getpriority(unix.PRIO_PROCESS, tid); err != nil || 20-n != want {
			t.Errorf("thread %d: nice %d, %v, want %d", tid, 20-n, err, want)
		}
	}
	out, err := exec.Command("nice").Output()
	if err != nil || strings.TrimSpace(string(out)) != strconv.Itoa(want) {
		t.Errorf("a child's nice value: %q, %v, want %d", out, err, want)
	}
}

func TestScheduler(t *testing.T) {
	policy, err := Scheduler(os.Getpid())
	if err != nil || RealTime(policy) {
		t.Errorf("%#x, real-time %v, %v", policy, RealTime(policy), err)
	}
	for policy, want := range map[uint32]bool{unix.SCHED_BATCH: false, unix.SCHED_IDLE | 0x40000000: false, unix.SCHED_FIFO: true, unix.SCHED_RR | 0x40000000: true, unix.SCHED_DEADLINE: true} {
		if RealTime(policy) != want {
			t.Errorf("%#x: want %v", policy, want)
		}
	}
}
