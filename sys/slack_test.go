package sys

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestTimerSlack(t *testing.T) {
	if err := SetTimerSlack(100 * time.Microsecond); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = SetTimerSlack(50 * time.Microsecond) }()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil || len(tasks) == 0 {
		t.Fatal("no threads", err)
	}
	for _, task := range tasks {
		got, err := os.ReadFile("/proc/" + task.Name() + "/timerslack_ns")
		if os.IsNotExist(err) {
			continue
		}
		if err != nil || strings.TrimSpace(string(got)) != "100000" {
			t.Errorf("thread %s has slack %q (%v): want 100000", task.Name(), got, err)
		}
	}
}
