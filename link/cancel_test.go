package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs f in a synctest bubble with host b served by r.
func bubble(t *testing.T, r *Router, f func(t *testing.T, a, b *Conn)) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(hostA, hostB, r, r)
		defer func() { _, _ = a.Close(), b.Close() }()
		f(t, a, b)
	})
}

func TestCancelCall(t *testing.T) {
	for _, size := range []int{0, 1 << 20} {
		r := NewRouter()
		ended := make(chan error, 1)
		bubbleEnded := func() { ended = make(chan error, 1) }
		r.HandleCall("c.hold", func(ctx context.Context, _ *Request) (Reply, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return Reply{}, ctx.Err()
		})
		r.HandleCall("c.echo", echo)
		bubble(t, r, func(t *testing.T, a, b *Conn) {
			bubbleEnded()
			ctx, cancel := context.WithCancel(t.Context())
			go func() { time.Sleep(time.Second); cancel() }()
			if _, err := a.Call(ctx, "c.hold", nil, make([]byte, size)); err != context.Canceled {
				t.Errorf("the caller got %v", err)
			}
			if err := <-ended; err != context.Canceled {
				t.Errorf("the handler's context ended with %v", err)
			}
			synctest.Wait()
			if n := len(a.calls); n != 0 {
				t.Errorf("%d slots are still taken", n)
			}
			if free := a.bodies.free; free != MaxRequests {
				t.Errorf("%d bytes of requests are still taken", MaxRequests-free)
			}
			if _, err := a.Call(t.Context(), "c.echo", nil, nil); err != nil {
				t.Errorf("the next call: %v", err)
			}
		})
	}
}

// TestCancelInTheMidst gives a call up while its body is only half written.
func TestCancelInTheMidst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRouter()
		r.HandleCall("c.echo", echo)
		r.HandleStream("s.echo", echoStream)
		ea, eb := newSlowPipe(1 << 20)
		a, b := NewConn(ea, hostB, r, true), NewConn(eb, hostA, r, false)
		defer func() { _, _ = a.Close(), b.Close() }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Call(ctx, "c.echo", nil, make([]byte, 4<<20)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("call: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Open(ctx, "s.echo", nil, make([]byte, 4<<20)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("open: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s, err := a.Open(t.Context(), "s.echo", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(ctx, make([]byte, 4<<20)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("send: %v", err)
		}
		if _, err := s.Recv(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a stream with half a message goes on: %v", err)
		}
		if _, err := a.Call(t.Context(), "c.echo", nil, []byte("x")); err != nil {
			t.Errorf("the connection suffered: %v", err)
		}
		time.Sleep(10 * time.Second) // of the bubble's clock: what was queued is written
		synctest.Wait()
		if c, o := len(a.calls), len(a.opens); c+o != 0 {
			t.Errorf("%d calls and %d streams are still counted", c, o)
		}
	})
}

func TestDeadlineTravels(t *testing.T) {
	r := NewRouter()
	r.HandleCall("c.left", func(ctx context.Context, _ *Request) (Reply, error) {
		d, ok := ctx.Deadline()
		return Reply{Body: fmt.Append(nil, time.Until(d), ok)}, nil
	})
	r.HandleCall("c.hold", func(ctx context.Context, _ *Request) (Reply, error) {
		<-ctx.Done()
		return Reply{}, ctx.Err()
	})
	bubble(t, r, func(t *testing.T, a, b *Conn) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		rep, err := a.Call(ctx, "c.left", nil, nil)
		if err != nil || string(rep.Body) != "3s true" {
			t.Errorf("the handler saw %q, %v", rep.Body, err)
		}
		if _, err := a.Call(ctx, "c.hold", nil, nil); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("past the deadline: %v", err)
		}
		if _, err := a.Call(ctx, "c.left", nil, nil); err != context.DeadlineExceeded {
			t.Errorf("a call after its deadline: %v", err)
		}
	})
}

