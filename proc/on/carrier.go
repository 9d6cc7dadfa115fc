package on

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/proc/on/onpb"
)

// Method is the stream that carries a command.
const Method = "proc.on"

// The first byte of a message is the descriptor whose bytes follow, or wordMark.
const wordMark = 0xff

// Standard descriptors.
const (
	stdin = iota
	stdout
	stderr
	descriptors // how many there are
)

const (
	window = 256 << 10 // bytes of one descriptor sent and not yet written there
	chunk  = 32 << 10  // the most that is read at a time
)

// carrier carries the bytes of descriptors between this host and the other end of a stream.
type carrier struct {
	stream  *link.Stream
	sources [descriptors]*source // read here; nil if not ours
	sinks   [descriptors]*sink   // written here
	read    sync.WaitGroup       // the sources' pumps
	written sync.WaitGroup       // and the sinks'
}

// say sends a word.
func (c *carrier) say(ctx context.Context, w *onpb.Word) error {
	msg, err := marshal(w)
	if err != nil {
		return err
	}
	return c.stream.Send(ctx, msg)
}

func marshal(w *onpb.Word) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend([]byte{wordMark}, w)
}

// run starts the pumps. They end when their descriptors have, or when these are closed and ctx has ended; wait waits for that.
func (c *carrier) run(ctx context.Context) {
	for fd := range descriptors {
		if s := c.sources[fd]; s != nil {
			c.read.Go(func() { s.pump(ctx, c, fd) })
		}
		if s := c.sinks[fd]; s != nil {
			c.written.Go(func() { s.pump(ctx, c, fd) })
		}
	}
}

func (c *carrier) wait() {
	c.read.Wait()
	c.written.Wait()
}

// hear takes one message in. What is not about descriptors is returned.
func (c *carrier) hear(msg []byte) (*onpb.Word, error) {
	if len(msg) == 0 {
		return nil, fmt.Errorf("an empty message: %w", syscall.EBADMSG)
	}
	if fd := int(msg[0]); fd != wordMark {
		if fd >= descriptors || c.sinks[fd] == nil {
			return nil, fmt.Errorf("bytes for descriptor %d: %w", fd, syscall.EBADMSG)
		}
		return nil, c.sinks[fd].take(msg[1:], false)
	}
	w := &onpb.Word{}
	if err := proto.Unmarshal(msg[1:], w); err != nil {
		return nil, fmt.Errorf("bad message: %w: %w", err, syscall.EBADMSG)
	}
	fd := w.Fd
	switch w.Kind {
	case onpb.Word_CREDIT, onpb.Word_BROKEN:
		if fd >= descriptors || c.sources[fd] == nil {
			return nil, fmt.Errorf("word of descriptor %d: %w", fd, syscall.EBADMSG)
		}
		if w.Kind == onpb.Word_BROKEN {
			c.sources[fd].close()
			return nil, nil
		}
		return nil, c.sources[fd].grant(int(w.N))
	case onpb.Word_END:
		if fd >= descriptors || c.sinks[fd] == nil {
			return nil, fmt.Errorf("end of descriptor %d: %w", fd, syscall.EBADMSG)
		}
		return nil, c.sinks[fd].take(nil, true)
	}
	return w, nil
}

// close closes all descriptors, which ends the pumps.
func (c *carrier) close() {
	for fd := range descriptors {
		if s := c.sources[fd]; s != nil {
			s.close()
		}
		if s := c.sinks[fd]; s != nil {
			s.close()
		}
	}
}

// source is a descriptor that is read at this end.
type source struct {
	file   *os.File
	more   chan struct{} // there is credit; capacity 1
	closed chan struct{}
	once   sync.Once // of close

	mu     sync.Mutex // guards credit
	credit int
}

func newSource(f *os.File) *source {
	return &source{file: f, credit: window, more: make(chan struct{}, 1), closed: make(chan struct{})}
}

func (s *source) close() {
	s.once.Do(func() {
		close(s.closed)
		s.file.Close()
	})
}

// grant adds to what may be sent.
func (s *source) grant(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n <= 0 || s.credit+n > window {
		return fmt.Errorf("%d bytes of credit beside %d: %w", n, s.credit, syscall.EBADMSG)
	}
	s.credit += n
	select {
	case s.more <- struct{}{}:
	default:
	}
	return nil
}

