package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// errNoDaemon says that the session has lost its daemon.
var errNoDaemon = errors.New("no daemon")

// backTime is how long a session waits for a daemon that is started again: longer than the helpers keep its jobs. dialEvery is how often it tries.
const (
	backTime  = 5 * time.Second
	dialEvery = 20 * time.Millisecond
)

// daemon is the session's connection to its daemon, and to the next one if that is started again.
type daemon struct {
	cfg   *Config
	reply control.SessionReply
	done  chan struct{} // closed when the connection is lost for good

	mu      sync.Mutex // guards what follows
	conn    *control.Conn
	serves  int           // which daemon conn is to: 1 is the first
	next    chan struct{} // closed when that changes
	seq     uint64
	waiting map[uint64]question
	used    map[names.Host]bool // hosts that were sent jobs
	closed  bool
	lost    bool
}

// question is one that has not been answered.
type question struct {
	req control.PlaceRequest
	ch  chan control.PlaceReply
}

func dialDaemon(ctx context.Context, cfg *Config) (*daemon, error) {
	c, err := control.Dial(ctx, cfg.ControlPath)
	if err != nil {
		return nil, fmt.Errorf("%w; or run everything here with --local", err)
	}
	d := &daemon{
		cfg: cfg, conn: c, serves: 1, next: make(chan struct{}), done: make(chan struct{}), waiting: map[uint64]question{}, used: map[names.Host]bool{},
	}
	if err = d.open(ctx, c, 0, nil, &d.reply); err == nil {
		return d, nil
	}
	c.Close()
	if _, refused := errors.AsType[*control.Failure](err); refused {
		return nil, err // says what to do
	}
	return nil, fmt.Errorf("onehostd: %w; or run everything here with --local", err)
}

// open opens the session, or opens it again.
func (d *daemon) open(ctx context.Context, c *control.Conn, resume uint64, used []names.Host, reply *control.SessionReply) error {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	err := c.Open(control.OpSession, control.SessionRequest{
		Pid: os.Getpid(), Hosts: d.cfg.Hosts, Slots: d.cfg.Slots, NoLocal: d.cfg.NoLocal, Resume: resume, Used: used,
	})
	if err == nil {
		_, err = c.Receive(reply)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	return err
}

// serve hands out the replies until the connection is lost, of this daemon and of those that are started after it.
func (d *daemon) serve(ctx context.Context) {
	for ok := true; ok; {
		d.mu.Lock()
		conn := d.conn
		d.mu.Unlock()
		d.replies(conn)
		conn.Close()
		ok = d.again(ctx)
	}
	d.mu.Lock()
	d.lost = true
	d.mu.Unlock()
	close(d.done)
}

// again waits for a daemon that is started again, and opens the session with it.
func (d *daemon) again(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, backTime)
	defer cancel()
	for {
		d.mu.Lock()
		closed := d.closed
		used := slices.Collect(maps.Keys(d.used))
		d.mu.Unlock()
		if closed {
			return false
		}
		if c, err := control.Dial(ctx, d.cfg.ControlPath); err == nil {
			var reply control.SessionReply
			if err = d.open(ctx, c, d.reply.Session, used, &reply); err == nil {
				d.goOn(c)
				return true
			}
			c.Close()
		}
		select {
		case <-time.After(dialEvery):
		case <-ctx.Done():
			return false
		}
	}
}

// goOn asks the new daemon what the last one has not answered.
func (d *daemon) goOn(c *control.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn = c
	d.serves++
	close(d.next)
	d.next = make(chan struct{})
	for _, q := range d.waiting {
		_ = c.Send(q.req) // a connection that is gone is seen where replies are read
	}
	if d.closed {
		c.Close()
	}
}

// session says which daemon the session is open with.
func (d *daemon) session() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.serves
}

// await waits until the session is open with another daemon than that one; errNoDaemon: there will be none.
func (d *daemon) await(ctx context.Context, but int) error {
	ctx, cancel := context.WithTimeout(ctx, backTime+dialTimeout)
	defer cancel()
	for {
		d.mu.Lock()
		serves, next := d.serves, d.next
		d.mu.Unlock()
		if serves != but {
			return nil
		}
		select {
		case <-next:
		case <-d.done:
			return errNoDaemon
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// uses takes note of a host that is sent a job.
func (d *daemon) uses(h names.Host) {
	d.mu.Lock()
	d.used[h] = true
	d.mu.Unlock()
}

// replies hands out what comes by one connection.
func (d *daemon) replies(conn *control.Conn) {
	for {
		var r control.PlaceReply
		files, err := conn.Receive(&r)
		for _, f := range files {
			f.Close()
		}
		if _, refused := errors.AsType[*control.Failure](err); refused {
			continue
		}
		if err != nil {
			return
		}
		d.mu.Lock()
		ch := d.waiting[r.Seq].ch
		delete(d.waiting, r.Seq)
		d.mu.Unlock()
		if ch != nil {
			ch <- r
		}
	}
}

// placeTimeout bounds the answer to a question that may be answered "here".
const placeTimeout = 10 * time.Second

// place asks where a job goes. Without NoLocal it waits no longer than placeTimeout; with it, until there is a slot.
func (d *daemon) place(ctx context.Context, req control.PlaceRequest, wait bool) (control.PlaceReply, error) {
	ch := make(chan control.PlaceReply, 1)
	d.mu.Lock()
	if d.lost {
		d.mu.Unlock()
		return control.PlaceReply{}, errNoDaemon
	}
	d.seq++
	req.Seq = d.seq
	d.waiting[req.Seq] = question{req, ch}
	conn := d.conn
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.waiting, req.Seq)
		d.mu.Unlock()
	}()
	_ = conn.Send(req) // if it is gone the next one is asked, or there is none
	if !wait {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, placeTimeout)
		defer cancel()
	}
	select {
	case r := <-ch:
		return r, nil
	case <-d.done:
		return control.PlaceReply{}, errNoDaemon
	case <-ctx.Done():
		return control.PlaceReply{}, ctx.Err()
	}
}

// release gives back a job's slot, and says what CPU time the job used, 0 if that is not known.
func (d *daemon) release(job uint64, cpu time.Duration) {
	d.mu.Lock()
	conn := d.conn
	d.mu.Unlock()
	_ = conn.Send(control.PlaceRequest{Job: job, Release: &control.ReleaseNote{Job: job, CPU: cpu}}) // a lost daemon has no slots
}

// close ends the session.
func (d *daemon) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.conn.Close()
}
