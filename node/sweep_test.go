package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
)

// left makes what a daemon leaves that was killed, twice: mounts over mounts.
func left(t *testing.T) *Config {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts")
	}
	run := t.TempDir()
	c := &Config{Run: run, Control: filepath.Join(run, "control.sock")}
	for _, home := range []string{"1.1", "3.12"} {
		for _, name := range treeMounts {
			at := filepath.Join(c.homesDir(), home, name)
			if err := os.MkdirAll(at, 0o700); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := unix.Mount("left", at, "tmpfs", 0, "size=4k"); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
			}
		}
	}
	return c
}

func mounted(t *testing.T, below string) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(data), " "+below+"/")
}

func TestSweep(t *testing.T) {
	c := left(t)
	none := func(string) bool { return false }
	if err := c.sweep(none); err != nil {
		t.Error(err)
	}
	if n := mounted(t, c.Run); n != 0 {
		t.Errorf("%d mounts are left", n)
	}
	if homes, err := os.ReadDir(c.homesDir()); err != nil || len(homes) != 0 {
		t.Errorf("%v are left, %v", homes, err)
	}
	if err := c.sweep(none); err != nil {
		t.Errorf("with nothing to do: %v", err)
	}
}

// TestSweepKeeps: what living carriers have mounted stays, and of a dead one only that goes.
func TestSweepKeeps(t *testing.T) {
	c := left(t)
	if err := c.clear("3.1"); err != nil {
		t.Error(err)
	}
	if n := mounted(t, c.Run); n != 8 {
		t.Errorf("%d of 8 mounts of other carriers are left", n)
	}
	if err := c.clear("3"); err != nil {
		t.Error(err)
	}
	if n := mounted(t, c.Run); n != 4 {
		t.Errorf("%d mounts are left, of 4 that are another carrier's", n)
	}
	if err := c.sweep(func(name string) bool { return name == "1.1" }); err != nil {
		t.Error(err)
	}
	if n := mounted(t, c.Run); n != 4 {
		t.Errorf("%d of 4 mounts of a living carrier are left", n)
	}
}

// TestAnswers: a daemon sees that another one has its socket.
func TestAnswers(t *testing.T) {
	c := &Config{Control: filepath.Join(t.TempDir(), "control.sock")}
	if c.answers() {
		t.Error("nobody listens, and answers")
	}
	s, err := control.Listen(c.Control, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !c.answers() {
		t.Error("who listens does not answer")
	}
}
