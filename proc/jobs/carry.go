package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/proc/jobs/jobspb"
)

// leg is the stream of a job, which is followed by another one when it is lost, and what was ordered by it.
type leg struct {
	mu     sync.Mutex // guards what follows; held while an order is sent
	conn   *link.Conn
	stream *link.Stream
	sent   []*jobspb.Order // the last of those that have numbers
}

// keptOrders is how many orders may be under way when a stream is lost.
const keptOrders = 256

// order sends one order. One that is lost with the stream is sent again by the next.
func (l *leg) order(ctx context.Context, o *jobspb.Order) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.N != 0 {
		if l.sent = append(l.sent, o); len(l.sent) > keptOrders {
			l.sent = slices.Delete(l.sent, 0, 1)
		}
	}
	if err := sendOrder(ctx, l.stream, o); err != nil && l.conn.Err() == nil {
		return err
	}
	return ctx.Err()
}

// goOn goes on by another stream, on which the helper has said which order was the last that it carried out.
func (l *leg) goOn(ctx context.Context, conn *link.Conn, s *link.Stream, done uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn, l.stream = conn, s
	if err := sendOrder(ctx, s, &jobspb.Order{Step: jobspb.Order_ATTACH}); err != nil {
		return err
	}
	for _, o := range l.sent {
		if o.N > done {
			if err := sendOrder(ctx, s, o); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *leg) now() (*link.Conn, *link.Stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn, l.stream
}

func sendOrder(ctx context.Context, s *link.Stream, o *jobspb.Order) error {
	msg, err := proto.Marshal(o)
	if err != nil {
		return err
	}
	return s.Send(ctx, msg)
}

// Stop says that this daemon is about to end: what its sessions have elsewhere is left as it is, for the daemon that follows.
func (h *Home) Stop() { h.stopped.Store(true) }

// carry stands between the session and a job that has a stream, to the job's end or loss, which it returns; the end has been sent to the session by
// then.
func (h *Home) carry(ctx context.Context, l *leg, said *said, run int, req *control.ExecRequest, img *image) control.JobEvent {
	defer func() {
		if !h.stopped.Load() {
			_, s := l.now()
			s.Reset(context.Canceled) // the helper ends the job or, if it has ended, forgets it
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	order := func(o *jobspb.Order) error { return l.order(ctx, o) }
	job := &running{pid: req.Pid, host: req.Host, send: order}
	defer h.watch(run, job)()
	defer h.notAway(req.Pid)
	said.listen(func(o *control.JobOrder) error { return h.order(ctx, o, order, req.Host, img) }, cancel) // the session is gone: so is the job
	defer func() {
		if !said.ended.Load() {
			said.hush()
		}
	}()
	began := req.Resume
	if began {
		h.isAway(AwayJob{Pid: req.Pid, Host: req.Host, Run: run})
	}
	for {
		conn, s := l.now()
		msg, err := s.Recv(ctx)
		if err != nil && ctx.Err() == nil && conn.Err() != nil && !h.stopped.Load() {
			if err = h.regain(ctx, l, req); err == nil {
				continue
			}
		}
		var ev jobspb.Event
		if err == nil {
			err = proto.Unmarshal(msg, &ev)
		}
		if err != nil {
			if !h.stopped.Load() {
				h.cfg.Tree.Lost(ctx, req.Host, conn.Peer().Incarnation) // before it may run again
			}
			return control.JobEvent{Kind: control.JobLost, Host: req.Host, Reason: err.Error()}
		}
		out := event(req.Host, &ev)
		switch ev.Kind {
		case jobspb.Event_STARTED:
			began = true
			h.isAway(AwayJob{Pid: req.Pid, Host: req.Host, Run: run})
			continue // the session takes it for started
		case jobspb.Event_EXITED:
			img.release() // before anybody can know that it ended: readers of its pipes must see the end
			said.ended.Store(true)
			out.Next = true
			_ = said.c.Send(out) // a session that is gone needs no status
			return out
		case jobspb.Event_REFUSED:
			out.Kind, out.Unbegun = control.JobLost, !began // the helper, not the job, said no; another one may take it
			return out
		}
		if !job.heard(ev.Kind) {
			continue
		}
		if err := said.c.Send(out); err != nil {
			return control.JobEvent{Kind: control.JobLost, Host: req.Host, Reason: err.Error()}
		}
	}
}

// regainTime bounds the way back to a job: longer than a helper keeps one, so that it does not begin again elsewhere before it has ended there.
const regainTime = claimTime + 500*time.Millisecond

// regainEvery is how often a helper is tried that cannot be reached.
const regainEvery = 50 * time.Millisecond

// regain takes a job up again whose stream was lost with its connection. An error says that the job is lost: the helper failed, what ran
// the job there has ended or has given it up, or it cannot be reached for so long that it has.
func (h *Home) regain(ctx context.Context, l *leg, req *control.ExecRequest) error {
	was, _ := l.now()
	ctx, cancel := context.WithTimeout(ctx, regainTime)
	defer cancel()
	for {
		conn, err := h.cfg.Carriers.Back(ctx, was)
		if err == nil {
			var s *link.Stream
			var done uint64
			if s, _, done, err = h.takeUp(ctx, conn, req); err == nil {
				err = l.goOn(ctx, conn, s, done)
			}
			if err == nil || conn.Err() == nil {
				return err
			}
		}
		if errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("%w: what ran it has ended", was.Err())
		}
		select {
		case <-time.After(regainEvery):
		case <-ctx.Done():
			return was.Err()
		}
	}
}

// foundTime is how long a daemon that has just been started looks for a helper.
const foundTime = 2 * time.Second

// conn gives the connection to a job's helper. A daemon that takes jobs up has only just begun to find the others.
func (h *Home) conn(ctx context.Context, req *control.ExecRequest) (*link.Conn, error) {
	if !req.Resume {
		return h.cfg.Carriers.Conn(ctx, req.Host)
	}
	conn, err := h.cfg.Carriers.Find(ctx, req.Host)
	if err == nil {
		return conn, nil
	}
	ctx, cancel := context.WithTimeout(ctx, foundTime)
	defer cancel()
	for {
		select {
		case <-time.After(regainEvery):
		case <-ctx.Done():
			return nil, err
		}
		if conn, err = h.cfg.Carriers.Find(ctx, req.Host); err == nil {
			return conn, nil
		}
	}
}

// takeUp opens another stream to a job of this home. The helper waits for an order's Step on it.
func (h *Home) takeUp(ctx context.Context, conn *link.Conn, req *control.ExecRequest) (_ *link.Stream, _ *jobspb.Exec, done uint64, err error) {
	body, err := proto.Marshal(&jobspb.Resume{Session: req.Session, Job: req.Job, Pid: uint32(req.Pid)})
	if err != nil {
		return nil, nil, 0, err
	}
	s, err := conn.Open(context.WithoutCancel(ctx), ResumeMethod, nil, body)
	if err != nil {
		return nil, nil, 0, err
	}
	defer func() {
		if err != nil {
			s.Reset(context.Canceled)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	msg, err := s.Recv(ctx)
	if err != nil {
		return nil, nil, 0, err
	}
	var ev jobspb.Event
	x := &jobspb.Exec{}
	if err = proto.Unmarshal(msg, &ev); err == nil {
		err = proto.Unmarshal(ev.Image, x)
	}
	if err == nil && (ev.Kind != jobspb.Event_RESUMED || x.Session != req.Session || x.Job != req.Job || int(x.Pid) != req.Pid) {
		err = syscall.EBADMSG
	}
	return s, x, ev.Done, err
}

// resume takes up a job for a session that has outlived the daemon which began it. What the job is, its helper says; the session has its
// descriptors.
func (h *Home) resume(ctx context.Context, who control.Caller, said *said, conn *link.Conn, req *control.ExecRequest, files []*os.File) error {
	defer closeAll(files)
	c := said.c
	lost := func(err error) error {
		return c.Send(control.JobEvent{Kind: control.JobLost, Host: req.Host, Reason: err.Error(), Forgotten: true})
	}
	if len(files) != len(req.FDs) {
		return fmt.Errorf("exec request: %d descriptors named, %d sent: %w", len(req.FDs), len(files), syscall.EINVAL)
	}
	s, x, done, err := h.takeUp(ctx, conn, req)
	if err != nil {
		return lost(err)
	}
	l := &leg{conn: conn, stream: s}
	for _, uid := range x.Uids {
		if who.UID != 0 && uid != who.UID {
			s.Reset(context.Canceled)
			return fmt.Errorf("job %d belongs to user %d: %w", req.Job, uid, syscall.EPERM)
		}
	}
	ns := make([]int, len(req.FDs))
	for i, fd := range req.FDs {
		ns[i] = fd.N
	}
	release, doubt, err := h.cfg.Files.Resume(req.Pid, x.Fds, ns, files)
	if err == nil {
		if err = h.keep(jobKey{req.Session, req.Job}, &image{exec: x, release: sync.OnceFunc(release)}); err == nil {
			err = doubt
		}
	}
	if err != nil {
		_ = sendOrder(ctx, s, &jobspb.Order{Step: jobspb.Order_END})
		return c.Send(control.JobEvent{Kind: control.JobLost, Host: req.Host, Reason: err.Error(), Forgotten: doubt == nil})
	}
	h.mu.Lock()
	img := h.kept[jobKey{req.Session, req.Job}]
	h.mu.Unlock()
	if img == nil {
		s.Reset(context.Canceled)
		return nil // the session has ended
	}
	h.sent(req.Session, req.Host)
	if err := c.Send(control.JobEvent{Kind: control.JobResumed, Host: req.Host, Done: done}); err != nil {
		s.Reset(context.Canceled)
		return nil
	}
	if err := l.goOn(ctx, conn, s, done); err != nil && conn.Err() == nil {
		return lost(err)
	}
	return h.last(c, req, h.carry(ctx, l, said, who.Pid, req, img))
}

// last sends the end of what carry was for.
func (h *Home) last(c *control.Conn, req *control.ExecRequest, ev control.JobEvent) error {
	if h.stopped.Load() && ev.Kind != control.JobExited {
		return nil // it goes on, and the next daemon will be asked for it
	}
	if ev.Kind != control.JobLost {
		h.Drop(req.Session, req.Job)
	}
	if ev.Kind != control.JobExited {
		_ = c.Send(ev) // a session that is gone has dropped its jobs already
	}
	return nil
}
