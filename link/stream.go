package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
)

// Stream carries messages both ways between the end that opened it and a handler. One goroutine at a time sends and
// one receives; more of either take turns. It ends when the handler returns: what it sent before is received first,
// then io.EOF or its error. The opener is rid of a stream when the handler ended, when it resets it, or when the context
// it was opened under ends.
type Stream struct {
	c      *Conn
	id     uint64
	cancel context.CancelFunc // of the handler; nil at the opener
	sends  chan struct{}      // held by the one who sends
	recvs  chan struct{}      // held by the one who receives
	poked  chan struct{}      // something came or ended, for the one who receives
	opened chan struct{}      // the window has room or something ended, for the one who sends

	mu      sync.Mutex
	stop    func() bool // forgets the context it was opened under
	queue   []chunk     // received
	queued  int         // what queue costs in the window
	owed    int         // received by Recv, and the peer not told yet
	partial []byte      // what Recv has of a message of several frames; only the one who receives touches it
	eof     error       // what Recv gives when queue is empty; nil: wait
	broken  error       // what Send gives; nil: go on
	credit  int         // room in the peer's window
	over    bool        // ended or reset, seen from this end
	reset   error       // the handler's end was reset by itself with this
}

type chunk struct {
	b    []byte
	more bool
}

var errFinished = fmt.Errorf("link: send on a stream after its end: %w", syscall.EPIPE)

func (c *Conn) newStream(id uint64, cancel context.CancelFunc) *Stream {
	return &Stream{
		c: c, id: id, cancel: cancel, credit: streamWindow,
		sends: make(chan struct{}, 1), recvs: make(chan struct{}, 1),
		poked: make(chan struct{}, 1), opened: make(chan struct{}, 1),
	}
}

// Send sends one message of at most MaxMessage bytes, else EMSGSIZE. It waits while the peer's window is full, and
// returns when msg may be used again. When ctx ends before anything was sent the stream goes on; when it ends in the
// midst of a message, the stream is reset. After the end of the stream it fails with EPIPE, or with what ended it.
func (s *Stream) Send(ctx context.Context, msg []byte) error {
	if len(msg) > MaxMessage {
		return fmt.Errorf("link: a message of %d bytes, above %d: %w", len(msg), MaxMessage, syscall.EMSGSIZE)
	}
	select {
	case s.sends <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.sends }()
	for first := true; first || len(msg) > 0; first = false {
		n := min(len(msg), MaxFrame)
		begun, err := s.sendChunk(ctx, msg[:n], n < len(msg))
		if err != nil {
			if (begun || !first) && ctx.Err() != nil {
				s.Reset(ctx.Err())
			}
			return err
		}
		msg = msg[n:]
	}
	return nil
}

func (s *Stream) sendChunk(ctx context.Context, b []byte, more bool) (begun bool, err error) {
	for {
		s.mu.Lock()
		err, ok := s.broken, s.credit > 0
		if err == nil && ok {
			s.credit -= len(b) + perFrame
		}
		s.mu.Unlock()
		if err != nil {
			return false, err
		}
		if ok {
			break
		}
		select {
		case <-s.opened:
		case <-ctx.Done():
			return false, s.why(&s.broken, ctx)
		}
	}
	flags := uint8(0)
	if more {
		flags = flagMore
	}
	begun, err = s.c.w.data(ctx, s.id, b, flags)
	if !begun {
		s.mu.Lock()
		s.credit += len(b) + perFrame
		s.mu.Unlock()
	}
	return begun, err
}

