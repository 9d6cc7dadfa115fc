package carrier

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// handlers are the operations of a carrier's socket.
func (c *server) handlers() map[string]control.Handler {
	return map[string]control.Handler{
		opOwn: c.serveOwn,
		opEnd: only(func(ctx context.Context, r endRequest) (done, *os.File, error) { return done{}, nil, c.end(ctx, r) }),
		opPart: only(func(context.Context, done) (parted, *os.File, error) {
			if c.helper.Idle() {
				c.over.happen()
				return parted{}, nil, nil
			}
			return parted{Stays: true}, nil, nil
		}),
		opReach: only(func(ctx context.Context, r reachRequest) (done, *os.File, error) { return done{}, nil, c.reach(ctx, r) }),
		opHeard: only(func(_ context.Context, r reachRequest) (done, *os.File, error) {
			c.hear(r.Home, r.Addr)
			return done{}, nil, nil
		}),
		opLost: only(func(_ context.Context, r reachRequest) (done, *os.File, error) {
			c.pool.Hangup(r.Home.Number, r.Home.Incarnation)
			return done{}, nil, nil
		}),
		opDrained: only(func(_ context.Context, r drainedRequest) (held, *os.File, error) {
			c.drained.Store(r.Drained)
			if !r.Drained {
				return held{}, nil, nil
			}
			jobs, err := c.helper.Held()
			return held{Jobs: jobs}, nil, err
		}),
		opNests: only(func(context.Context, done) (nestsReply, *os.File, error) {
			var r nestsReply
			for _, n := range c.helper.Nests() {
				r.Inits = append(r.Inits, n.Init)
			}
			return r, nil, nil
		}),
		opNested: only(func(_ context.Context, r nestedRequest) (done, *os.File, error) {
			f, err := c.helper.Nested(r.Home, r.Pid)
			return done{}, f, err
		}),
		opProc: only(func(_ context.Context, r nestedRequest) (done, *os.File, error) {
			f, err := c.helper.NestedProc(r.Home)
			return done{}, f, err
		}),
		opNumbers: only(func(_ context.Context, r nestedRequest) (numbersReply, *os.File, error) {
			var b []byte
			for _, n := range c.helper.NestedNumbers(r.Home) {
				b = binary.LittleEndian.AppendUint16(b, uint16(n))
			}
			return numbersReply{b}, nil, nil
		}),
		opApplied: only(func(ctx context.Context, r appliedRequest) (done, *os.File, error) {
			return done{}, nil, c.helper.Applied(ctx, r.Home, r.Seq)
		}),
	}
}

// only makes the handler of an operation with one reply, which is root's alone. The end of the connection ends it.
func only[Q, R any](serve func(context.Context, Q) (R, *os.File, error)) control.Handler {
	return func(ctx context.Context, who control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
		for _, f := range files {
			f.Close()
		}
		var q Q
		if err := accept(who, body, &q); err != nil {
			return err
		}
		ctx, cancel := untilGone(ctx, c)
		defer cancel()
		r, f, err := serve(ctx, q)
		if err != nil {
			return err
		}
		if f == nil {
			return c.Send(r)
		}
		defer f.Close()
		return c.Send(r, f)
	}
}

// accept reads a request, of root.
func accept(who control.Caller, body json.RawMessage, q any) error {
	if who.UID != 0 {
		return control.Refuse(syscall.EPERM, "only onehostd may talk to its carriers")
	}
	if len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, q); err != nil {
		return fmt.Errorf("bad request: %w: %w", err, syscall.EINVAL)
	}
	return nil
}

// untilGone gives a context that ends with the caller's connection too. Nothing more is read from that.
func untilGone(ctx context.Context, c *control.Conn) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		var none done
		files, _ := c.Receive(&none) // ends with the connection, which ends with the handler
		for _, f := range files {
			f.Close()
		}
	}()
	return ctx, cancel
}

// serveOwn is a daemon's, for as long as it lives.
func (c *server) serveOwn(_ context.Context, who control.Caller, conn *control.Conn, body json.RawMessage, files []*os.File) error {
	for _, f := range files {
		f.Close()
	}
	var r ownRequest
	if err := accept(who, body, &r); err != nil {
		return err
	}
	c.mu.Lock()
	c.owner++
	owner := c.owner
	c.alone.Stop()
	home := c.home
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.owner == owner {
			c.alone.Reset(aloneTime)
		}
	}()
	c.log.Debug("a carrier is onehostd's", "pid", who.Pid, "version", r.Version)
	hello := c.setup.Credentials.Hello
	err := conn.Send(owned{
		Protocol: Protocol, Version: c.setup.Version, Cluster: hello.Cluster, Host: hello.Number, Incarnation: c.setup.incarnation(), Home: home,
	}, c.counter)
	if err != nil {
		return err
	}
	var none done
	_, _ = conn.Receive(&none) // it says nothing, until its end
	return nil
}

// end ends all that the carrier runs, and then the carrier.
func (c *server) end(ctx context.Context, r endRequest) error {
	if r.Gone {
		c.pool.Close() // a host that has crashed closes no connections
	}
	c.over.happen()
	select {
	case <-c.ended.happened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reachTime bounds the way to a home that has just asked for its carrier.
const reachTime = 5 * time.Second

// reach makes sure that there is a connection to the home in the incarnation which asks for it.
func (c *server) reach(ctx context.Context, r reachRequest) error {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	c.hear(r.Home, r.Addr)
	for {
		c.pool.Soon(r.Home.Number)
		conn, err := c.pool.Get(ctx, r.Home.Number)
		if err == nil && conn.Peer().Incarnation >= r.Home.Incarnation {
			return nil
		}
		if err != nil && (ctx.Err() != nil || errors.Is(err, names.Refused)) { // the home holds this carrier for over
			return err
		}
		select {
		case <-time.After(callEvery):
		case <-ctx.Done():
			return fmt.Errorf("the home is not to be reached: %w", syscall.EHOSTDOWN)
		}
	}
}
