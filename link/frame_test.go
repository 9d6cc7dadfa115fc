package link

import (
	"bytes"
	"context"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/onehost/onehost/link/linkpb"
)

// TestHeadIsProtobuf holds the head's own code against the generated one, both ways.
func TestHeadIsProtobuf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := head{
			method:  rapid.String().Draw(t, "method"),
			header:  rapid.SliceOf(rapid.Byte()).Draw(t, "header"),
			timeout: time.Duration(rapid.Int64Min(0).Draw(t, "timeout")),
			errno:   syscall.Errno(rapid.Uint32().Draw(t, "errno")),
			text:    rapid.String().Draw(t, "text"),
		}
		pb := &linkpb.Head{Method: h.method, Header: h.header, TimeoutNs: uint64(h.timeout), Errno: uint32(h.errno), Text: h.text}
		mine := h.append(nil)
		if len(mine) != h.size() {
			t.Fatalf("size %d, but %d bytes", h.size(), len(mine))
		}
		theirs, err := proto.Marshal(pb)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(mine, theirs) {
			t.Fatalf("%x, protobuf writes %x", mine, theirs)
		}
		got, err := parseHead(theirs)
		if err != nil || string(got.method) != h.method || !bytes.Equal(got.header, h.header) ||
			got.timeout != h.timeout || got.errno != h.errno || string(got.text) != h.text {
			t.Fatalf("read back %+v, %v, want %+v", got, err, h)
		}
	})
}

func FuzzParseHead(f *testing.F) {
	h := head{method: "fs.lookup", header: []byte("x"), timeout: 5, errno: 2, text: "no"}
	f.Add(h.append(nil))
	f.Add([]byte{0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseHead(b)
		if err != nil || got.timeout < 0 {
			if err == nil {
				t.Fatalf("a timeout of %d", got.timeout)
			}
			return
		}
		again := head{method: string(got.method), header: got.header, timeout: got.timeout, errno: got.errno, text: string(got.text)}
		back, err := parseHead(again.append(nil))
		if err != nil || string(back.method) != again.method || back.errno != got.errno {
			t.Fatalf("%+v is read back as %+v, %v", got, back, err)
		}
	})
}

func FuzzParseFrame(f *testing.F) {
	f.Add(appendFrame(nil, frame{size: 100, kind: frameCall, id: 3}))
	f.Add(appendFrame(nil, frame{size: MaxFrame, kind: frameData, flags: flagMore, id: 1 << 60}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < frameHeader {
			return
		}
		got, err := parseFrame(b[:frameHeader])
		if err == nil && !bytes.Equal(appendFrame(nil, got), b[:frameHeader]) {
			t.Fatalf("%x is read as %+v", b[:frameHeader], got)
		}
	})
}

// FuzzPeer lets a peer send anything: the connection ends, nothing else.
func FuzzPeer(f *testing.F) {
	call := func(kind frameType, id uint64, h head, body string) []byte {
		b := appendFrame(nil, frame{size: sizesHeader + h.size() + len(body), kind: kind, id: id})
		return append(h.appendMessage(b, len(body)), body...)
	}
	f.Add(call(frameCall, 1, head{method: "c.echo"}, "body"))
	f.Add(call(frameNote, 0, head{method: "n"}, "body"))
	f.Add(append(call(frameOpen, 1, head{method: "s.echo"}, ""), append(appendFrame(nil, frame{size: 3, kind: frameData, id: 1}), "abc"...)...))
	f.Add(append(call(frameOpen, 3, head{method: "s.echo"}, ""), appendFrame(nil, frame{kind: frameFin, id: 3})...))
	f.Add(call(frameReply, 2, head{}, ""))
	f.Add(call(frameEnd, 2, head{}, ""))
	f.Add(call(frameReset, 1, head{errno: 4}, ""))
	f.Add(append(appendFrame(nil, frame{size: 4, kind: frameCredit}), 0, 0, 0, 1))
	f.Add(append(appendFrame(nil, frame{size: 4, kind: frameCredit, id: 2}), 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, sent []byte) {
		r := NewRouter()
		r.HandleCall("c.echo", echo)
		r.HandleStream("s.echo", echoStream)
		r.HandleNote("n", func(*Request) {})
		here, there := net.Pipe()
		c := NewConn(here, hostA, r, false)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		go func() { _, _ = io.Copy(io.Discard, there) }()
		s, err := c.Open(ctx, "s", nil, nil) // something of ours for it to meddle with
		_, _ = there.Write(sent)
		_ = there.Close()
		select {
		case <-c.Done():
		case <-ctx.Done():
			t.Fatal("the connection lives on without a peer")
		}
		if err == nil {
			if _, err := s.Recv(ctx); err == nil {
				t.Fatal("a message came out of nothing")
			}
		}
	})
}