// room waits for credit and gives how much may be sent at once.
func (s *source) room(ctx context.Context) (int, error) {
	for {
		s.mu.Lock()
		n := s.credit
		s.mu.Unlock()
		if n > 0 {
			return min(n, chunk), nil
		}
		select {
		case <-s.more:
		case <-s.closed:
			return 0, os.ErrClosed
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// finish makes the pump end when it has sent what can be read without waiting.
func (s *source) finish() {
	_ = s.file.SetReadDeadline(past) // wakes it; a file that is closed has nobody to wake
}

// read is a read that waits, unless there will be no more.
func (s *source) read(buf []byte) (int, error) {
	n, err := s.file.Read(buf)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	return readNow(s.file, buf) // finish was called: that is the only deadline there is
}

// pump sends what it reads until the end of the file, which it sends too.
func (s *source) pump(ctx context.Context, c *carrier, fd int) {
	defer s.close()
	buf := make([]byte, 1+chunk)
	buf[0] = byte(fd)
	for {
		n := 0
		room, err := s.room(ctx)
		if err == nil {
			n, err = s.read(buf[1 : 1+room])
		}
		if n > 0 {
			s.mu.Lock()
			s.credit -= n
			s.mu.Unlock()
			if c.stream.Send(ctx, buf[:1+n]) != nil {
				return
			}
		}
		if err != nil || n == 0 { // end of file; EIO: no process has the terminal open
			_ = c.say(ctx, &onpb.Word{Kind: onpb.Word_END, Fd: uint32(fd)}) // a stream that ended needs no end
			return
		}
	}
}

// sink is a descriptor that is written at this end.
type sink struct {
	file *os.File
	end  func() error  // at the end of file; nil: the file is closed
	more chan struct{} // something came; capacity 1

	mu     sync.Mutex // guards what follows
	queue  [][]byte
	queued int // bytes taken and not yet written
	ended  bool
}

func newSink(f *os.File) *sink { return &sink{file: f, more: make(chan struct{}, 1)} }

func (s *sink) close() { s.file.Close() }

// take queues bytes, or the end of file. More than the window holds is a breach.
func (s *sink) take(b []byte, end bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.queued+len(b) > window {
		return fmt.Errorf("%d bytes after %d, ended %v: %w", len(b), s.queued, s.ended, syscall.EBADMSG)
	}
	s.ended = end
	if len(b) > 0 {
		s.queue, s.queued = append(s.queue, b), s.queued+len(b)
	}
	select {
	case s.more <- struct{}{}:
	default:
	}
	return nil
}

// next waits for bytes; none means the end of file.
func (s *sink) next(ctx context.Context) ([]byte, error) {
	for {
		s.mu.Lock()
		if len(s.queue) > 0 {
			b := s.queue[0]
			s.queue[0], s.queue = nil, s.queue[1:]
			s.mu.Unlock()
			return b, nil
		}
		ended := s.ended
		s.mu.Unlock()
		if ended {
			return nil, nil
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// pump writes what comes. When nobody reads any more it says so, once, and throws the rest away.
func (s *sink) pump(ctx context.Context, c *carrier, fd int) {
	broken, owed := false, 0
	for {
		b, err := s.next(ctx)
		if err != nil {
			return
		}
		if b == nil {
			if s.end == nil {
				s.close()
			} else if !broken {
				_ = s.end() // a terminal that hung up has no input
			}
			return
		}
		if !broken {
			if _, err := s.file.Write(b); err != nil {
				broken = true
				if s.end == nil {
					s.close()
				}
				_ = c.say(ctx, &onpb.Word{Kind: onpb.Word_BROKEN, Fd: uint32(fd)}) // once the other end has said all, it hears nothing: so below
			}
		}
		s.mu.Lock()
		s.queued -= len(b)
		idle := s.queued == 0
		s.mu.Unlock()
		if owed += len(b); idle || owed >= window/4 {
			_ = c.say(ctx, &onpb.Word{Kind: onpb.Word_CREDIT, Fd: uint32(fd), N: uint32(owed)})
			owed = 0
		}
	}
}
