package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlowReader: a reader that reads nothing stops its own stream at the window, and nobody else.
func TestSlowReader(t *testing.T) {
	for _, size := range []int{1, 4 << 10, MaxFrame} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := NewRouter()
				hold := make(chan struct{})
				var got atomic.Int64
				r.HandleStream("s.slow", func(ctx context.Context, _ *Request, s *Stream) error {
					<-hold
					for {
						m, err := s.Recv(ctx)
						if err != nil {
							return nil
						}
						got.Add(int64(len(m)))
					}
				})
				r.HandleStream("s.echo", echoStream)
				r.HandleCall("c.echo", echo)
				a, b := Pipe(hostA, hostB, NewRouter(), r)
				defer func() { _, _ = a.Close(), b.Close() }()
				ctx := t.Context()
				slow, err := a.Open(ctx, "s.slow", nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				var sent atomic.Int64
				go func() {
					for slow.Send(ctx, make([]byte, size)) == nil {
						sent.Add(int64(size))
						if sent.Load() >= min(1<<20, int64(size)*8<<10) { // 65 bytes each of the window at least
							break
						}
					}
					_ = slow.CloseSend()
				}()
				synctest.Wait() // the sender is stuck for good, or the test fails below
				if n := sent.Load(); n > streamWindow+MaxFrame {
					t.Errorf("%d bytes went to a reader that reads nothing, window %d", n, streamWindow)
				}
				other, err := a.Open(ctx, "s.echo", nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				for range 20 {
					if err := other.Send(ctx, make([]byte, MaxFrame)); err != nil {
						t.Fatal(err)
					}
					if _, err := other.Recv(ctx); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := a.Call(ctx, "c.echo", nil, make([]byte, 1<<20)); err != nil {
					t.Error(err)
				}
				close(hold)
				if _, err := slow.Recv(ctx); err != io.EOF {
					t.Errorf("end of the slow stream: %v", err)
				}
				if got.Load() != sent.Load() {
					t.Errorf("%d bytes received of %d", got.Load(), sent.Load())
				}
			})
		})
	}
}

// TestSmallBesideBulk: small calls go on while large bodies are under way over a slow wire.
func TestSmallBesideBulk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRouter()
		r.HandleCall("c.echo", echo)
		r.HandleCall("c.sink", func(context.Context, *Request) (Reply, error) { return Reply{}, nil })
		ea, eb := newSlowPipe(10 << 20) // 10 MiB a second
		a, b := NewConn(ea, hostB, NewRouter(), true), NewConn(eb, hostA, r, false)
		defer func() { _, _ = a.Close(), b.Close() }()
		ctx := t.Context()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := a.Call(ctx, "c.sink", nil, make([]byte, 4<<20)); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		start := time.Now()
		for range 10 {
			if _, err := a.Call(ctx, "c.echo", nil, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		// A write carries at most two frames: 12.5 ms. One write may be under way before ours.
		if d := time.Since(start) / 10; d > 30*time.Millisecond {
			t.Errorf("a small call took %v beside bulk", d)
		}
		bulk := time.Now()
		wg.Wait()
		if time.Since(bulk) == 0 {
			t.Error("the bulk was over before the small calls: the test showed nothing")
		}
	})
}

func TestManyCalls(t *testing.T) {
	r := NewRouter()
	var now, most atomic.Int64
	r.HandleCall("c.echo", func(ctx context.Context, q *Request) (Reply, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		return echo(ctx, q)
	})
	a, b := tcpPair(t, r, r)
	ctx := ctxOf(t)
	var wg sync.WaitGroup
	for i := range 10000 {
		c := a
		if i%2 == 1 {
			c = b
		}
		wg.Go(func() {
			want := fmt.Sprint(i)
			rep, err := c.Call(ctx, "c.echo", nil, []byte(want))
			if err != nil || string(rep.Body) != want {
				t.Errorf("call %d: %q, %v", i, rep.Body, err)
			}
		})
	}
	wg.Wait()
}

// TestCallsBounded: no more than MaxCalls handlers run for one peer, nor MaxRequests bytes of bodies wait; the rest
// waits at the caller, under his context.
func TestCallsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRouter()
		hold := make(chan struct{})
		var now, bytes atomic.Int64
		r.HandleCall("c.hold", func(_ context.Context, q *Request) (Reply, error) {
			now.Add(1)
			bytes.Add(int64(len(q.Body)))
			<-hold
			return Reply{}, nil
		})
		a, b := Pipe(hostA, hostB, NewRouter(), r)
		defer func() { _, _ = a.Close(), b.Close() }()
		var wg sync.WaitGroup
		call := func(n, size int) {
			for range n {
				wg.Go(func() {
					if _, err := a.Call(t.Context(), "c.hold", nil, make([]byte, size)); err != nil {
						t.Error(err)
					}
				})
			}
		}
		call(40, 4<<20)
		synctest.Wait()
		if n := bytes.Load(); n > MaxRequests || n < MaxRequests*9/10 {
			t.Errorf("%d bytes of requests at the handlers, want nearly %d", n, MaxRequests)
		}
		call(MaxCalls, 0)
		synctest.Wait()
		if n := now.Load(); n > MaxCalls || n < MaxCalls-40 {
			t.Errorf("%d handlers run, want about %d", n, MaxCalls)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Call(ctx, "c.hold", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call beyond the bound: %v", err)
		}
		close(hold)
		wg.Wait()
		if n := now.Load(); n != MaxCalls+40 {
			t.Errorf("%d calls served, want %d", n, MaxCalls+40)
		}
	})
}

func TestStreamsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRouter()
		r.HandleStream("s.hold", func(ctx context.Context, _ *Request, _ *Stream) error { <-ctx.Done(); return nil })
		a, b := Pipe(hostA, hostB, NewRouter(), r)
		defer func() { _, _ = a.Close(), b.Close() }()
		var first *Stream
		for range MaxStreams {
			s, err := a.Open(t.Context(), "s.hold", nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = s
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Open(ctx, "s.hold", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one stream too many: %v", err)
		}
		first.Reset(syscall.EINTR)
		if _, err := a.Open(t.Context(), "s.hold", nil, nil); err != nil {
			t.Errorf("after one ended: %v", err)
		}
	})
}
