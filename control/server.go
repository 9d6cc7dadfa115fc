package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Caller is who opened a connection, as the kernel says.
type Caller struct {
	Pid int
	UID uint32
	GID uint32
}

// Handler serves one connection whose first packet named the operation; files came with that packet and are the
// handler's. A returned error is sent to the caller as a Failure. The connection is closed when it returns.
type Handler func(ctx context.Context, who Caller, c *Conn, body json.RawMessage, files []*os.File) error

const (
	openingTime = 10 * time.Second      // for the first packet of a connection
	acceptPause = 50 * time.Millisecond // before a failed accept is tried again
)

// Server listens at a control socket.
type Server struct {
	opening  time.Duration // bounds the wait for a connection's first packet
	ln       *net.UnixListener
	handlers map[string]Handler
	wg       sync.WaitGroup
	ctx      context.Context
	cancel   context.CancelFunc
	mu       sync.Mutex // guards conns
	conns    map[*Conn]bool
}

// Listen makes the socket at path (mode 0666: who may do what is decided for each operation), replacing a socket left by a
// daemon that died. It refuses to replace one that answers.
func Listen(path string, handlers map[string]Handler) (*Server, error) {
	return listen(path, handlers, openingTime)
}

func listen(path string, handlers map[string]Handler, opening time.Duration) (*Server, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	addr := &net.UnixAddr{Name: path, Net: "unixpacket"}
	if c, err := net.DialUnix("unixpacket", nil, addr); err == nil {
		c.Close()
		return nil, fmt.Errorf("control socket %s: another onehostd listens there: %w", path, syscall.EADDRINUSE)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	ln, err := net.ListenUnix("unixpacket", addr)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		ln.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	s := &Server{opening: opening, ln: ln, handlers: handlers, conns: map[*Conn]bool{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Add(1)
	go s.accept()
	return s, nil
}

// Close stops listening, closes every connection and waits for the handlers.
func (s *Server) Close() {
	s.mu.Lock()
	s.cancel() // under the lock, so that no connection enters the list after it was gone through
	s.ln.Close()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *Server) accept() {
	defer s.wg.Done()
	for {
		nc, err := s.ln.AcceptUnix()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// The table of files is full: that passes as others close theirs.
			select {
			case <-s.ctx.Done():
				return
			case <-time.After(acceptPause):
			}
			continue
		}
		c, err := newConn(nc)
		if err != nil {
			continue
		}
		s.mu.Lock()
		if s.ctx.Err() != nil { // Close has been through the list already
			s.mu.Unlock()
			c.Close()
			return
		}
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Go(func() {
			s.serve(c)
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
			c.Close()
		})
	}
}

func (s *Server) serve(c *Conn) {
	who, err := c.Peer()
	if err != nil {
		return
	}
	// Whoever connects has something to say: a silent one must not keep memory and a goroutine of the daemon.
	if err := c.SetDeadline(time.Now().Add(s.opening)); err != nil {
		return
	}
	var req Request
	files, err := c.Receive(&req)
	if err != nil {
		return
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		closeAll(files)
		return
	}
	h := s.handlers[req.Op]
	if h == nil {
		closeAll(files)
		_ = c.Send(Failure{Text: fmt.Sprintf("onehostd does not know the operation %q: command and daemon differ in version", req.Op), Errno: syscall.ENOSYS})
		return
	}
	if err := h(s.ctx, who, c, req.Body, files); err != nil {
		f := Failure{Text: err.Error()}
		_ = errors.As(err, &f.Errno)
		_ = c.Send(f) // the caller may be gone, which is no news to anyone
	}
}

// Peer says who is at the other end, as the kernel saw when the connection was made.
func (c *Conn) Peer() (Caller, error) {
	var cred *unix.Ucred
	var cerr error
	if err := c.rc.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return Caller{}, err
	}
	if cerr != nil {
		return Caller{}, cerr
	}
	return Caller{Pid: int(cred.Pid), UID: cred.Uid, GID: cred.Gid}, nil
}
