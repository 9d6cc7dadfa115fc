package sys

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// state gives a gateState without its thread.
func state(names ...string) *gateState {
	s := &gateState{names: uint32(len(names))}
	for i, name := range names {
		s.name[i].len = uint8(copy(s.name[i].b[:], name))
		s.name[i].whole = name[0] == '/'
	}
	return s
}

func TestGatePlain(t *testing.T) {
	if !hasGate {
		t.Skip("no gate on this machine")
	}
	s := state("make", "xargs", "/opt/tool/run")
	for name, want := range map[string]bool{
		"/usr/bin/gcc": true, "gcc": true, "/usr/bin/make": false, "make": false, "./make": false, "/usr/bin/cmake": true, "/make/gcc": true,
		"makes": true, "/usr/bin/xargs": false, "/opt/tool/run": false, "run": true, "/x/opt/tool/run": true, "": false,
	} {
		var b [gateName]byte
		copy(b[:], name)
		if got := s.plain(&b, gateName); got != want {
			t.Errorf("%q is plain: %v; want %v", name, got, want)
		}
		if len(name) > 0 && s.plain(&b, uint64(len(name))) {
			t.Errorf("%q of which the end was not read is plain", name)
		}
	}
}

func TestGateSets(t *testing.T) {
	if !hasGate {
		t.Skip("no gate on this machine")
	}
	rapid.Check(t, func(t *rapid.T) {
		g, model := &Gate{s: state()}, map[int]bool{}
		pid := rapid.OneOf(rapid.IntRange(1, 70), rapid.IntRange(1, GatePids-1))
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			p, on := pid.Draw(t, "pid"), rapid.Bool().Draw(t, "on")
			g.Watch(p, on)
			model[p] = on
		}
		for p, want := range model {
			if has(&g.s.watched, uint32(p)) != want {
				t.Fatalf("%d is watched: %v; want %v", p, !want, want)
			}
		}
	})
}

func TestGateParent(t *testing.T) {
	if !hasGate {
		t.Skip("no gate on this machine")
	}
	name := t.TempDir() + "/a) S 4 (" // the name of a program may look like the rest of its line
	if err := os.Link("/bin/sleep", name); err != nil {
		b, err := os.ReadFile("/bin/sleep")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(name, "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := state()
	if got := s.parent(uint32(cmd.Process.Pid)); got != uint32(os.Getpid()) {
		t.Errorf("parent %d; want %d", got, os.Getpid())
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed
	if got := s.parent(uint32(cmd.Process.Pid)); got != 0 {
		t.Errorf("parent of a process that is gone: %d", got)
	}
}

// The thread ends when told to, and takes nothing along.
func TestGateStops(t *testing.T) {
	if !hasGate {
		t.Skip("no gate on this machine")
	}
	r, w, err := os.Pipe() // never readable: as a listener without calls
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	before := entries(t)
	for range 50 {
		g, err := NewGate(int(r.Fd()), []string{"make"}, 1)
		if err != nil {
			t.Fatal(err)
		}
		g.Stop()
		if err := g.Receive(new(SeccompNotif)); !errors.Is(err, io.EOF) {
			t.Errorf("after the stop: %v", err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after := entries(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if _, err := NewGate(int(r.Fd()), make([]string, gateNames+1), 1); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("too many names: %v", err)
	}
}

func entries(t *testing.T) int {
	t.Helper()
	e, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(e)
}
