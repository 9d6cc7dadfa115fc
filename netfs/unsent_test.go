package netfs_test

import (
	"context"
	"os"
	"testing"
	"time"
)

// TestUnsentGoes loses a helper that had made files: what it sent nothing of must not stay behind, what it did must.
func TestUnsentGoes(t *testing.T) {
	h := newHome(t, t.TempDir())
	put(t, h.path("old"), "old")
	x, other := h.mount(t), h.mount(t)
	put(t, x.path("held"), "held back")
	put(t, x.path("empty"), "")
	put(t, x.path("told"), "")
	put(t, x.path("sent"), "sent")
	x.flush(t) // as the end of a job: what is empty is meant to be
	put(t, x.path("again"), "held back")
	put(t, x.path("before"), "held back")
	if err := os.Rename(x.path("before"), x.path("moved")); err != nil {
		t.Fatal(err)
	}
	put(t, x.path("seen"), "")
	want(t, other.path("seen"), "") // handed over as it is
	if err := os.Truncate(x.path("old"), 0); err != nil {
		t.Fatal(err)
	}
	put(t, x.path("taken"), "held back")
	put(t, h.path("taken"), "") // the home's own programs made something of it
	put(t, h.path("taken"), "mine")

	lost := make(chan struct{})
	_ = x.far.Close() // before the question: a helper that is there has nothing to settle
	go func() { h.srv.Lost(t.Context(), x.num, 1); close(lost) }()
	select {
	case <-lost:
		t.Fatal("it is taken for settled while nobody knows whether that helper comes back")
	case <-time.After(50 * time.Millisecond):
	}
	h.srv.DropClient(x.num, 1)
	select {
	case <-lost:
	case <-time.After(time.Second):
		t.Error("the end of that life settles nothing")
	}
	for _, gone := range []string{"again", "before", "moved"} {
		absent(t, h.path(gone))
	}
	other.sync(t)
	absent(t, other.path("again"))
	for name, text := range map[string]string{"held": "held back", "empty": "", "told": "", "sent": "sent", "seen": "", "old": "", "taken": "mine"} {
		want(t, h.path(name), text)
	}
	begin := time.Now()
	h.srv.Lost(context.Background(), x.num, 1)
	if d := time.Since(begin); d > time.Second {
		t.Errorf("with nothing left it waited for %v", d)
	}
}

// TestUnsentComesBack loses only the connection of a helper: what it holds back it sends by the next.
func TestUnsentComesBack(t *testing.T) {
	h := newHome(t, t.TempDir())
	c := h.wire(t)
	put(t, c.path("f"), "held back")
	c.pull(true)
	time.AfterFunc(100*time.Millisecond, c.plug)
	begin := time.Now()
	h.srv.Lost(t.Context(), c.num, 1)
	if d := time.Since(begin); d < 50*time.Millisecond || d > 2500*time.Millisecond {
		t.Errorf("it waited for %v; the helper came back after 100 ms", d)
	}
	c.flush(t)
	want(t, h.path("f"), "held back")
}
