package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/onehost/onehost/control"
)

// jobsOf serves the jobs of session 7, each of which ends when it is told to: it listens, and says that it has been told.
func jobsOf(t *testing.T) (path string, ended chan *control.JobOrder, served *atomic.Int32) {
	t.Helper()
	h := NewHome(HomeConfig{})
	h.OpenSession(7, uint32(os.Getuid()))
	h.OpenSession(8, uint32(os.Getuid()))
	ended, served = make(chan *control.JobOrder, 16), &atomic.Int32{}
	path = filepath.Join(t.TempDir(), "control.sock")
	srv, err := control.Listen(path, map[string]control.Handler{
		control.OpExec: func(ctx context.Context, who control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
			return h.serveJobs(ctx, who, c, body, files, func(_ context.Context, _ control.Caller, s *said, _ *control.ExecRequest, files []*os.File) error {
				served.Add(1)
				closeAll(files)
				given := make(chan struct{}, 1)
				done := make(chan struct{})
				s.listen(func(o *control.JobOrder) error {
					ended <- o
					given <- struct{}{}
					return nil
				}, func() { close(done) })
				select {
				case <-done:
					s.hush()
					return nil
				case <-given:
					s.ended.Store(true)
					return s.c.Send(control.JobEvent{Kind: control.JobExited, Next: true})
				}
			})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	return path, ended, served
}

// begin sends a job and has it end.
func begin(t *testing.T, c *control.Conn, job uint64, files ...*os.File) {
	t.Helper()
	if err := errors.Join(c.Open(control.OpExec, control.ExecRequest{Session: 7, Job: job}, files...), c.Send(control.JobOrder{N: job, Signal: 15})); err != nil {
		t.Fatal(err)
	}
	var ev control.JobEvent
	if _, err := c.Receive(&ev); err != nil || ev.Kind != control.JobExited || !ev.Next {
		t.Fatalf("%+v, %v; want its end", ev, err)
	}
}

func dial(t *testing.T, path string) *control.Conn {
	t.Helper()
	c, err := control.Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestNextJob: a connection carries the next job when its session is done with the last. What it still said of that one is not taken for the next
// one's, and neither are its descriptors.
func TestNextJob(t *testing.T) {
	path, ended, served := jobsOf(t)
	c := dial(t, path)
	for job := uint64(1); job <= 5; job++ {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		begin(t, c, job, w)
		if o := <-ended; o.N != job {
			t.Fatalf("job %d got the order %d", job, o.N)
		}
		late := control.JobOrder{N: 100 + job, Signal: 9}
		if err := errors.Join(c.Send(late, w), c.Send(late), c.Send(control.JobOrder{Over: true})); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("its descriptor is open: %v", err)
		}
	}
	if n := served.Load(); n != 5 {
		t.Errorf("%d jobs were served, want 5", n)
	}
	select {
	case o := <-ended:
		t.Errorf("%+v was carried out", o)
	default:
	}
}

// TestNotOver: a session that does not say that it is done is hung up on, soon.
func TestNotOver(t *testing.T) {
	path, _, _ := jobsOf(t)
	c := dial(t, path)
	begin(t, c, 1)
	began := time.Now()
	if _, err := c.Receive(&control.JobEvent{}); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want an end", err)
	}
	if took := time.Since(began); took > 5*overTime {
		t.Errorf("that took %v", took)
	}
}

// TestOverTooSoon: whoever is done with a job that has not ended gives it up, as by closing.
func TestOverTooSoon(t *testing.T) {
	path, _, _ := jobsOf(t)
	c := dial(t, path)
	if err := errors.Join(c.Open(control.OpExec, control.ExecRequest{Session: 7, Job: 1}), c.Send(control.JobOrder{Over: true})); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Receive(&control.JobEvent{}); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want an end", err)
	}
}

// TestNextIsOfTheSession: a connection carries jobs of one session, and nothing else; its descriptors are closed with the refusal.
func TestNextIsOfTheSession(t *testing.T) {
	path, _, served := jobsOf(t)
	for _, x := range []struct {
		op      string
		session uint64
		want    error
	}{
		{control.OpExec, 8, syscall.EPERM},
		{control.OpExec, 9, syscall.EPERM},
		{control.OpSession, 7, syscall.EINVAL},
	} {
		c := dial(t, path)
		begin(t, c, 1)
		before := served.Load()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := errors.Join(c.Send(control.JobOrder{Over: true}), c.Open(x.op, control.ExecRequest{Session: x.session, Job: 2}, w)); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if _, err := c.Receive(&control.JobEvent{}); !errors.Is(err, x.want) {
			t.Errorf("%s of session %d: %v, want %v", x.op, x.session, err, x.want)
		}
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("its descriptor is open: %v", err)
		}
		if n := served.Load(); n != before {
			t.Errorf("%s of session %d was served", x.op, x.session)
		}
	}
}
