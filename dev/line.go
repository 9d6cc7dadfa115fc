package dev

import (
	"context"
	"errors"
	"sync"
	"syscall"

	"github.com/onehost/onehost/link"
)

// line is the way from the descriptors of a job to their home. When the connection ends, operations wait for another one; those that were
// under way are asked for again by it.
type line struct {
	before func(ctx context.Context) error             // called before anything is written to a stream
	after  func(ctx context.Context, seq uint64) error // and when something was read from one

	mu      sync.Mutex // guards what follows
	conn    *link.Conn
	changed chan struct{} // closed when conn is another one
}

func newLine(conn *link.Conn, o Options) *line {
	return &line{before: o.BeforeForward, after: o.AfterRead, conn: conn, changed: make(chan struct{})}
}

// get gives the connection, as long as it is not the one that is given, which has ended. It waits until ctx ends.
func (l *line) get(ctx context.Context, but *link.Conn) (*link.Conn, error) {
	for {
		l.mu.Lock()
		conn, changed := l.conn, l.changed
		l.mu.Unlock()
		if conn != but {
			return conn, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// set goes on by another connection.
func (l *line) set(conn *link.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
	close(l.changed)
	l.changed = make(chan struct{})
}

// call calls by this connection or the next, until there is an answer. The home knows a call that it has carried out.
func (l *line) call(ctx context.Context, method string, header, body []byte, asked func(*link.Conn)) (link.Reply, error) {
	var last *link.Conn
	for {
		conn, err := l.get(ctx, last)
		if err != nil {
			return link.Reply{}, err
		}
		if asked != nil {
			asked(conn)
		}
		r, err := conn.Call(ctx, method, header, body)
		if err == nil || conn.Err() == nil || !errors.Is(err, link.ErrClosed) || ctx.Err() != nil {
			return r, err
		}
		last = conn
	}
}

// Attach goes on by another connection to the home, which knows the descriptors again (Server.Resume): reads and writes that waited for it
// are carried out, once.
func (s *Set) Attach(conn *link.Conn) { s.line.set(conn) }

// errOver says that the job is.
const errOver = syscall.EBADF