// Recv gives the next message, which is the caller's. It returns io.EOF when the peer has ended cleanly and all it sent
// was received. When ctx ends nothing is lost: another Recv goes on.
func (s *Stream) Recv(ctx context.Context) ([]byte, error) {
	select {
	case s.recvs <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.recvs }()
	for {
		s.mu.Lock()
		if len(s.queue) == 0 {
			err := s.eof
			s.mu.Unlock()
			if err != nil {
				return nil, err
			}
			select {
			case <-s.poked:
				continue
			case <-ctx.Done():
				return nil, s.why(&s.eof, ctx)
			}
		}
		ch := s.popLocked()
		s.mu.Unlock()
		if s.partial == nil && !ch.more {
			return ch.b, nil
		}
		if len(s.partial)+len(ch.b) > MaxMessage {
			err := fmt.Errorf("link: the peer sent a message above %d bytes: %w", MaxMessage, syscall.EMSGSIZE)
			s.Reset(err)
			return nil, err
		}
		s.partial = append(s.partial, ch.b...)
		if !ch.more {
			msg := s.partial
			s.partial = nil
			return msg, nil
		}
	}
}

// why is the error of a wait that ctx ended: what ended the stream, if that is what ended ctx too.
func (s *Stream) why(ended *error, ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *ended != nil && s.over {
		return *ended
	}
	return ctx.Err()
}

// popLocked takes the first chunk, and gives its room back to the peer now and then.
func (s *Stream) popLocked() chunk {
	ch := s.queue[0]
	s.queue[0] = chunk{}
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil
	}
	n := len(ch.b) + perFrame
	s.queued -= n
	if s.owed += n; s.owed >= streamWindow/4 && s.eof == nil {
		s.c.w.credit(s.id, s.owed)
		s.owed = 0
	}
	return ch
}

// CloseSend tells the handler that no more messages follow: its Recv gives io.EOF. It must not run at the same time as
// a Send. At the handler's end it only stops further Sends; returning is what ends the stream.
func (s *Stream) CloseSend() error {
	s.mu.Lock()
	err := s.broken
	if err == nil {
		s.broken = errFinished
	}
	s.mu.Unlock()
	if err == nil && s.cancel == nil {
		s.c.w.control(frameFin, s.id, nil)
	}
	return nil
}

// Reset ends the stream at once, both ways, for the reason err (nil counts as ECANCELED), which the other end gets.
// What was received and not read is dropped. At the handler's end it cancels the handler's context, and the opener hears
// of it when the handler returns. A stream that has ended stays as it is.
func (s *Stream) Reset(err error) {
	if err == nil {
		err = syscall.ECANCELED
	}
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return
	}
	if s.cancel != nil && s.reset == nil {
		s.reset = err
	}
	s.dropLocked()
	s.mu.Unlock()
	s.end(err)
	if s.cancel == nil && s.c.streamOf(s.id) == s {
		h := endHead(err)
		_, _ = s.c.w.message(s.c.ctx, frameReset, s.id, &h, nil)
	}
}

// dropLocked throws away what was received.
func (s *Stream) dropLocked() { s.queue, s.queued = nil, 0 }

// end lets Send and Recv at this end fail with err, or, when it is io.EOF, end.
func (s *Stream) end(err error) {
	s.mu.Lock()
	clean := errors.Is(err, io.EOF)
	if s.eof == nil || errors.Is(s.eof, io.EOF) && !clean && !s.over {
		s.eof = err
	}
	s.over = true
	if s.broken == nil || errors.Is(s.broken, errFinished) {
		if s.broken = err; clean {
			s.broken = errFinished
		}
	}
	stop := s.stop
	s.stop = nil
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	if s.cancel != nil {
		s.cancel()
	}
	poke(s.poked)
	poke(s.opened)
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// received queues what the peer sent; the reader calls it.
func (s *Stream) received(b []byte, more bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.eof != nil { // reset here, and the peer did not know yet
		return nil
	}
	n := len(b) + perFrame
	if s.queued+s.owed+n > streamWindow+MaxFrame+perFrame {
		return errPeer("more on stream %d than its window holds", s.id)
	}
	s.queued += n
	s.queue = append(s.queue, chunk{b: b, more: more})
	poke(s.poked)
	return nil
}

// credited takes back room in the peer's window.
func (s *Stream) credited(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.credit += n; s.credit > streamWindow {
		return errPeer("stream %d: it received more than it got", s.id)
	}
	poke(s.opened)
	return nil
}
