package link

import (
	"context"
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var (
	hostA = Peer{Number: 1, Name: "h1", Incarnation: 1}
	hostB = Peer{Number: 2, Name: "h2", Incarnation: 7}
)

// pair joins two hosts in memory; b is served by r. When the test ends both are closed and no goroutine is left.
func pair(t testing.TB, ra, rb *Router) (*Conn, *Conn) {
	t.Helper()
	if tt, ok := t.(*testing.T); ok {
		t.Cleanup(func() { goleak.VerifyNone(tt) })
	}
	if ra == nil {
		ra = NewRouter()
	}
	a, b := Pipe(hostA, hostB, ra, rb)
	t.Cleanup(func() {
		_ = a.Close()
		_ = b.Close()
	})
	return a, b
}

func ctxOf(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func echo(_ context.Context, r *Request) (Reply, error) {
	return Reply{Header: r.Header, Body: r.Body}, nil
}

func echoStream(ctx context.Context, r *Request, s *Stream) error {
	for {
		m, err := s.Recv(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(ctx, m); err != nil {
			return err
		}
	}
}

func TestCallSizes(t *testing.T) {
	r := NewRouter()
	r.HandleCall("t.echo", echo)
	a, b := pair(t, r, r)
	for _, n := range []int{0, 1, smallMessage - 20, smallMessage, MaxFrame - 40, MaxFrame, MaxFrame + 1, 1 << 20, MaxMessage - 3} {
		body := make([]byte, n)
		for i := range body {
			body[i] = byte(i * 7)
		}
		for _, c := range []*Conn{a, b} {
			rep, err := c.Call(ctxOf(t), "t.echo", []byte("hdr"), body)
			if err != nil || string(rep.Header) != "hdr" || string(rep.Body) != string(body) {
				t.Fatalf("size %d: header %q, %d bytes back, %v", n, rep.Header, len(rep.Body), err)
			}
		}
	}
	if _, err := a.Call(ctxOf(t), "t.echo", nil, make([]byte, MaxMessage+1)); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("a call above MaxMessage: %v, want EMSGSIZE", err)
	}
}

func TestStreamEcho(t *testing.T) {
	r := NewRouter()
	r.HandleStream("t.echo", echoStream)
	a, _ := pair(t, nil, r)
	ctx := ctxOf(t)
	s, err := a.Open(ctx, "t.echo", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 5000, MaxFrame, MaxFrame + 1, 3 << 20} {
		msg := make([]byte, n)
		for i := range msg {
			msg[i] = byte(i * 3)
		}
		if err := s.Send(ctx, msg); err != nil {
			t.Fatal(err)
		}
		got, err := s.Recv(ctx)
		if err != nil || string(got) != string(msg) {
			t.Fatalf("%d bytes: %d back, %v", n, len(got), err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(ctx); err != io.EOF {
		t.Fatalf("after the end: %v, want EOF", err)
	}
}
