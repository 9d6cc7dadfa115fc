package link

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// pending is a call of ours that waits for its reply. Its slots are given back when the reply is there, even when
// nobody waits any more: until then the peer may be working on it.
type pending struct {
	result    chan result
	large     int  // bytes taken from Conn.bodies
	abandoned bool // guarded by Conn.mu
}

type result struct {
	reply Reply
	err   error
}

// newPending takes one out of the connection's own pool: channels of different testing/synctest bubbles must not mix.
func (c *Conn) newPending() *pending {
	if p, ok := c.pendings.Get().(*pending); ok {
		return p
	}
	return &pending{result: make(chan result, 1)}
}

var errCancelled = fmt.Errorf("the caller gave up: %w", syscall.ECANCELED)

// Call calls a method of the peer and waits for its reply, for ctx, or for the end of the connection. header and body
// are borrowed until it returns; the reply is the caller's. header and body may be MaxMessage bytes together, else
// EMSGSIZE. An error of the handler is a *RemoteError; ctx's own error comes back as it is.
func (c *Conn) Call(ctx context.Context, method string, header, body []byte) (Reply, error) {
	return c.call(ctx, nil, method, header, body)
}

// Patience is of somebody on whose behalf a call is made. It costs nothing while he waits.
type Patience struct {
	Stop  <-chan struct{} // closed when he may have given up; nil: never
	Gone  func() bool     // whether he has; asked from then on
	Every time.Duration   // and so often
}

// CallFor is Call that ends with context.Canceled, too, when the one it is for has given up.
func (c *Conn) CallFor(ctx context.Context, p *Patience, method string, header, body []byte) (Reply, error) {
	if p.Stop != nil && (len(header)+len(body) > smallMessage || len(c.calls) == cap(c.calls)) { // it may have to wait before it is sent
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			if p.over(ctx) {
				cancel()
			}
		}()
		return c.call(ctx, nil, method, header, body)
	}
	return c.call(ctx, p, method, header, body)
}

// over waits until the one has given up, and reports that, or for ctx.
func (p *Patience) over(ctx context.Context) bool {
	select {
	case <-p.Stop:
	case <-ctx.Done():
		return false
	}
	t := time.NewTicker(p.Every)
	defer t.Stop()
	for !p.Gone() {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
	return true
}

func (c *Conn) call(ctx context.Context, pt *Patience, method string, header, body []byte) (Reply, error) {
	h, err := callHead(ctx, method, header, body)
	if err != nil {
		return Reply{}, err
	}
	if err := c.acquire(ctx, c.calls); err != nil {
		return Reply{}, err
	}
	p := c.newPending()
	p.large, p.abandoned = 0, false
	if n := len(header) + len(body); n > smallMessage {
		if err := c.bodies.acquire(ctx, c.done, n); err != nil {
			<-c.calls
			if errors.Is(err, ErrClosed) {
				err = c.Err()
			}
			return Reply{}, err
		}
		p.large = n
	}
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return Reply{}, c.err
	}
	id := c.nextIDLocked()
	c.waiting[id] = p
	c.mu.Unlock()

	begun, err := c.w.message(ctx, frameCall, id, &h, body)
	if err == nil {
		var r result
		if r, err = p.wait(ctx, pt); err == nil {
			c.pendings.Put(p)
			return r.reply, r.err
		}
	}
	return c.abandon(id, p, begun, err)
}

// wait waits for the reply, or says why it does not any more.
func (p *pending) wait(ctx context.Context, pt *Patience) (result, error) {
	var stop <-chan struct{}
	var tick <-chan time.Time
	if pt != nil {
		stop = pt.Stop
	}
	for {
		select {
		case r := <-p.result:
			return r, nil
		case <-ctx.Done():
			return result{}, ctx.Err()
		case <-stop:
			stop = nil
			t := time.NewTicker(pt.Every)
			defer t.Stop()
			tick = t.C
		case <-tick:
		}
		if stop == nil && pt != nil && pt.Gone() {
			return result{}, context.Canceled
		}
	}
}

