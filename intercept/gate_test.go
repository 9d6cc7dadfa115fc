package intercept

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onehost/onehost/names"
)

// seer lists the execs that it is told of.
type seer struct {
	gate *Gate

	mu   sync.Mutex
	seen []string
}

func (s *seer) Exec(n *Notification) {
	name, err := n.ReadString(n.Args[0], 4096)
	if err != nil {
		name = err.Error()
	}
	s.mu.Lock()
	s.seen = append(s.seen, name)
	s.mu.Unlock()
	if strings.HasSuffix(name, "/spread") { // as a supervisor does, before its children can be
		s.gate.Spreader(n.TID, true)
	}
	n.Continue()
}

func (s *seer) Foreign(n *Notification, _ names.Pid)  { n.Fail(1) }
func (s *seer) Signal(n *Notification, _, _ int)      { n.Continue() }
func (s *seer) Setter(n *Notification, _ int, _ bool) { n.Continue() }

// TestGate: of a script's execs only those that may concern somebody are told, and all of them.
func TestGate(t *testing.T) {
	dir := t.TempDir()
	spread := dir + "/spread"
	if err := os.WriteFile(spread, []byte("#!/bin/sh\n/bin/echo child; /bin/true; sh -c '/bin/true; :'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	long := dir + "/" + strings.Repeat("x/../", 60) + "y"
	if err := os.Mkdir(dir+"/x", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/true", dir+"/y"); err != nil {
		t.Fatal(err)
	}
	l, k := filtered(t, []string{"/bin/sh", "-c", `
		for i in 1 2 3 4 5 6 7 8 9 10; do /bin/true; /bin/echo $i; done >/dev/null
		` + long + `
		` + spread + ` >/dev/null
		/bin/true
		exec /bin/true`})
	h := &seer{}
	h.gate = l.Guard([]string{"spread"}, k.command)
	if h.gate == nil {
		t.Skip("no gate on this machine")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, h) }()
	if status := k.status(t); status != 0 {
		t.Errorf("the script ended with %#x", status)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	// The script of spread is its interpreter: its children are its own, and those of the sh among them are not.
	want := []string{"/bin/sh", long, spread, "/bin/echo", "/bin/true", "/usr/bin/sh", "/bin/true"}
	got := slices.Clone(h.seen)
	for i := range got {
		if got[i] == "/bin/sh" && i > 0 {
			got[i] = "/usr/bin/sh"
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("told of %q\nwant    %q", got, want)
	}
}
