package member

import (
	"testing"

	"github.com/onehost/onehost/names"
)

// TestBirth tells when a host that is opened again goes on with the life it had.
func TestBirth(t *testing.T) {
	dir := t.TempDir()
	start := func(boot string) *Member {
		t.Helper()
		m, err := open(Config{StateDir: dir, Boot: boot, Listen: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := start("one")
	if err := m.Init(t.Context(), "c", "h1", ""); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		boot       string
		inc, birth names.Incarnation
	}{{"one", 2, 1}, {"one", 3, 1}, {"two", 4, 4}, {"two", 5, 4}, {"", 6, 6}, {"", 7, 7}, {"two", 8, 8}} {
		m := start(c.boot)
		id := m.current().id
		if id.Incarnation != c.inc || id.Birth != c.birth {
			t.Errorf("boot %q: incarnation %d of a life that began with %d; want %d, %d", c.boot, id.Incarnation, id.Birth, c.inc, c.birth)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRegistryTellsBirths: a life that was declared failed is not gone on with, whatever the host says.
func TestRegistryTellsBirths(t *testing.T) {
	h := Host{Number: 2, Name: "h2", Incarnation: 3, State: Alive}
	for _, c := range []struct {
		what   string
		failed bool
		birth  names.Incarnation
		goesOn bool
	}{{"its daemon was started again", false, 2, true}, {"it was started again itself", false, 4, false}, {"it had failed", true, 2, false}} {
		s := State{View: View{Seq: 1, Cluster: "c", Hosts: []Host{h}}}
		if c.failed {
			if _, _, err := s.Apply(Command{Op: OpFail, Host: 2, Incarnation: 3}); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := s.Apply(Command{Op: OpRejoin, Host: 2, Incarnation: 4, Birth: c.birth}); err != nil {
			t.Fatal(err)
		}
		if is, _ := s.View.Host(2); is.GoesOn(3) != c.goesOn || !is.GoesOn(4) {
			t.Errorf("%s: %+v", c.what, is)
		}
	}
}
