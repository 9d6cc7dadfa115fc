package procfs

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc"
	"github.com/onehost/onehost/proc/procpb"
)

// idleConns is how many connections to the daemon are kept for the next look.
const idleConns = 8

// lookTime bounds one look: the daemon's own bound and a little.
const lookTime = 2*proc.OperationTime + time.Second

// client asks the daemon, over as many connections as there are looks at a time.
type client struct {
	path string

	mu     sync.Mutex // guards what follows
	idle   []*control.Conn
	closed bool
}

// looker is the daemon as a carrier, for one thread.
type looker struct {
	c   *client
	tid int
}

// Carry implements proc.Carrier.
func (l looker) Carry(ctx context.Context, _ names.Host, r *procpb.Request) (*procpb.Reply, error) {
	msg, err := proto.Marshal(r)
	if err != nil {
		return nil, syscall.EINVAL
	}
	var reply control.LookReply
	if err := l.c.ask(ctx, control.LookRequest{TID: l.tid, Request: msg}, &reply); err != nil {
		return nil, fmt.Errorf("%w: %w", syscall.EHOSTDOWN, err)
	}
	out := &procpb.Reply{}
	if err := proto.Unmarshal(reply.Reply, out); err != nil {
		return nil, syscall.EBADMSG
	}
	return out, nil
}

// ask asks once more if a connection that was kept has ended meanwhile, as when the daemon was started anew. To look twice does no harm.
func (c *client) ask(ctx context.Context, req control.LookRequest, reply *control.LookReply) error {
	for {
		conn, kept, err := c.take(ctx)
		if err != nil {
			return err
		}
		if err = exchange(conn, req, reply); err == nil {
			c.put(conn)
			return nil
		}
		conn.Close()
		if !kept || ctx.Err() != nil {
			return err
		}
	}
}

func exchange(conn *control.Conn, req control.LookRequest, reply *control.LookReply) error {
	if err := conn.SetDeadline(time.Now().Add(lookTime)); err != nil {
		return err
	}
	if err := conn.Send(req); err != nil {
		return err
	}
	files, err := conn.Receive(reply)
	for _, f := range files {
		f.Close()
	}
	return err
}

func (c *client) take(ctx context.Context) (conn *control.Conn, kept bool, err error) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		conn, c.idle = c.idle[n-1], c.idle[:n-1]
		c.mu.Unlock()
		return conn, true, nil
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if conn, err = control.Dial(ctx, c.path); err != nil {
		return nil, false, err
	}
	if err = conn.Open(control.OpLook, struct{}{}); err != nil {
		conn.Close()
		return nil, false, err
	}
	return conn, false, nil
}

func (c *client) put(conn *control.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle) >= idleConns {
		conn.Close()
		return
	}
	c.idle = append(c.idle, conn)
}

func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, conn := range c.idle {
		conn.Close()
	}
	c.idle = nil
}
