package jobs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/jobs/jobspb"
	"github.com/onehost/onehost/proc/nest"
)

// ResumeMethod is the stream by which a home takes up a job whose stream it lost, with its connection or its daemon.
const ResumeMethod = "proc.resume"

// Bounds of how long a job is kept whose home has lost its stream: backTime until the home can be reached, claimTime in all. A home that
// failed or was started anew ends it at once.
const (
	backTime  = time.Second
	claimTime = 4 * time.Second
)

// hostedKey names a job of a home.
type hostedKey struct {
	home         names.Host
	session, job uint64
}

// hosted is a job that runs here, or whose end its home has not heard of yet. It is attached while its home has a stream to it, and kept for a
// while when it has lost that.
type hosted struct {
	h    *Helper
	key  hostedKey
	hm   *home
	x    *jobspb.Exec
	p    *nest.Process
	set  FileSet
	ctx  context.Context // ends when it is given up
	stop context.CancelFunc
	over chan struct{} // closed when nothing of it is left

	mu      sync.Mutex // guards what follows
	send    func(*jobspb.Event) error
	turn    uint64        // counts the streams
	done    uint64        // the number of the last order that was carried out
	change  *jobspb.Event // its last stop or continue
	group   *jobspb.Event // its last move to another group
	session *jobspb.Event // and to a session of its own
	last    *jobspb.Event // how it ended
	told    chan struct{} // closed when its home knows how it ended
	timer   *time.Timer   // while it is kept
	known   bool          // told is closed
}

// host takes note of a started job, and follows it from then on.
func (h *Helper) host(from link.Peer, hm *home, x *jobspb.Exec, p *nest.Process, set FileSet) *hosted {
	j := &hosted{
		h: h, key: hostedKey{from.Number, x.Session, x.Job}, hm: hm, x: x, p: p, set: set,
		over: make(chan struct{}), told: make(chan struct{}),
	}
	j.ctx, j.stop = context.WithCancel(hm.life)
	h.mu.Lock()
	h.hosted[j.key] = j
	h.starting--
	h.mu.Unlock()
	go j.follow()
	return j
}

// follow hears of what becomes of the job, to its end.
func (j *hosted) follow() {
	defer close(j.over)
	defer j.stop()
	defer j.set.Close()
	defer j.forget()
	for ev := range j.p.Events() {
		switch ev.Kind {
		case nest.Stopped:
			j.tell(&jobspb.Event{Kind: jobspb.Event_STOPPED, Signal: int32(ev.Status.StopSignal()), Done: ev.After})
		case nest.Continued:
			j.tell(&jobspb.Event{Kind: jobspb.Event_CONTINUED, Done: ev.After})
		case nest.Regrouped:
			j.tell(&jobspb.Event{Kind: jobspb.Event_REGROUPED, Pgid: uint32(ev.Group), Session: ev.Session})
		case nest.Exited:
			out := j.h.ended(j.ctx, j.hm, j.set, *ev)
			if ev.Left {
				j.h.leave(j.hm, j.x.Session, j.p) // before the home can know of the end, and end the session
			}
			j.h.count(-1)
			j.tell(out)
			select {
			case <-j.told:
			case <-j.ctx.Done():
			}
			return
		case nest.Lost:
			j.h.count(-1)
			j.h.forget(j.key.home, j.hm)
			if j.h.isClosed() {
				return // all of it ends, and so does the connection: that says so when nothing is left
			}
			j.tell(&jobspb.Event{Kind: jobspb.Event_REFUSED, Reason: "its nest died"})
			return
		}
	}
}

func (j *hosted) forget() {
	j.h.mu.Lock()
	if j.h.hosted[j.key] == j {
		delete(j.h.hosted, j.key)
	}
	j.h.mu.Unlock()
	j.mu.Lock()
	if j.timer != nil {
		j.timer.Stop()
	}
	j.mu.Unlock()
}

// tell keeps what the home must know, and sends it if it can.
func (j *hosted) tell(ev *jobspb.Event) {
	j.mu.Lock()
	switch ev.Kind {
	case jobspb.Event_STOPPED, jobspb.Event_CONTINUED:
		j.change = ev
	case jobspb.Event_REGROUPED:
		if j.group = ev; ev.Session {
			j.group, j.session = nil, ev
		}
	case jobspb.Event_EXITED, jobspb.Event_REFUSED:
		j.last = ev
	}
	send := j.send
	j.mu.Unlock()
	if send != nil {
		_ = send(ev) // it is kept: a stream that is lost is followed by another, or by the end
	}
}

// state gives what a home must be told that takes the job up again.
func (j *hosted) stateLocked() []*jobspb.Event {
	var all []*jobspb.Event
	for _, ev := range []*jobspb.Event{j.session, j.group, j.change, j.last} {
		if ev != nil {
			all = append(all, ev)
		}
	}
	return all
}

// attach serves the job by a stream until that ends or the job has. It is the first stream or, with again, one that takes the job up.
func (j *hosted) attach(ctx context.Context, conn *link.Conn, s *link.Stream, send func(*jobspb.Event) error, again bool) error {
	j.mu.Lock()
	j.turn++
	turn := j.turn
	if j.timer != nil {
		j.timer.Stop()
	}
	var missed []*jobspb.Event
	if again {
		missed = j.stateLocked()
	}
	// What is told from now on comes after what was missed: send waits for its turn.
	first := make(chan struct{})
	j.send = func(ev *jobspb.Event) error {
		<-first
		return send(ev)
	}
	if !again && j.last != nil { // it has ended already, and nobody was told
		missed = []*jobspb.Event{j.last}
	}
	j.mu.Unlock()
	var err error
	for _, ev := range missed {
		if err == nil {
			err = send(ev)
		}
	}
	close(first)
	for err == nil {
		var msg []byte
		if msg, err = s.Recv(ctx); err != nil {
			break
		}
		var o jobspb.Order
		if err = proto.Unmarshal(msg, &o); err == nil {
			j.order(ctx, &o)
		}
	}
	j.detach(conn, turn)
	if conn.Err() == nil {
		select { // nothing is left when this returns
		case <-j.over:
		case <-time.After(killedTime):
		}
	}
	return nil
}

