package link

import (
	"context"
	"fmt"
	"io"
	"syscall"
)

// Open opens a stream to a handler of the peer. It returns when the opening is queued; whether the handler takes it
// shows in Recv. header and body are borrowed until it returns. ctx and its deadline hold for the whole life of the
// stream, here and in the handler: when it ends, the stream is reset. Beyond MaxStreams streams it waits for one to end.
func (c *Conn) Open(ctx context.Context, method string, header, body []byte) (*Stream, error) {
	h, err := callHead(ctx, method, header, body)
	if err != nil {
		return nil, err
	}
	if err := c.acquire(ctx, c.opens); err != nil {
		return nil, err
	}
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, c.err
	}
	s := c.newStream(c.nextIDLocked(), nil)
	c.streams[s.id] = s
	c.mu.Unlock()
	begun, err := c.w.message(ctx, frameOpen, s.id, &h, body)
	if err != nil {
		if begun {
			s.Reset(err)
		} else if c.forget(s) {
			<-c.opens
		}
		return nil, err
	}
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { s.Reset(ctx.Err()) })
		s.mu.Lock()
		over := s.over
		if !over {
			s.stop = stop
		}
		s.mu.Unlock()
		if over {
			stop()
		}
	}
	return s, nil
}

// streamOf finds a stream that lives, of either end.
func (c *Conn) streamOf(id uint64) *Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams[id]
}

// forget takes a stream out of the table, and says whether it was there.
func (c *Conn) forget(s *Stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams[s.id] != s {
		return false
	}
	delete(c.streams, s.id)
	if s.cancel != nil {
		c.opened--
	}
	return true
}

// accept starts the handler of a stream that the peer opens.
func (c *Conn) accept(id uint64, h rawHead, body []byte) error {
	req := &Request{Method: string(h.method), Header: h.header, Body: body, From: c.peer, Conn: c}
	handler := c.router.stream(req.Method)
	if handler == nil {
		handler = noSuchStream
	}
	ctx, cancel := c.handlerContext(h.timeout)
	s := c.newStream(id, cancel)
	c.mu.Lock()
	if c.err != nil || c.streams[id] != nil || c.opened >= MaxStreams {
		defer c.mu.Unlock()
		cancel()
		return errPeer("stream %d beside %d others", id, c.opened)
	}
	c.streams[id] = s
	c.opened++
	c.mu.Unlock()
	go func() {
		err := handler(ctx, req, s)
		cancel()
		s.mu.Lock()
		if s.reset != nil {
			err = s.reset
		}
		s.dropLocked()
		s.mu.Unlock()
		s.end(io.EOF)
		if c.forget(s) {
			c.sendEnd(id, err)
		}
	}()
	return nil
}

func noSuchStream(_ context.Context, r *Request, _ *Stream) error {
	return fmt.Errorf("link: this host serves no stream %q: install the same release on both: %w", r.Method, syscall.ENOSYS)
}

// sendEnd tells the opener that the handler of its stream has ended.
func (c *Conn) sendEnd(id uint64, err error) {
	h := endHead(err)
	_, _ = c.w.message(c.ctx, frameEnd, id, &h, nil)
}

// finished hears that the opener sends no more.
func (c *Conn) finished(id uint64) error {
	if c.ours(id) {
		return errPeer("a handler finished stream %d instead of ending it", id)
	}
	if s := c.streamOf(id); s != nil {
		s.mu.Lock()
		if s.eof == nil {
			s.eof = io.EOF
		}
		s.mu.Unlock()
		poke(s.poked)
	}
	return nil
}

// ended hears that the handler of a stream of ours has ended.
func (c *Conn) ended(id uint64, h rawHead) error {
	s := c.streamOf(id)
	if s == nil || !c.forget(s) {
		return errPeer("the end of no stream, id %d", id)
	}
	<-c.opens
	if err := h.err(); err != nil {
		s.end(err)
	} else {
		s.end(io.EOF)
	}
	return nil
}

// wasReset hears that the opener gave its stream up.
func (c *Conn) wasReset(id uint64, h rawHead) {
	s := c.streamOf(id)
	if s == nil {
		return // its handler ended at the same moment
	}
	err := h.err()
	if err == nil {
		err = &RemoteError{Errno: syscall.ECANCELED, Text: "the opener gave the stream up"}
	}
	s.mu.Lock()
	s.dropLocked()
	s.mu.Unlock()
	s.end(err)
}
