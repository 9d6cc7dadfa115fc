package session

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// TestConnectionsAreUsedAgain: jobs that follow each other go by one connection, unless the daemon is one that knows nothing of that.
func TestConnectionsAreUsedAgain(t *testing.T) {
	need(t, "make")
	dir := t.TempDir()
	const jobs = 12
	mk := "all: " + targets(jobs) + "\n%.o:\n\t@/bin/echo job out $@ exit 0\n"
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte(mk), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, single := range []bool{false, true} {
		f := newFake(t)
		f.mu.Lock()
		f.single = single
		f.mu.Unlock()
		o := f.run(t, nil, "make", "-rj1", "-C", dir)
		if n := strings.Count(o.out, ".o\n"); o.status != 0 || n != jobs || strings.Count(o.report, "remote\t") != jobs {
			t.Errorf("single %v: status %#x, %d of %d outputs, report %q", single, o.status, n, jobs, o.report)
		}
		want := 1
		if single {
			want = jobs
		}
		f.mu.Lock()
		if f.conns != want || len(f.execs) != jobs {
			t.Errorf("single %v: %d jobs by %d connections, want %d by %d", single, len(f.execs), f.conns, jobs, want)
		}
		f.mu.Unlock()
	}
}

// bare is a daemon's socket whose connections the test itself handles, one after the other.
type bare struct {
	*supervisor
	conns chan *net.UnixConn
}

func newBare(t *testing.T) *bare {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	b := &bare{
		supervisor: &supervisor{
			cfg: &Config{ControlPath: path}, ctx: t.Context(), idle: idle{path: path},
			daemon: &daemon{serves: 1, used: map[names.Host]bool{}, reply: control.SessionReply{Session: 7}},
		},
		conns: make(chan *net.UnixConn, 8),
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.AcceptUnix()
			if err != nil {
				return
			}
			b.conns <- c
		}
	})
	t.Cleanup(func() {
		ln.Close()
		wg.Wait()
		b.idle.close()
		close(b.conns)
		for c := range b.conns {
			c.Close()
		}
	})
	return b
}

// read takes the next packet and closes the descriptors that came with it.
func read(t *testing.T, c *net.UnixConn, v any) {
	t.Helper()
	data, oob := make([]byte, control.MaxPacket), make([]byte, 1024)
	n, oobn, _, _, err := c.ReadMsgUnix(data, oob)
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	if err := json.Unmarshal(data[:n], v); err != nil {
		t.Fatal(err)
	}
}

// ordered reads an order to exec and gives the number of its job.
func ordered(t *testing.T, c *net.UnixConn) uint64 {
	t.Helper()
	var req control.Request
	var x control.ExecRequest
	read(t, c, &req)
	if err := json.Unmarshal(req.Body, &x); err != nil || req.Op != control.OpExec {
		t.Fatalf("%q, %v", req.Op, err)
	}
	return x.Job
}

