package link

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestDropInTheMidst cuts the connection while everything is under way: everybody hears of it in the same way, and no
// goroutine is left at either end.
func TestDropInTheMidst(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t) }) // runs after the pair's own clean-up
			r := NewRouter()
			r.HandleCall("c.echo", echo)
			r.HandleCall("c.hold", func(ctx context.Context, _ *Request) (Reply, error) {
				<-ctx.Done()
				return Reply{}, ctx.Err()
			})
			r.HandleStream("s.echo", echoStream)
			r.HandleStream("s.hold", func(ctx context.Context, _ *Request, _ *Stream) error { <-ctx.Done(); return ctx.Err() })
			r.HandleNote("n.drop", func(*Request) {})
			a, b := tr.join(t, r, r)
			ctx := ctxOf(t)
			var wg sync.WaitGroup
			var rounds atomic.Int64
			try := func(c *Conn, f func(c *Conn) error) {
				wg.Go(func() {
					for {
						err := f(c)
						if err == nil {
							rounds.Add(1)
							continue
						}
						if !errors.Is(err, ErrClosed) || !errors.Is(err, syscall.EHOSTDOWN) {
							t.Errorf("after the drop: %v, want ErrClosed and EHOSTDOWN", err)
						}
						return
					}
				})
			}
			for _, c := range []*Conn{a, b} {
				for range 4 {
					try(c, func(c *Conn) error {
						_, err := c.Call(ctx, "c.echo", nil, make([]byte, rand.IntN(1<<20)))
						return err
					})
					try(c, func(c *Conn) error { _, err := c.Call(ctx, "c.hold", nil, nil); return err })
					try(c, func(c *Conn) error { return c.Notify("n.drop", nil, make([]byte, 30<<10)) })
					try(c, func(c *Conn) error {
						s, err := c.Open(ctx, "s.echo", nil, make([]byte, rand.IntN(200<<10)))
						for range 3 {
							if err == nil {
								err = s.Send(ctx, make([]byte, rand.IntN(200<<10)))
							}
							if err == nil {
								_, err = s.Recv(ctx)
							}
						}
						if err == nil {
							err = s.CloseSend()
						}
						return err
					})
					try(c, func(c *Conn) error {
						s, err := c.Open(ctx, "s.hold", nil, nil)
						for err == nil {
							err = s.Send(ctx, make([]byte, 64<<10)) // stuck at the window
						}
						return err
					})
				}
			}
			for deadline := time.Now().Add(10 * time.Second); rounds.Load() < 100 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond) // polls: the drop is to come in the midst
			}
			if rounds.Load() < 100 {
				t.Error("nothing was under way: the test showed nothing")
			}
			_ = rawOf(b.rwc).Close() // as a cable: neither Conn is told
			wg.Wait()
			for _, c := range []*Conn{a, b} {
				<-c.Done()
				if err := c.Err(); !errors.Is(err, ErrClosed) {
					t.Errorf("Err is %v", err)
				}
				if _, err := c.Call(ctx, "c.echo", nil, nil); !errors.Is(err, syscall.EHOSTDOWN) {
					t.Errorf("a call after the end: %v", err)
				}
				if _, err := c.Open(ctx, "s.echo", nil, nil); !errors.Is(err, syscall.EHOSTDOWN) {
					t.Errorf("a stream after the end: %v", err)
				}
				if err := c.Notify("n.drop", nil, nil); !errors.Is(err, syscall.EHOSTDOWN) {
					t.Errorf("a note after the end: %v", err)
				}
			}
		})
	}
}

// TestCloseFromHandler: a handler may close the connection it serves.
func TestCloseFromHandler(t *testing.T) {
	r := NewRouter()
	r.HandleCall("c.close", func(_ context.Context, q *Request) (Reply, error) { return Reply{}, q.Conn.Close() })
	a, b := pair(t, nil, r)
	if _, err := a.Call(ctxOf(t), "c.close", nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("the caller got %v", err)
	}
	<-b.Done()
	if err := b.Err(); !errors.Is(err, errClosedHere) {
		t.Errorf("the closer's Err is %v", err)
	}
}

// TestPeerReadsNothing: waits are the caller's to bound, also when the peer takes not one byte.
func TestPeerReadsNothing(t *testing.T) {
	defer goleak.VerifyNone(t)
	here, there := net.Pipe()
	defer there.Close()
	c := NewConn(here, hostB, NewRouter(), true)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for _, size := range []int{0, 1 << 20} {
		if _, err := c.Call(ctx, "c.echo", nil, make([]byte, size)); err != context.DeadlineExceeded {
			t.Errorf("a call of %d bytes: %v", size, err)
		}
	}
}
