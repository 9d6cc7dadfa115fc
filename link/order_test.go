package link

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestNotesBeforeReplies is what netfs relies on: when a reply is delivered, WaitNotes covers every note queued before it,
// whatever the sizes of notes and replies and however busy the connection.
func TestNotesBeforeReplies(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			ra, rb := NewRouter(), NewRouter()
			var handled atomic.Uint64
			ra.HandleNote("n.seq", func(r *Request) {
				n := binary.BigEndian.Uint64(r.Header)
				if old := handled.Swap(n); n != old+1 {
					t.Errorf("note %d handled after note %d", n, old)
				}
			})
			var mu sync.Mutex
			var last uint64
			rb.HandleCall("n.call", func(_ context.Context, r *Request) (Reply, error) {
				mu.Lock()
				for range r.Body[0] {
					last++
					if err := r.Conn.Notify("n.seq", binary.BigEndian.AppendUint64(nil, last), make([]byte, rand.IntN(20<<10))); err != nil {
						t.Error(err)
					}
				}
				n := last
				mu.Unlock()
				return Reply{Header: binary.BigEndian.AppendUint64(nil, n), Body: make([]byte, rand.IntN(200<<10))}, nil
			})
			a, _ := tr.join(t, ra, rb)
			ctx := ctxOf(t)
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					for range 40 {
						rep, err := a.Call(ctx, "n.call", nil, []byte{byte(rand.IntN(4))})
						if err != nil {
							t.Error(err)
							return
						}
						if err := a.WaitNotes(ctx, "n.seq"); err != nil {
							t.Error(err)
							return
						}
						if want, got := binary.BigEndian.Uint64(rep.Header), handled.Load(); got < want {
							t.Errorf("reply after note %d was delivered with note %d handled", want, got)
						}
					}
				})
			}
			wg.Wait()
			if handled.Load() == 0 {
				t.Error("no note was handled: the test showed nothing")
			}
		})
	}
}

// TestNotesBeforeStreams: the same for the opening, the messages and the end of a stream.
func TestNotesBeforeStreams(t *testing.T) {
	ra, rb := NewRouter(), NewRouter()
	var seen atomic.Int64
	rb.HandleNote("n.count", func(*Request) { seen.Add(1) })
	check := func(ctx context.Context, c *Conn, want int64) error {
		if err := c.WaitNotes(ctx, "n.count"); err != nil {
			return err
		}
		if got := seen.Load(); got < want {
			t.Errorf("%d notes handled, %d were sent before", got, want)
		}
		return nil
	}
	rb.HandleStream("s.check", func(ctx context.Context, r *Request, s *Stream) error {
		if err := check(ctx, r.Conn, int64(binary.BigEndian.Uint64(r.Header))); err != nil {
			return err
		}
		for {
			m, err := s.Recv(ctx)
			if err != nil {
				return nil
			}
			if err := check(ctx, r.Conn, int64(binary.BigEndian.Uint64(m))); err != nil {
				return err
			}
		}
	})
	a, _ := pair(t, ra, rb)
	ctx := ctxOf(t)
	sent := int64(0)
	notify := func() []byte {
		for range rand.IntN(5) {
			if err := a.Notify("n.count", nil, make([]byte, 10<<10)); err != nil {
				t.Fatal(err)
			}
			sent++
		}
		return binary.BigEndian.AppendUint64(nil, uint64(sent))
	}
	for range 20 {
		s, err := a.Open(ctx, "s.check", notify(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if err := s.Send(ctx, append(notify(), make([]byte, rand.IntN(100<<10))...)); err != nil {
				t.Fatal(err)
			}
		}
		_ = s.CloseSend()
		if _, err := s.Recv(ctx); err != io.EOF {
			t.Fatal(err)
		}
	}
}

func TestNoteWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rb := NewRouter()
		hold := make(chan struct{})
		var handled atomic.Int64
		rb.HandleNote("n.slow", func(*Request) { <-hold; handled.Add(1) })
		a, b := Pipe(hostA, hostB, NewRouter(), rb)
		defer func() { _, _ = a.Close(), b.Close() }()
		body := make([]byte, 32<<10)
		var err error
		sent := 0
		start := time.Now()
		for err == nil {
			if err = a.Notify("n.slow", nil, body); err == nil {
				sent++
			}
		}
		if !errors.Is(err, syscall.ETIMEDOUT) || time.Since(start) != noteTimeout {
			t.Errorf("after %d notes and %v: %v, want ETIMEDOUT after %v", sent, time.Since(start), err, noteTimeout)
		}
		if got := sent * len(body); got > noteWindow || got < noteWindow*9/10 {
			t.Errorf("%d bytes of notes were taken, want nearly %d", got, noteWindow)
		}
		close(hold)
		synctest.Wait()
		if err := a.Notify("n.slow", nil, body); err != nil {
			t.Errorf("after the handler went on: %v", err)
		}
		synctest.Wait()
		if got := handled.Load(); got != int64(sent)+1 {
			t.Errorf("%d notes handled, want %d", got, sent+1)
		}
	})
}

func TestNoteRules(t *testing.T) {
	rb := NewRouter()
	rb.HandleCall("t.echo", echo)
	a, _ := pair(t, nil, rb)
	if err := a.Notify("n.x", nil, make([]byte, MaxNote+1)); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("too large: %v", err)
	}
	if err := a.Notify("", nil, nil); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("no method: %v", err)
	}
	// Notes that nobody handles are dropped, and their window comes back.
	for range 2 * noteWindow / MaxNote {
		if err := a.Notify("n.unknown", nil, make([]byte, MaxNote)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Call(ctxOf(t), "t.echo", nil, nil); err != nil {
		t.Error(err)
	}
}
