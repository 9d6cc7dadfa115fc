package on

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/proc/on/onpb"
)

// startTime bounds the start of a command: milliseconds, unless its directory or program is on a file system that hangs.
const startTime = 20 * time.Second

// Server runs the commands that other hosts, or this one, want run here.
type Server struct {
	log  *slog.Logger
	dir  string // where the groups are
	err  error  // why nothing can be run here
	own  own
	left *leftovers

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu     sync.Mutex // guards what follows
	closed bool
	wg     sync.WaitGroup // commands that run; not added to once closed
}

// NewServer makes a Server, and ends what a daemon that was killed left running. On a host that cannot run commands each is
// refused with the reason.
func NewServer(log *slog.Logger) *Server {
	s := &Server{log: log}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if s.own, s.err = readOwn(); s.err != nil {
		return s
	}
	if s.dir, s.err = groupDir(); s.err != nil {
		return s
	}
	if s.left, s.err = newLeftovers(log); s.err != nil {
		return s
	}
	sweep(s.dir, s.left.keep, log)
	return s
}

// Register serves the stream of commands on r.
func (s *Server) Register(r *link.Router) { r.HandleStream(Method, s.serve) }

// Close ends the commands that run here, but not what commands that have ended left in the background. It waits for that, some seconds
// at most.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
	if s.left != nil {
		s.left.close()
	}
}

var errStopping = fmt.Errorf("onehostd is stopping there: %w", syscall.ESHUTDOWN)

// serve runs one command. When the stream ends, so does the command.
func (s *Server) serve(ctx context.Context, r *link.Request, st *link.Stream) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errStopping
	}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()
	if s.err != nil {
		return fmt.Errorf("no command can be run there: %w", s.err)
	}
	x := &onpb.Start{}
	if err := proto.Unmarshal(r.Body, x); err != nil {
		return fmt.Errorf("bad request: %w: %w", err, syscall.EBADMSG)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	c := &carrier{stream: st}
	p, err := s.start(ctx, x, c)
	if ref := (*refused)(nil); errors.As(err, &ref) {
		return c.say(ctx, &onpb.Word{Kind: onpb.Word_REFUSED, Errno: uint32(ref.errno), Text: ref.text})
	}
	if err != nil {
		s.log.Warn("a command could not be started", "from", r.From.Name, "uid", x.Uid, "err", err)
		return err
	}
	if err := c.say(ctx, &onpb.Word{Kind: onpb.Word_STARTED, Pid: uint32(p.pid)}); err != nil {
		cancel()
	}
	whole := s.follow(ctx, p, c)
	cancel()
	if !whole {
		if s.ctx.Err() != nil {
			return errStopping
		}
		return ctx.Err()
	}
	return nil
}

// start makes the command's descriptors and starts it.
func (s *Server) start(ctx context.Context, x *onpb.Start, c *carrier) (*process, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	var files [descriptors]*os.File
	var master *os.File
	fail := func(err error) (*process, error) {
		c.close()
		for _, f := range files {
			if f != nil {
				f.Close()
			}
		}
		return nil, err
	}
	if x.Tty {
		m, slave, err := terminal(uint16(x.Rows), uint16(x.Cols), x.Uid, speaksUTF8(stringsOf(x.Env)))
		if err != nil {
			return fail(err)
		}
		master, files = m, [descriptors]*os.File{slave, slave, slave}
		c.sinks[stdin], c.sources[stdout] = newSink(master), newSource(master)
		c.sinks[stdin].end = func() error { return typeEOF(master) }
	} else {
		for fd := range descriptors {
			far := 0
			if fd != stdin {
				far = 1
			}
			near, gone, err := pipe(far, x.Uid, x.Gid)
			if err != nil {
				return fail(err)
			}
			if files[fd] = gone; fd == stdin {
				c.sinks[fd] = newSink(near)
			} else {
				c.sources[fd] = newSource(near)
			}
		}
	}
	p, err := newPlan(x).launch(ctx, s.own, s.dir, files)
	if err != nil {
		return fail(err)
	}
	p.master = master
	return p, nil
}

// follow carries the command's bytes until it has ended, and tells its status. It reports whether that was the end; otherwise the command's
// caller was lost, or this daemon stops, and the command was ended.
func (s *Server) follow(ctx context.Context, p *process, c *carrier) bool {
	pumping, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(pumping, c.close)()
	c.run(pumping)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		s.hear(pumping, p, c)
	}()
	written := make(chan struct{})
	go func() {
		defer close(written)
		<-p.ended
		if p.master != nil {
			c.sources[stdout].finish() // who still has the terminal is hung up on
		}
		c.read.Wait()
	}()
	whole := false
	select {
	case <-written:
		whole = pumping.Err() == nil
	case <-heard:
	}
	if !whole {
		stop()
		p.hangUp(s.log)
		select {
		case <-p.ended:
		case <-time.After(killTime): // it does not even die
			go func() {
				<-p.ended
				p.reap()
			}()
			s.left.keep(p.group)
			return false
		}
	}
	ws := p.reap()
	if whole {
		out := &onpb.Word{Kind: onpb.Word_EXITED, Code: int32(ws.ExitStatus())}
		if ws.Signaled() {
			out.Code, out.Signal, out.Core = 0, int32(ws.Signal()), ws.CoreDump()
		}
		whole = c.say(ctx, out) == nil
		if p.group.populated() {
			if err := p.group.markLeft(); err != nil {
				s.log.Warn("what a command left in the background will end with this daemon", "cgroup", p.group.path, "err", err)
			}
		}
	}
	s.left.keep(p.group)
	stop()
	c.close()
	<-heard
	c.wait()
	return whole
}

// hear obeys the caller until he, or ctx, is gone.
func (s *Server) hear(ctx context.Context, p *process, c *carrier) {
	for {
		msg, err := c.stream.Recv(ctx)
		if err != nil {
			return
		}
		w, err := c.hear(msg)
		if err != nil {
			c.stream.Reset(err)
			return
		}
		if w == nil {
			continue
		}
		switch w.Kind {
		case onpb.Word_SIGNAL:
			if sig := syscall.Signal(w.Signal); sig > 0 && sig <= 64 {
				p.signal(sig)
			}
		case onpb.Word_SIZE:
			p.resize(uint16(w.Rows), uint16(w.Cols))
		}
	}
}