func TestStreamEnds(t *testing.T) {
	r := NewRouter()
	hear := make(chan error, 1)
	r.HandleStream("s.err", func(context.Context, *Request, *Stream) error {
		return fmt.Errorf("disk: %w", syscall.ENOSPC)
	})
	r.HandleStream("s.reset", func(ctx context.Context, _ *Request, s *Stream) error {
		s.Reset(syscall.EBUSY)
		if _, err := s.Recv(ctx); err == nil {
			t.Error("a handler receives after its own reset")
		}
		return nil
	})
	r.HandleStream("s.say", func(ctx context.Context, _ *Request, s *Stream) error {
		for i := range 3 {
			if err := s.Send(ctx, []byte{byte(i)}); err != nil {
				return err
			}
		}
		return nil
	})
	r.HandleStream("s.hear", func(ctx context.Context, _ *Request, s *Stream) error {
		_, err := s.Recv(ctx)
		if ctx.Err() == nil && err != io.EOF {
			t.Error("reset, and the handler's context lives")
		}
		hear <- err
		if err == io.EOF {
			return nil
		}
		return err
	})
	bubble(t, r, func(t *testing.T, a, b *Conn) {
		hear = make(chan error, 1)
		ctx := t.Context()
		open := func(ctx context.Context, m string) *Stream {
			s, err := a.Open(ctx, m, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := open(ctx, "s.err")
		var re *RemoteError
		if _, err := s.Recv(ctx); !errors.As(err, &re) || re.Errno != syscall.ENOSPC || err.Error() != "disk: no space left on device" {
			t.Errorf("a handler's error arrived as %v", err)
		}
		if err := s.Send(ctx, nil); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("send after it: %v", err)
		}
		if _, err := open(ctx, "s.reset").Recv(ctx); !errors.Is(err, syscall.EBUSY) {
			t.Errorf("the handler reset with EBUSY: %v", err)
		}
		if _, err := open(ctx, "s.none").Recv(ctx); !errors.Is(err, syscall.ENOSYS) {
			t.Errorf("no such method: %v", err)
		}
		s = open(ctx, "s.say")
		synctest.Wait() // it has ended
		s.Reset(nil)    // and stays as it is
		for i := range 3 {
			if m, err := s.Recv(ctx); err != nil || m[0] != byte(i) {
				t.Errorf("message %d sent before the end: %v, %v", i, m, err)
			}
		}
		if _, err := s.Recv(ctx); err != io.EOF {
			t.Errorf("clean end: %v", err)
		}
		if err := s.Send(ctx, nil); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("send after the end: %v", err)
		}
		s = open(ctx, "s.hear")
		_ = s.CloseSend()
		if err := <-hear; err != io.EOF {
			t.Errorf("the handler saw %v after CloseSend", err)
		}
		s = open(ctx, "s.hear")
		synctest.Wait()
		s.Reset(fmt.Errorf("enough: %w", syscall.EINTR))
		if err := <-hear; !errors.Is(err, syscall.EINTR) {
			t.Errorf("the handler saw %v after Reset", err)
		}
		cctx, cancel := context.WithCancel(ctx)
		s = open(cctx, "s.hear")
		synctest.Wait()
		cancel()
		if err := <-hear; !errors.Is(err, syscall.ECANCELED) && !errors.Is(err, context.Canceled) {
			t.Errorf("the handler saw %v after cancel", err)
		}
		if _, err := s.Recv(ctx); err != context.Canceled {
			t.Errorf("the opener saw %v after cancel", err)
		}
		cctx, cancel = context.WithTimeout(ctx, time.Second)
		defer cancel()
		s = open(cctx, "s.hear")
		if _, err := s.Recv(ctx); err != context.DeadlineExceeded && !errors.Is(err, syscall.ETIMEDOUT) { // whoever was first
			t.Errorf("the opener saw %v after the deadline", err)
		}
		if err := <-hear; err == nil || err == io.EOF {
			t.Errorf("the handler saw %v after the deadline", err)
		}
		synctest.Wait()
		if n := len(a.opens); n != 0 || len(a.streams)+len(b.streams) != 0 {
			t.Errorf("%d slots, %d and %d streams are left", n, len(a.streams), len(b.streams))
		}
	})
}

func TestCallErrors(t *testing.T) {
	r := NewRouter()
	var fail error
	r.HandleCall("c.fail", func(context.Context, *Request) (Reply, error) { return Reply{}, fail })
	r.HandleCall("c.big", func(context.Context, *Request) (Reply, error) {
		return Reply{Body: make([]byte, MaxMessage+1)}, nil
	})
	a, _ := pair(t, nil, r)
	for _, c := range []struct {
		fail  error
		errno syscall.Errno
	}{
		{fmt.Errorf("open x: %w", syscall.ENOENT), syscall.ENOENT},
		{errors.New("anything"), syscall.EIO},
		{syscall.Errno(0), syscall.EIO},
		{context.Canceled, syscall.ECANCELED},
	} {
		fail = c.fail
		_, err := a.Call(ctxOf(t), "c.fail", nil, nil)
		var re *RemoteError
		if !errors.As(err, &re) || re.Errno != c.errno || re.Text != c.fail.Error() {
			t.Errorf("%v arrived as %v", c.fail, err)
		}
	}
	if _, err := a.Call(ctxOf(t), "c.none", nil, nil); !errors.Is(err, syscall.ENOSYS) {
		t.Errorf("unknown method: %v", err)
	}
	if _, err := a.Call(ctxOf(t), "c.big", nil, nil); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("too large a reply: %v", err)
	}
	if _, err := a.Call(ctxOf(t), "", nil, nil); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("no method: %v", err)
	}
}
