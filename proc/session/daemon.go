package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/onehost/onehost/control"
)

// errNoDaemon says that the session has lost its daemon.
var errNoDaemon = errors.New("no daemon")

// daemon is the session's connection to its daemon.
type daemon struct {
	path  string
	conn  *control.Conn
	reply control.SessionReply
	done  chan struct{} // closed when the connection is lost

	mu      sync.Mutex // guards what follows
	seq     uint64
	waiting map[uint64]chan control.PlaceReply
	lost    bool
}

func dialDaemon(ctx context.Context, cfg *Config) (*daemon, error) {
	c, err := control.Dial(ctx, cfg.ControlPath)
	if err != nil {
		return nil, fmt.Errorf("%w; or run everything here with --local", err)
	}
	d := &daemon{path: cfg.ControlPath, conn: c, done: make(chan struct{}), waiting: map[uint64]chan control.PlaceReply{}}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	err = c.Open(control.OpSession, control.SessionRequest{
		Pid: os.Getpid(), Hosts: cfg.Hosts, Slots: cfg.Slots, NoLocal: cfg.NoLocal,
	})
	if err == nil {
		_, err = c.Receive(&d.reply)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		return d, nil
	}
	c.Close()
	if _, refused := errors.AsType[*control.Failure](err); refused {
		return nil, err // says what to do
	}
	return nil, fmt.Errorf("onehostd: %w; or run everything here with --local", err)
}

// serve hands out the replies until the connection is lost.
func (d *daemon) serve() {
	for {
		var r control.PlaceReply
		files, err := d.conn.Receive(&r)
		for _, f := range files {
			f.Close()
		}
		if _, refused := errors.AsType[*control.Failure](err); refused {
			continue
		}
		if err != nil {
			break
		}
		d.mu.Lock()
		ch := d.waiting[r.Seq]
		delete(d.waiting, r.Seq)
		d.mu.Unlock()
		if ch != nil {
			ch <- r
		}
	}
	d.mu.Lock()
	d.lost = true
	d.mu.Unlock()
	close(d.done)
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
	d.waiting[req.Seq] = ch
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.waiting, req.Seq)
		d.mu.Unlock()
	}()
	if err := d.conn.Send(req); err != nil {
		return control.PlaceReply{}, errNoDaemon
	}
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
	_ = d.conn.Send(control.PlaceRequest{Job: job, Release: &control.ReleaseNote{Job: job, CPU: cpu}}) // a lost daemon has no slots
}

func (d *daemon) close() { d.conn.Close() }
