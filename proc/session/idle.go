package session

import (
	"context"
	"sync"

	"github.com/onehost/onehost/control"
)

// maxIdle is how many connections without a job a session keeps, which cost it a descriptor each and the daemon a goroutine too.
const maxIdle = 16

// idle are the connections of jobs that have ended, each free for another: to dial costs more than the rest of what is said about a short job.
type idle struct {
	path string

	mu     sync.Mutex // guards what follows
	conns  []*control.Conn
	serves int // which daemon they are to
	closed bool
}

// take gives a connection to the daemon which is that one. kept: it had a job before, so the daemon may have closed it.
func (i *idle) take(ctx context.Context, serves int) (conn *control.Conn, kept bool, err error) {
	i.mu.Lock()
	i.nowLocked(serves)
	if n := len(i.conns); n > 0 && i.serves == serves {
		conn, i.conns = i.conns[n-1], i.conns[:n-1]
	}
	i.mu.Unlock()
	if conn != nil {
		return conn, true, nil
	}
	conn, err = control.Dial(ctx, i.path)
	return conn, false, err
}

// put keeps a connection to the daemon which is that one. The daemon must have been told that its job is over.
func (i *idle) put(conn *control.Conn, serves int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.nowLocked(serves)
	if i.closed || i.serves != serves || len(i.conns) >= maxIdle {
		conn.Close()
		return
	}
	i.conns = append(i.conns, conn)
}

// nowLocked closes those to a daemon that another one has followed.
func (i *idle) nowLocked(serves int) {
	if serves > i.serves {
		i.dropLocked()
		i.serves = serves
	}
}

func (i *idle) dropLocked() {
	for _, conn := range i.conns {
		conn.Close()
	}
	i.conns = nil
}

// close ends them, and every one that is put back later.
func (i *idle) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	i.dropLocked()
}
