package link

import (
	"net"
	"testing"
	"time"

	"github.com/onehost/onehost/names"
)

// halfServed is two ends of a TCP connection on the loopback, without TLS. b is not served: what it is sent stays in the kernel.
func halfServed(t *testing.T, r *Router) (a *Conn, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ours, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	a = NewConn(ours, Peer{Number: 2, Name: "h2", Incarnation: 1}, r, true)
	t.Cleanup(func() { _ = a.Close(); _ = theirs.Close() })
	return a, theirs
}

// A peer that reads nothing is vouched for by its kernel as long as it is sent something.
func TestSigns(t *testing.T) {
	a, _ := halfServed(t, NewRouter())
	quiet := func() time.Duration {
		s, ok := a.Signs()
		if !ok {
			t.Fatal("no signs on TCP")
		}
		return s.Acked
	}
	deadline := time.Now().Add(10 * time.Second)
	for quiet() < 100*time.Millisecond {
		if time.Now().After(deadline) {
			t.Fatal("a connection that carries nothing is acknowledged all the time")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if sent, err := a.TryNotify("x", nil, []byte("hello")); !sent || err != nil {
		t.Fatal(sent, err)
	}
	for quiet() >= 100*time.Millisecond {
		if time.Now().After(deadline) {
			t.Fatal("what was sent is not acknowledged")
		}
		time.Sleep(time.Millisecond)
	}
	_ = a.Close()
	if s, ok := a.Signs(); ok {
		t.Errorf("a connection that ended has signs: %v", s)
	}
	pipe, other := Pipe(hostA, hostB, NewRouter(), NewRouter())
	defer pipe.Close()
	defer other.Close()
	if s, ok := pipe.Signs(); ok {
		t.Errorf("a pipe has signs: %v", s)
	}
}

// While the reader is held up, what the peer sent waits to be read, and that says that it lives.
func TestSignsUnread(t *testing.T) {
	hold, entered := make(chan struct{}), make(chan struct{})
	r := NewRouter()
	r.HandleNoteNow("hold", func(*Request) { close(entered); <-hold })
	a, theirs := halfServed(t, r)
	defer close(hold)
	b := NewConn(theirs, Peer{Number: 1, Name: "h1", Incarnation: 1}, NewRouter(), false)
	defer b.Close()
	if err := b.Notify("hold", nil, nil); err != nil {
		t.Fatal(err)
	}
	<-entered
	if err := b.Notify("more", nil, nil); err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		if s, ok := a.Signs(); ok && s.Unread {
			return
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("nothing is said to be unread")
		}
	}
}

// A note that is handled as it is read comes before the call behind it, and gives its room in the window back.
func TestHandleNoteNow(t *testing.T) {
	got := 0
	r := NewRouter()
	r.HandleNoteNow("count", func(req *Request) { got += len(req.Body) })
	a, b := Pipe(hostA, hostB, NewRouter(), r)
	defer a.Close()
	defer b.Close()
	body := make([]byte, 50<<10)
	const times = 3 * noteWindow / (50 << 10)
	for range times {
		if err := a.Notify("count", nil, body); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Call(t.Context(), "none", nil, nil); err == nil { // an answer at all is what counts
		t.Error("a method without a handler was served")
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	<-b.Done()
	if got != times*len(body) {
		t.Errorf("%d bytes were handled, want %d", got, times*len(body))
	}
}

// While a peer handles no notes, TryNotify neither waits nor sends.
func TestTryNotifyFull(t *testing.T) {
	hold := make(chan struct{})
	r := NewRouter()
	r.HandleNote("slow", func(*Request) { <-hold })
	a, b := Pipe(hostA, hostB, NewRouter(), r)
	defer b.Close()
	defer a.Close()
	defer close(hold)
	body := make([]byte, MaxNote)
	for n := 0; ; n++ {
		sent, err := a.TryNotify("slow", nil, body)
		if err != nil {
			t.Fatal(err)
		}
		if !sent {
			return
		}
		if n > noteWindow/MaxNote {
			t.Fatal("more was sent than the window holds")
		}
	}
}

func TestPoolLiveAndHangup(t *testing.T) {
	p := NewPool(nil)
	defer p.Close()
	if c := p.Live(2); c != nil {
		t.Error("a connection to a host that was never heard of")
	}
	one := life(t, 2, 1)
	p.Add(one)
	if p.Live(2) != one {
		t.Error("not the one there is")
	}
	p.Hangup(2, 0)
	if p.Live(2) != one {
		t.Error("the connection to a later life was closed")
	}
	p.Hangup(2, 1)
	if c := p.Live(2); c != nil || one.Err() == nil {
		t.Error("it is open still")
	}
	again := life(t, names.Host(2), 1)
	p.Add(again)
	if p.Live(2) != again {
		t.Error("the same life is refused")
	}
}
