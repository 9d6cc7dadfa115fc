package jobs

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/jobs/jobspb"
)

// TestHeld: a drained host refuses new jobs, and says how many it still has: those that run, those whose homes do not know that they have
// ended, and those that left something running.
func TestHeld(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes name spaces")
	}
	var drained atomic.Bool
	h := NewHelper(HelperConfig{
		Mount: func(context.Context, link.Peer) (Tree, error) { return hostTree{}, nil },
		Links: noLinks{}, Files: noFiles{}, Drained: drained.Load, Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(h.Close)
	router := link.NewRouter()
	h.Register(router)
	HandleHeld(router, h.Held)
	helper, home := link.Pipe(link.Peer{Number: 2, Name: "h2", Incarnation: 1}, link.Peer{Number: 1, Name: "h1", Incarnation: 1}, router, link.NewRouter())
	t.Cleanup(func() { helper.Close(); home.Close() })
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n := 0
	begin := func(script string) *link.Stream {
		t.Helper()
		n++
		body, err := proto.Marshal(&jobspb.Exec{
			Pid: uint32(1000 + n), Session: 7, Job: uint64(n), Exe: "/bin/sh", Cwd: dir, Env: [][]byte{[]byte("PATH=/usr/bin:/bin")},
			Argv: [][]byte{[]byte("sh"), []byte("-c"), []byte(script)}, Uids: []uint32{0, 0, 0, 0}, Gids: []uint32{0, 0, 0, 0},
			Home: &jobspb.Home{Hostname: "h1", PidFirst: names.FirstLease, PidLast: names.MaxLease},
		})
		if err != nil {
			t.Fatal(err)
		}
		s, err := home.Open(ctx, Method, nil, body)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	hear := func(s *link.Stream, want jobspb.Event_Kind) {
		t.Helper()
		msg, err := s.Recv(ctx)
		var ev jobspb.Event
		if err = errors.Join(err, proto.Unmarshal(msg, &ev)); err != nil || ev.Kind != want {
			t.Fatalf("%v %v, want %v", ev.Kind, err, want)
		}
	}
	has := func(want int) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			got, err := Held(ctx, home)
			if err == nil && got == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("it has %d, %v; want %d", got, err, want)
			}
		}
	}

	file := filepath.Join(dir, "end")
	runs := begin("while ! [ -e " + file + " ]; do sleep 0.01; done")
	hear(runs, jobspb.Event_STARTED)
	if _, err := Held(ctx, home); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("not drained: %v, want EAGAIN", err)
	}
	leaves := begin("sleep 1000 & exit 0")
	hear(leaves, jobspb.Event_STARTED)
	hear(leaves, jobspb.Event_EXITED)
	leaves.Reset(context.Canceled)
	drained.Store(true)
	has(2)
	hear(begin("exit 0"), jobspb.Event_REFUSED)
	has(2)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	hear(runs, jobspb.Event_EXITED)
	if jobs := h.Jobs(); jobs != 0 {
		t.Errorf("%d jobs run, want 0", jobs)
	}
	if got, err := h.Held(); got != 2 || err != nil {
		t.Errorf("before its home has said that it knows the end: %d, %v; want 2", got, err)
	}
	runs.Reset(context.Canceled)
	has(1)
	if _, err := home.Call(ctx, endMethod, []byte{7}, nil); err != nil {
		t.Fatal(err)
	}
	has(0)
	drained.Store(false)
	s := begin("exit 0")
	hear(s, jobspb.Event_STARTED)
	hear(s, jobspb.Event_EXITED)
}

// emptied is a cluster of the home and one other host, which is drained at some time.
type emptied struct {
	late
	drained atomic.Bool
}

func (e *emptied) Members() []MemberHost {
	rows := e.late.Members()
	rows[1].Drained = e.drained.Load()
	return rows
}

// TestPlaced: a home that has said what it has on a drained host, sends it nothing more, however new that is to it.
func TestPlaced(t *testing.T) {
	c := &emptied{}
	b := NewBroker(BrokerConfig{Home: NewHome(HomeConfig{}), Cluster: c})
	place := func(job uint64) names.Host {
		return b.place(1, &control.SessionRequest{NoLocal: true, Slots: -1}, nil, &control.PlaceRequest{Job: job}).Host
	}
	if h := place(1); h != 2 {
		t.Fatalf("placed on %d, want 2", h)
	}
	if _, err := b.Placed(2); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("before it knows: %v, want EAGAIN", err)
	}
	place(2) // the table is as new as can be
	c.drained.Store(true)
	if n, err := b.Placed(2); n != 2 || err != nil {
		t.Errorf("%d jobs, %v; want 2", n, err)
	}
	if h := place(3); h != 0 {
		t.Errorf("afterwards one was placed on %d", h)
	}
	b.release(jobKey{1, 1}, 0)
	b.release(jobKey{1, 2}, 0)
	if n, err := b.Placed(2); n != 0 || err != nil {
		t.Errorf("%d jobs, %v; want none", n, err)
	}
}