func answer(t *testing.T, c *net.UnixConn, ev control.JobEvent) {
	t.Helper()
	data, err := json.Marshal(ev)
	if err == nil {
		_, err = c.Write(data)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// arrived waits until the connection has something to read, and leaves it there.
func arrived(t *testing.T, c *net.UnixConn) {
	t.Helper()
	rc, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := rc.Read(func(fd uintptr) bool {
		n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK)
		return !errors.Is(err, unix.EAGAIN) && (n > 0 || err != nil)
	}); err != nil {
		t.Fatal(err)
	}
}

// captured is what became of a capture.
type captured struct {
	conn *control.Conn
	err  error
}

// send has the job with the descriptor go.
func (b *bare) send(id uint64, f *os.File) <-chan captured {
	out := make(chan captured, 1)
	go func() {
		j := &job{id: id, pid: 1, host: 2, serves: b.daemon.session()}
		conn, ev, err := b.offer(j, control.ExecRequest{Session: 7, Job: id, FDs: []control.FD{{N: 1}}}, []*os.File{f})
		if err == nil && ev.Kind != control.JobCaptured {
			err = errors.New(ev.Kind)
		}
		out <- captured{conn, err}
	}()
	return out
}

// free has a job go and end, so that its connection is idle.
func (b *bare) free(t *testing.T, id uint64, f *os.File) *net.UnixConn {
	t.Helper()
	sent := b.send(id, f)
	c := <-b.conns
	if got := ordered(t, c); got != id {
		t.Fatalf("job %d came, want %d", got, id)
	}
	answer(t, c, control.JobEvent{Kind: control.JobCaptured})
	end := <-sent
	if end.err != nil {
		t.Fatal(end.err)
	}
	r := &remoteJob{job: &job{id: id, serves: 1}, s: b.supervisor, conn: end.conn}
	r.pass(control.JobEvent{Kind: control.JobExited, Next: true})
	var o control.JobOrder
	if read(t, c, &o); !o.Over {
		t.Fatalf("the session is not done with a job that has ended: %+v", o)
	}
	return c
}

// TestIdleConnectionIsClosed: a daemon may close a connection without a job whenever it likes. The next job is received once, or it
// stays; its descriptors are nowhere else than with who received them.
func TestIdleConnectionIsClosed(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(t *testing.T, c *net.UnixConn, sent func() <-chan captured) <-chan captured
		once bool // the job was received by the connection that ended, so it must not come by another
	}{
		{"before the next job", func(_ *testing.T, c *net.UnixConn, sent func() <-chan captured) <-chan captured {
			c.Close()
			return sent()
		}, false},
		{"when it has come and was not read", func(t *testing.T, c *net.UnixConn, sent func() <-chan captured) <-chan captured {
			t.Helper()
			s := sent()
			arrived(t, c)
			c.Close()
			return s
		}, false},
		{"when it was read", func(t *testing.T, c *net.UnixConn, sent func() <-chan captured) <-chan captured {
			t.Helper()
			s := sent()
			if got := ordered(t, c); got != 2 {
				t.Fatalf("job %d came, want 2", got)
			}
			c.Close()
			return s
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBare(t)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			first := b.free(t, 1, w)
			sent := c.end(t, first, func() <-chan captured { return b.send(2, w) })
			if c.once {
				if end := <-sent; end.err == nil || end.err.Error() != reasonNoDaemon {
					t.Errorf("a job that may have been received: %v; want it to stay", end.err)
				}
				select {
				case again := <-b.conns:
					again.Close()
					t.Error("it was sent again")
				default:
				}
			} else {
				second := <-b.conns
				defer second.Close()
				if got := ordered(t, second); got != 2 {
					t.Errorf("job %d came, want 2", got)
				}
				answer(t, second, control.JobEvent{Kind: control.JobCaptured})
				end := <-sent
				if end.err != nil {
					t.Fatal(end.err)
				}
				end.conn.Close()
			}
			w.Close()
			if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("the descriptor is open somewhere: %v", err)
			}
		})
	}
}

// TestIdleConnectionsEnd: those to a daemon that another one follows are closed, and all of them with the session.
func TestIdleConnectionsEnd(t *testing.T) {
	b := newBare(t)
	ended := func(c *net.UnixConn) bool {
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(make([]byte, 1))
		return n == 0 && !errors.Is(err, os.ErrDeadlineExceeded)
	}
	first := b.free(t, 1, os.Stdin)
	b.daemon.serves = 2
	sent := b.send(2, os.Stdin)
	second := <-b.conns
	defer second.Close()
	if !ended(first) {
		t.Error("a connection to the daemon of before is open")
	}
	ordered(t, second)
	answer(t, second, control.JobEvent{Kind: control.JobCaptured})
	end := <-sent
	if end.err != nil {
		t.Fatal(end.err)
	}
	old, err := control.Dial(context.Background(), b.cfg.ControlPath)
	if err != nil {
		t.Fatal(err)
	}
	third := <-b.conns
	defer third.Close()
	b.idle.put(old, 1)
	if !ended(third) {
		t.Error("a connection to the daemon of before is kept")
	}
	b.idle.put(end.conn, 2)
	b.idle.close()
	if !ended(second) {
		t.Error("an idle connection outlives its session")
	}
	if late, err := control.Dial(context.Background(), b.cfg.ControlPath); err != nil {
		t.Error(err)
	} else {
		c := <-b.conns
		defer c.Close()
		if b.idle.put(late, 2); !ended(c) {
			t.Error("a connection is kept when the session has ended")
		}
	}
}