// killedTime bounds the wait for a job that is killed.
const killedTime = 10 * time.Second

// detach is for when a stream has ended: with its connection, then the job is kept for a while; or because the home would have it so: then it
// ends, or its end is known.
func (j *hosted) detach(conn *link.Conn, turn uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.turn != turn {
		return // another stream has taken over
	}
	j.send = nil
	if conn.Err() != nil {
		j.keepLocked(turn, backTime, func() {
			if !j.h.reaches(j.key.home, j.hm) {
				j.giveUp()
				return
			}
			j.mu.Lock()
			j.keepLocked(turn, claimTime-backTime, j.giveUp)
			j.mu.Unlock()
		})
		return
	}
	if j.last != nil {
		j.knownLocked()
		return
	}
	j.stop()
	go j.h.kill(j.p)
}

func (j *hosted) knownLocked() {
	if !j.known {
		j.known = true
		close(j.told)
	}
}

// keepLocked does something later, unless the job is attached again by then.
func (j *hosted) keepLocked(turn uint64, d time.Duration, then func()) {
	j.timer = time.AfterFunc(d, func() {
		j.mu.Lock()
		attached := j.turn != turn
		j.mu.Unlock()
		if !attached {
			then()
		}
	})
}

func (j *hosted) giveUp() {
	j.h.cfg.Log.Info("a job that its home has not taken up again ends", "home", j.key.home, "pid", j.x.Pid)
	j.mu.Lock()
	ended := j.last != nil
	j.mu.Unlock()
	j.stop()
	if !ended { // otherwise what it left behind is its session's
		j.h.kill(j.p)
	}
}

// order carries out one order.
func (j *hosted) order(ctx context.Context, o *jobspb.Order) {
	if o.N != 0 {
		j.mu.Lock()
		before := o.N <= j.done
		j.done = max(j.done, o.N)
		j.mu.Unlock()
		if before {
			return
		}
	}
	if o.Ppid != 0 {
		_ = j.p.SetParent(int(o.Ppid)) // fails only if the nest ends
		return
	}
	if err := j.hm.tree.Applied(ctx, o.FsSeq); err != nil && ctx.Err() == nil {
		return
	}
	if o.Rows > 0 || o.Cols > 0 {
		j.set.SetWinsize(uint16(o.Rows), uint16(o.Cols))
	}
	if err := j.p.Signal(nest.Signal{Number: o.Signal, Code: o.Code, Value: o.Value, From: int32(o.Sender), UID: o.SenderUid, Group: o.Group, N: o.N}); err != nil && !errors.Is(err, unix.ESRCH) {
		j.h.cfg.Log.Warn("signal", "home", j.key.home, "pid", j.x.Pid, "signal", o.Signal, "err", err)
	}
}

// reaches reports whether the home of a nest, in the same life, can be reached now.
func (h *Helper) reaches(n names.Host, hm *home) bool {
	ctx, cancel := context.WithTimeout(context.Background(), reachTime)
	defer cancel()
	conn, err := h.cfg.Links.Conn(ctx, n)
	if err != nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return conn.Peer().GoesOn(hm.incarnation)
}

// reachTime bounds the way to a home that is known to be there.
const reachTime = 200 * time.Millisecond

// serveResume lets a home take a job up again.
func (h *Helper) serveResume(ctx context.Context, r *link.Request, s *link.Stream) error {
	var q jobspb.Resume
	if err := proto.Unmarshal(r.Body, &q); err != nil {
		return fmt.Errorf("bad resume message: %w: %w", err, syscall.EBADMSG)
	}
	h.mu.Lock()
	j := h.hosted[hostedKey{r.From.Number, q.Session, q.Job}]
	if j != nil && (j.x.Pid != q.Pid || !j.hm.goesOnLocked(r.From)) {
		j = nil
	}
	if j != nil {
		h.heardLocked(j.hm, r.From)
	}
	h.mu.Unlock()
	if j == nil {
		return fmt.Errorf("it has no such job of this home: %w", syscall.ESRCH)
	}
	send := sender(ctx, s)
	image, err := proto.Marshal(j.x)
	if err != nil {
		return err
	}
	j.mu.Lock()
	done := j.done
	j.mu.Unlock()
	if err := send(&jobspb.Event{Kind: jobspb.Event_RESUMED, Image: image, Done: done}); err != nil {
		return err
	}
	msg, err := s.Recv(ctx)
	var o jobspb.Order
	switch {
	case err != nil:
		return err // it stays as it was: kept, or attached to another stream
	case proto.Unmarshal(msg, &o) != nil:
		return syscall.EBADMSG
	case o.Step == jobspb.Order_END:
		j.mu.Lock()
		j.turn++
		j.mu.Unlock()
		j.giveUp()
		return nil
	}
	j.set.Attach(r.Conn)
	return j.attach(ctx, r.Conn, s, send, true)
}
