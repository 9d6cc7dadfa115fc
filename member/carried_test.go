package member

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
)

// TestAdmitsCarrier: a carrier is heard for as long as its host lives the life in which it was started, whichever incarnation that is in now.
func TestAdmitsCarrier(t *testing.T) {
	for _, c := range []struct {
		what   string
		host   Host
		of     names.Incarnation
		admits bool
	}{
		{"its daemon lives", Host{Incarnation: 3, State: Alive}, 3, true},
		{"it is drained", Host{Incarnation: 3, State: Drained}, 3, true},
		{"the daemon was started again", Host{Incarnation: 5, Birth: 3, State: Alive}, 3, true},
		{"and again", Host{Incarnation: 5, Birth: 3, State: Alive}, 4, true},
		{"the view is behind", Host{Incarnation: 3, State: Alive}, 4, true},
		{"the view is behind a failure", Host{Incarnation: 3, State: Failed}, 4, true},
		{"its host has failed", Host{Incarnation: 3, State: Failed}, 3, false},
		{"its host has failed since", Host{Incarnation: 5, Birth: 3, State: Failed}, 4, false},
		{"its host had failed in between", Host{Incarnation: 5, Birth: 5, State: Alive}, 4, false},
		{"its host was started again", Host{Incarnation: 5, State: Alive}, 4, false},
		{"its host has left", Host{Incarnation: 3, State: Left}, 3, false},
	} {
		c.host.Number = 2
		v := View{Seq: 1, Hosts: []Host{c.host}}
		if err := v.AdmitsCarrier(2, c.of); (err == nil) != c.admits {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	if (View{Seq: 1}).AdmitsCarrier(2, 1) == nil {
		t.Error("a carrier of a stranger is admitted")
	}
}

// TestCarriers: of each host the last carrier counts; one that is not admitted any more is ended in order, and then its connection is.
func TestCarriers(t *testing.T) {
	c := newCluster(t, 2)
	ctx := testContext(t)
	parted := make(chan link.Peer, 10)
	home := c.hosts["h1"]
	home.cfg.Part = func(_ context.Context, c *link.Conn) {
		if err := c.Err(); err != nil {
			t.Errorf("it is ended when its connection has: %v", err)
		}
		parted <- c.Peer()
	}
	cred, err := c.hosts["h2"].Credentials()
	if err != nil {
		t.Fatal(err)
	}
	id, err := cred.Identity()
	if err != nil {
		t.Fatal(err)
	}
	start := func(number uint32) (*link.Conn, names.Incarnation) {
		t.Helper()
		cred.Hello.Carrier = number
		c, err := link.Dial(ctx, home.Addr(), id, cred.Hello, 1, link.NewRouter())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c, cred.Hello.Incarnation.Carrier(number)
	}
	ended := func(what string, c *link.Conn) {
		t.Helper()
		select {
		case <-c.Done():
		case <-time.After(10 * time.Second):
			t.Errorf("%s goes on", what)
		}
	}
	if c := home.Carrier(2); c != nil {
		t.Errorf("a carrier before there is one: %v", c.Peer())
	}
	first, one := start(1)
	if got, err := home.AwaitCarrier(ctx, 2, one); err != nil || got.Peer().Incarnation != one {
		t.Fatalf("the first carrier: %v", err)
	}
	same, _ := start(1) // it has lost its connection
	ended("its lost connection", first)
	second, two := start(2)
	ended("the first carrier", same)
	if got, err := home.AwaitCarrier(ctx, 2, two); err != nil || got != home.Carrier(2) {
		t.Fatalf("the second carrier: %v", err)
	}
	if _, err := home.AwaitCarrier(ctx, 2, one); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("the first is waited for when there is a second: %v", err)
	}
	late, _ := start(1)
	ended("one that comes too late", late)
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := home.AwaitCarrier(soon, 2, cred.Hello.Incarnation.Carrier(3)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that does not come: %v", err)
	}
	if second.Err() != nil {
		t.Errorf("the second carrier: %v", second.Err())
	}
	c.kill("h2") // only its daemon: the carrier's connection is this test's
	select {
	case p := <-parted:
		if p.Number != 2 || p.Carrier != 2 {
			t.Errorf("another one is ended: %v", p)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nobody is told that its host has failed")
	}
	ended("the second carrier", second)
	if c, err := link.Dial(ctx, home.Addr(), id, cred.Hello, 1, link.NewRouter()); err == nil {
		c.Close()
		t.Error("a carrier of a host that has failed is admitted: " + fmt.Sprint(c.Peer()))
	}
}
