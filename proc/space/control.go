package space

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc"
)

// past is a deadline that has passed: it wakes whoever reads.
var past = time.Unix(1, 0)

// Names gives the names of hosts.
type Names func(h names.Host) (names.HostName, bool)

// Handlers are the operations of the control socket on single processes.
func (s *Space) Handlers(name Names) map[string]control.Handler {
	return map[string]control.Handler{
		control.OpWhere: s.handle(func(ctx context.Context, _ control.Caller, body json.RawMessage) (any, error) {
			return s.where(ctx, name, body)
		}),
		control.OpKill: s.handle(s.kill),
		control.OpWait: s.serveOpWait,
		control.OpLook: s.serveOpLook,
	}
}

// handle makes a handler of an operation with one reply, which ends in bounded time.
func (s *Space) handle(op func(ctx context.Context, who control.Caller, body json.RawMessage) (any, error)) control.Handler {
	return func(ctx context.Context, who control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
		closeAll(files)
		ctx, cancel := context.WithTimeout(ctx, 2*proc.OperationTime) // a process at home may be asked for over two links
		defer cancel()
		reply, err := op(ctx, who, body)
		if err != nil {
			return err
		}
		return c.Send(reply)
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Caller gives the rights of whoever opened a control connection: his groups and capabilities are those of his process, which must
// belong to the user that the kernel vouches for. One who is outside of this host's pid name space, as whoever divided the machine is, has
// none to be looked at: then his ids are all that is known, and root has what root has.
func (s *Space) Caller(who control.Caller) (*proc.Caller, error) {
	if who.Pid == 0 {
		c := &proc.Caller{UID: [3]uint32{who.UID, who.UID, who.UID}, GID: [3]uint32{who.GID, who.GID, who.GID}}
		if who.UID == 0 {
			c.Capabilities = ^uint64(0)
		}
		return c, nil
	}
	c, err := proc.ReadCaller(who.Pid)
	if err != nil {
		return nil, fmt.Errorf("the asking process %d: %w", who.Pid, err)
	}
	if c.UID[1] != who.UID || c.GID[1] != who.GID {
		return nil, fmt.Errorf("the asking process %d is another user's by now: %w", who.Pid, syscall.EPERM)
	}
	if who.UID != 0 {
		c.Capabilities = 0 // he may have become a program with more of them since he asked
	}
	c.Pid = s.Own(who.Pid)
	return c, nil
}

func (s *Space) where(ctx context.Context, name Names, body json.RawMessage) (any, error) {
	var r control.PidRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("bad request: %w: %w", err, syscall.EINVAL)
	}
	at, err := s.sought(r.Pid).Where(ctx)
	if err != nil {
		return nil, s.sentence(r.Pid, "", err)
	}
	pid := r.Pid
	if s.IsOwn(pid) {
		pid = s.Own(pid.Local())
	}
	if at == names.Here {
		at = s.Self()
	}
	reply := control.WhereReply{Pid: pid}
	reply.Home, _ = name(pid.Host())
	reply.Host, _ = name(at)
	return reply, nil
}

func (s *Space) kill(ctx context.Context, who control.Caller, body json.RawMessage) (any, error) {
	var r control.KillRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("bad request: %w: %w", err, syscall.EINVAL)
	}
	caller, err := s.Caller(who)
	if err != nil {
		return nil, err
	}
	p, sig := s.Process(r.Pid), proc.Signal{Number: r.Signal}
	if r.Group {
		p, sig.Scope = s.Group(r.Pid), proc.ToGroup
	}
	if err := p.Signal(ctx, caller, sig); err != nil {
		return nil, s.sentence(r.Pid, "signal ", err)
	}
	return struct{}{}, nil
}

// sentence says to a person why an operation on a process failed.
func (s *Space) sentence(pid names.Pid, verb string, err error) error {
	errno := names.Errno(err)
	switch errno {
	case syscall.ESRCH:
		return control.Refuse(errno, "%s%s: no such process", verb, shown(pid))
	case syscall.EPERM:
		return control.Refuse(errno, "%s%s: not permitted: the process is another user's", verb, shown(pid))
	case syscall.EHOSTDOWN:
		return control.Refuse(errno, "%s%s: its host is down, or does not answer", verb, shown(pid))
	}
	return control.Refuse(errno, "%s%s: %v", verb, shown(pid), errno)
}

// shown is how a pid is shown to people: HOST:NUMBER.
func shown(pid names.Pid) string {
	if pid.Host() == names.Here {
		return fmt.Sprint(pid.Local())
	}
	return fmt.Sprintf("%v:%d", pid.Host(), pid.Local())
}

// serveOpWait handles control.OpWait. It ends when the process has, or the one who waits.
func (s *Space) serveOpWait(ctx context.Context, _ control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
	closeAll(files)
	var r control.PidRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("bad request: %w: %w", err, syscall.EINVAL)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan struct{})
	go func() { // nothing more is said: what comes is the end of the connection
		defer close(over)
		var nothing struct{}
		files, _ := c.Receive(&nothing)
		closeAll(files)
		cancel()
	}()
	st, err := s.Process(r.Pid).Wait(ctx)
	gone := ctx.Err() != nil
	_ = c.SetDeadline(past) // wakes the reader, which must not outlive us
	<-over
	_ = c.SetDeadline(time.Time{})
	switch {
	case gone:
		return nil // nobody is left to tell
	case err != nil:
		return s.sentence(r.Pid, "wait for ", err)
	}
	return c.Send(control.WaitReply{Known: st.Known, Code: st.Code, Signal: st.Signal, Core: st.Core})
}
