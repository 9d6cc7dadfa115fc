package netfs

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/netfs/fspb"
)

// callTime bounds a call on a connection that lives but does not answer, as when the home's disk hangs.
const callTime = 5 * time.Minute

// callTries is how many connections an idempotent call may wear out.
const callTries = 3

// caller is the process that waits for the answer to a request.
type caller struct {
	stop <-chan struct{} // closed when it gets a signal
	pid  uint32          // its thread, in this process's name space; 0 if it is none
}

func callerOf(stop <-chan struct{}, h *fuse.InHeader) caller { return caller{stop, h.Pid} }

// watch cancels when the caller has been killed. Other signals are no reason: programs know no EINTR from files.
func (by caller) watch(ctx context.Context, cancel context.CancelFunc) {
	select {
	case <-ctx.Done():
		return
	case <-by.stop:
	}
	// The kernel tells of the first signal only.
	for t := time.NewTicker(killedPoll); ; {
		if dying(by.pid) {
			t.Stop()
			cancel()
			return
		}
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// until does something that others depend on too. A killed caller gets EINTR at once, and it goes on without him.
func (m *Mount) until(by caller, do func() syscall.Errno) syscall.Errno {
	ctx, cancel := context.WithCancel(m.ctx)
	defer cancel()
	done := make(chan syscall.Errno, 1)
	go func() { done <- do() }()
	go by.watch(ctx, cancel)
	select {
	case e := <-done:
		return e
	case <-ctx.Done():
		return syscall.EINTR
	}
}

const killedPoll = 20 * time.Millisecond // between looks at a process that got a signal while it waits

// ask calls the home for something that may be asked twice. A killed caller gets EINTR at once.
func (m *Mount) ask(by caller, method string, op *fspb.Op) (*fspb.Result, []byte, syscall.Errno) {
	ctx, cancel := context.WithTimeout(m.ctx, callTime)
	defer cancel()
	return m.callFor(ctx, by, method, op, nil, callTries)
}

// change calls the home for something that must not be done twice. A killed caller gets EINTR at once, and the home tells
// what became of it by a note. A change of names may be asked for again: the home knows those that it has carried out (deeds).
func (m *Mount) change(by caller, method string, op *fspb.Op, body []byte) (*fspb.Result, syscall.Errno) {
	ctx, cancel := context.WithTimeout(m.ctx, callTime)
	defer cancel()
	tries := 1
	switch method {
	case "fs.allocate", "fs.xattr": // twice would not be once, or would fail
	case "fs.copy", "fs.tmpfile":
		tries = callTries
	default:
		tries, op.Once = callTries, m.changes.Add(1)
	}
	res, _, e := m.callFor(ctx, by, method, op, body, tries)
	return res, e
}

// send calls the home for something that may be done twice, whatever signals come, for others depend on it too.
func (m *Mount) send(method string, op *fspb.Op) (*fspb.Result, syscall.Errno) {
	ctx, cancel := context.WithTimeout(m.ctx, callTime)
	defer cancel()
	res, _, e := m.call(ctx, method, op, nil, callTries)
	return res, e
}

// wait calls the home until it answers or any signal comes, for calls that programs expect to wait.
func (m *Mount) wait(stop <-chan struct{}, method string, op *fspb.Op, body []byte) (*fspb.Result, []byte, syscall.Errno) {
	return m.call(stopCtx{m.ctx, stop}, method, op, body, 1)
}

// stopCtx ends when a FUSE request is interrupted. It costs nothing to make.
type stopCtx struct {
	context.Context
	stop <-chan struct{}
}

func (c stopCtx) Done() <-chan struct{} { return c.stop }

func (c stopCtx) Err() error {
	select {
	case <-c.stop:
		return context.Canceled
	default:
		return c.Context.Err()
	}
}

// call asks up to tries connections.
func (m *Mount) call(ctx context.Context, method string, op *fspb.Op, body []byte, tries int) (*fspb.Result, []byte, syscall.Errno) {
	return m.callFor(ctx, caller{}, method, op, body, tries)
}

// callFor is call on behalf of a process: it ends with EINTR when that is killed.
func (m *Mount) callFor(ctx context.Context, by caller, method string, op *fspb.Op, body []byte, tries int) (*fspb.Result, []byte, syscall.Errno) {
	patience := &link.Patience{Stop: by.stop, Gone: func() bool { return dying(by.pid) }, Every: killedPoll}
	watched := by.stop == nil
	op.Mount = m.num
	h, err := proto.Marshal(op)
	if err != nil {
		return nil, nil, syscall.EIO
	}
	detached, again := false, false
	for {
		if m.dead.Load() {
			return nil, nil, syscall.EHOSTDOWN
		}
		if conn := m.conn.Load(); !watched && (conn == nil || conn.Err() != nil) { // it waits for another one first
			watched = true
			var cancel context.CancelFunc
			ctx, cancel = context.WithCancel(ctx)
			defer cancel()
			go by.watch(ctx, cancel)
		}
		conn, err := m.attached(ctx)
		if err != nil {
			if m.mayReturn(ctx, err) {
				continue
			}
			m.log.Debug("a call failed for want of a connection", "home", m.cfg.Home, "call", method, "err", err)
			return nil, nil, m.errno(ctx, err)
		}
		rep, err := conn.CallFor(ctx, patience, method, h, body)
		if err == nil {
			err = conn.WaitNotes(ctx, "fs.inval") // what was sent before the reply comes before it
		}
		if err != nil {
			if re, ok := errors.AsType[*link.RemoteError](err); ok {
				if re.Errno == errDetached && !detached { // it was not done
					detached = true
					m.conn.CompareAndSwap(conn, nil)
					continue
				}
				if again && op.Once != 0 && (re.Errno == syscall.EEXIST || re.Errno == syscall.ENOENT) {
					// Perhaps because it was done, and the home's daemon could not note it any more.
					m.log.Warn("whether a change was made is not known", "home", m.cfg.Home, "call", method, "name", string(op.Name), "err", re)
					return nil, nil, syscall.EHOSTDOWN
				}
			} else if tries--; tries > 0 && errors.Is(err, link.ErrClosed) && ctx.Err() == nil {
				again = true
				continue
			}
			e := m.errno(ctx, err)
			if e == syscall.EHOSTDOWN && !m.dead.Load() {
				m.log.Warn("a call failed with its connection", "home", m.cfg.Home, "call", method, "name", string(op.Name), "err", err)
			}
			return nil, nil, e
		}
		res := &fspb.Result{}
		if err := proto.Unmarshal(rep.Header, res); err != nil {
			return nil, nil, syscall.EBADMSG
		}
		if res.Now != 0 {
			m.clock.Store(res.Now - time.Now().UnixNano())
		}
		return res, rep.Body, 0
	}
}

func (m *Mount) errno(ctx context.Context, err error) syscall.Errno {
	var e syscall.Errno
	switch {
	case m.dead.Load() || m.ctx.Err() != nil:
		return syscall.EHOSTDOWN
	case errors.Is(ctx.Err(), context.Canceled), errors.Is(err, context.Canceled):
		return syscall.EINTR
	case errors.Is(err, link.ErrClosed), ctx.Err() != nil:
		return syscall.EHOSTDOWN
	case errors.As(err, &e) && e == syscall.ETIMEDOUT:
		return syscall.EHOSTDOWN
	case errors.As(err, &e):
		return e
	default:
		return syscall.EIO
	}
}