// abandon gives up a call of ours, with err.
func (c *Conn) abandon(id uint64, p *pending, begun bool, err error) (Reply, error) {
	c.mu.Lock()
	if c.waiting[id] != p { // answered at the same moment, or the connection ended
		c.mu.Unlock()
		r := <-p.result
		c.pendings.Put(p)
		return r.reply, r.err
	}
	p.abandoned = true
	if !begun {
		delete(c.waiting, id)
	}
	c.mu.Unlock()
	if begun {
		c.w.control(frameCancel, id, nil)
	} else {
		c.settle(p)
	}
	return Reply{}, err
}

// settle gives back the slots of a call.
func (c *Conn) settle(p *pending) {
	if p.large > 0 {
		c.bodies.release(p.large)
	}
	<-c.calls
}

// replied takes a reply to a call of ours.
func (c *Conn) replied(id uint64, h rawHead, body []byte) error {
	c.mu.Lock()
	p := c.waiting[id]
	if p == nil {
		defer c.mu.Unlock()
		if c.err != nil {
			return c.err
		}
		return errPeer("a reply to no call, id %d", id)
	}
	delete(c.waiting, id)
	abandoned := p.abandoned
	c.mu.Unlock()
	c.settle(p)
	if abandoned {
		c.pendings.Put(p)
		return nil
	}
	r := result{err: h.err()}
	if r.err == nil {
		r.reply = Reply{Header: h.header, Body: body}
	}
	p.result <- r
	return nil
}

// callHead makes the head of a call or a stream, and checks the rules.
func callHead(ctx context.Context, method string, header, body []byte) (head, error) {
	h := head{method: method, header: header}
	if method == "" || len(method) > maxMethod {
		return h, fmt.Errorf("link: method %q: want 1 to %d bytes: %w", method, maxMethod, syscall.EINVAL)
	}
	if len(header)+len(body) > MaxMessage {
		return h, fmt.Errorf("link: %s with %d bytes, above the %d of a message: %w", method, len(header)+len(body), MaxMessage, syscall.EMSGSIZE)
	}
	if err := ctx.Err(); err != nil {
		return h, ctx.Err()
	}
	if d, ok := ctx.Deadline(); ok {
		h.timeout = max(1, time.Until(d))
	}
	return h, nil
}

// handlerContext is what a handler runs under.
func (c *Conn) handlerContext(timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout > 0 {
		return context.WithTimeout(c.ctx, timeout)
	}
	return context.WithCancel(c.ctx)
}

// serve starts the handler of a call of the peer. buf holds head and body.
func (c *Conn) serve(id uint64, h rawHead, body []byte, buf *buffer) error {
	req := &Request{Method: string(h.method), Header: h.header, Body: body, From: c.peer, Conn: c}
	handler := c.router.call(req.Method)
	if handler == nil {
		handler = noSuchCall
	}
	ctx, cancel := c.handlerContext(h.timeout)
	c.mu.Lock()
	if c.err != nil || c.serving[id] != nil {
		defer c.mu.Unlock()
		cancel()
		return errPeer("two calls of id %d", id)
	}
	c.serving[id] = cancel
	c.mu.Unlock()
	go func() {
		reply, err := handler(ctx, req)
		cancel()
		c.mu.Lock()
		delete(c.serving, id)
		c.mu.Unlock()
		c.reply(id, reply, err)
		buf.free()
	}()
	return nil
}

func noSuchCall(_ context.Context, r *Request) (Reply, error) {
	return Reply{}, fmt.Errorf("link: this host serves no call %q: install the same release on both: %w", r.Method, syscall.ENOSYS)
}

// reply answers a call of the peer. It returns when nothing of r is referenced any more. An error means that the
// connection ended, and everybody knows it.
func (c *Conn) reply(id uint64, r Reply, err error) {
	if n := len(r.Header) + len(r.Body); err == nil && n > MaxMessage {
		err = fmt.Errorf("link: a reply of %d bytes, above the %d of a message: %w", n, MaxMessage, syscall.EMSGSIZE)
	}
	h := endHead(err)
	if err != nil {
		r = Reply{}
	}
	h.header = r.Header
	_, _ = c.w.message(c.ctx, frameReply, id, &h, r.Body)
}

// cancelServing cancels a call of the peer, if it still runs.
func (c *Conn) cancelServing(id uint64) {
	c.mu.Lock()
	cancel := c.serving[id]
	c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}
