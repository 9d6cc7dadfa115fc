package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type echo struct {
	Text string `json:"text"`
}

// serve starts a server with an operation that answers what it got, one that refuses, and one that reads a descriptor.
func serve(t *testing.T, opening time.Duration) (*Server, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	s, err := listen(path, map[string]Handler{
		"echo": func(_ context.Context, who Caller, c *Conn, body json.RawMessage, files []*os.File) error {
			closeAll(files)
			if who.Pid != os.Getpid() || who.UID != uint32(os.Getuid()) {
				return fmt.Errorf("caller is %+v", who)
			}
			return c.Send(body)
		},
		"refuse": func(context.Context, Caller, *Conn, json.RawMessage, []*os.File) error {
			return fmt.Errorf("not for you: %w", syscall.EPERM)
		},
		"read": func(_ context.Context, _ Caller, c *Conn, _ json.RawMessage, files []*os.File) error {
			defer closeAll(files)
			text, err := io.ReadAll(files[0])
			if err != nil {
				return err
			}
			return c.Send(echo{string(text)})
		},
	}, opening)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, path
}

func TestCall(t *testing.T) {
	_, path := serve(t, time.Minute)
	var got echo
	if err := Call(t.Context(), path, "echo", echo{"hello"}, &got); err != nil || got.Text != "hello" {
		t.Errorf("echo: %q, %v", got.Text, err)
	}
	if err := Call(t.Context(), path, "refuse", nil, &got); !errors.Is(err, syscall.EPERM) || !strings.Contains(err.Error(), "not for you") {
		t.Errorf("refuse: %v; want EPERM and its text", err)
	}
	if err := Call(t.Context(), path, "nonsense", nil, &got); !errors.Is(err, syscall.ENOSYS) {
		t.Errorf("an operation nobody knows: %v; want ENOSYS", err)
	}
	if err := Call(t.Context(), path, "echo", echo{strings.Repeat("x", MaxPacket)}, &got); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("a packet over the limit: %v; want EMSGSIZE", err)
	}
	if err := Call(t.Context(), path+".not", "echo", nil, &got); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("no daemon: %v; want ErrNoDaemon", err)
	}
}

func TestDescriptors(t *testing.T) {
	_, path := serve(t, time.Minute)
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte("passed on"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Open("read", nil, f); err != nil {
		t.Fatal(err)
	}
	var got echo
	if _, err := c.Receive(&got); err != nil || got.Text != "passed on" {
		t.Errorf("got %q, %v", got.Text, err)
	}
}

// TestSilent has a client that connects and says nothing: it is hung up on.
func TestSilent(t *testing.T) {
	_, path := serve(t, 50*time.Millisecond)
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Receive(&echo{}); !errors.Is(err, io.EOF) {
		t.Errorf("a silent client: %v; want to be hung up on", err)
	}
}

// TestClose closes a server that still has clients: it must not wait for them.
func TestClose(t *testing.T) {
	s, path := serve(t, time.Hour)
	for range 20 {
		c, err := Dial(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	done := make(chan struct{})
	go func() { s.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("Close waits for clients that say nothing")
	}
}

// TestLastWord: what a handler sent before it returned arrives, though it left something of ours unread.
func TestLastWord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	unread := make(chan struct{})
	s, err := listen(path, map[string]Handler{
		"end": func(_ context.Context, _ Caller, c *Conn, _ json.RawMessage, _ []*os.File) error {
			<-unread
			return c.Send(echo{"last word"})
		},
	}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := errors.Join(c.Open("end", echo{}), c.Send(echo{"nobody reads this"})); err != nil {
		t.Fatal(err)
	}
	close(unread)
	gone := func() bool { // the other end is closed
		p := []unix.PollFd{{Events: unix.POLLRDHUP}}
		rc, err := c.nc.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := rc.Control(func(fd uintptr) { p[0].Fd = int32(fd); _, err = unix.Poll(p, 0) }); err != nil {
			t.Fatal(err)
		}
		return err == nil && p[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLRDHUP) != 0
	}
	for end := time.Now().Add(10 * time.Second); !gone(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the handler's end is not closed")
		}
	}
	var got echo
	if _, err := c.Receive(&got); err != nil || got.Text != "last word" {
		t.Errorf("%q, %v", got.Text, err)
	}
	if _, err := c.Receive(&got); !errors.Is(err, io.EOF) {
		t.Errorf("then %v", err)
	}
}

// TestFullTable takes away the daemon's descriptors for a while: it must answer again when there are some.
func TestFullTable(t *testing.T) {
	_, path := serve(t, time.Minute)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	highest := 0
	for _, e := range open { // those that this process was started with may be anywhere
		if n, err := strconv.Atoi(e.Name()); err == nil {
			highest = max(highest, n)
		}
	}
	used := 0
	for used <= highest {
		dir, err := os.Open("/")
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		used = int(dir.Fd())
	}
	// One descriptor is left for the client's end, none for the server's.
	low := unix.Rlimit{Cur: uint64(used) + 2, Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	restored := false
	restore := func() {
		if !restored {
			restored = true
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
				t.Error(err)
			}
		}
	}
	defer restore()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Open("echo", echo{"late"}); err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(4 * acceptPause)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Receive(&echo{}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the server had a descriptor left (%v): the test proves nothing", err)
	}
	restore()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var got echo
	if _, err := c.Receive(&got); err != nil || got.Text != "late" {
		t.Errorf("after the table was full: %q, %v", got.Text, err)
	}
}

// TestSecond refuses to take the socket of a daemon that lives, and takes that of one that died.
func TestSecond(t *testing.T) {
	s, path := serve(t, time.Minute)
	if _, err := Listen(path, nil); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second daemon: %v; want EADDRINUSE", err)
	}
	s.Close()
	again, err := Listen(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
