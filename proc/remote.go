package proc

import (
	"context"
	"syscall"
	"time"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/procpb"
	"github.com/onehost/onehost/sys"
)

// Carrier takes requests to other hosts. Its errors are errnos; it ends a request that takes longer than OperationTime, but a WAIT.
type Carrier interface {
	Carry(ctx context.Context, to names.Host, r *procpb.Request) (*procpb.Reply, error)
}

// Remote is a process that another host has, or knows where it is.
type Remote struct {
	Pid names.Pid // with its home's number
	To  names.Host
	By  Carrier
}

// Message gives the caller as a message to another host.
func (c *Caller) Message() *procpb.Caller {
	return &procpb.Caller{Uids: c.UID[:], Gids: c.GID[:], Groups: c.Groups, Capabilities: c.Capabilities, Pid: uint32(c.Pid)}
}

// CallerOf reads the message of another host.
func CallerOf(m *procpb.Caller) (*Caller, error) {
	if len(m.GetUids()) != 3 || len(m.GetGids()) != 3 {
		return nil, syscall.EBADMSG
	}
	return &Caller{
		UID: [3]uint32(m.Uids), GID: [3]uint32(m.Gids), Groups: m.Groups, Capabilities: m.Capabilities, Pid: names.Pid(m.Pid),
	}, nil
}

// do sends one operation.
func (r *Remote) do(ctx context.Context, who *Caller, req *procpb.Request) (*procpb.Reply, error) {
	req.Pid = uint32(r.Pid)
	if who == nil {
		who = Daemon
	}
	req.Caller = who.Message()
	reply, err := r.By.Carry(ctx, r.To, req)
	if err != nil {
		return nil, err
	}
	if reply.Errno != 0 {
		return nil, syscall.Errno(reply.Errno)
	}
	return reply, nil
}

func (r *Remote) value(ctx context.Context, who *Caller, op procpb.Op, args ...int64) (int, error) {
	reply, err := r.do(ctx, who, &procpb.Request{Op: op, Args: args})
	return int(reply.GetValue()), err
}

func (r *Remote) set(ctx context.Context, who *Caller, op procpb.Op, data []byte, args ...int64) error {
	_, err := r.do(ctx, who, &procpb.Request{Op: op, Args: args, Data: data})
	return err
}

// read gives how many bytes of b were filled.
func (r *Remote) read(ctx context.Context, who *Caller, op procpb.Op, b []byte, args ...int64) (int, error) {
	reply, err := r.do(ctx, who, &procpb.Request{Op: op, Args: append([]int64{int64(len(b))}, args...)})
	if err != nil {
		return 0, err
	}
	return copy(b, reply.Data), nil
}

// Signal implements Process.
func (r *Remote) Signal(ctx context.Context, who *Caller, s Signal) error {
	return r.set(ctx, who, procpb.Op_SIGNAL, s.Info, int64(s.Number), int64(s.Scope), int64(s.Leader))
}

// Wait implements Process.
func (r *Remote) Wait(ctx context.Context) (Status, error) {
	reply, err := r.do(ctx, Daemon, &procpb.Request{Op: procpb.Op_WAIT})
	if err != nil {
		return Status{}, err
	}
	s := reply.GetStatus()
	return Status{Known: s.GetKnown(), Code: int(s.GetCode()), Signal: int(s.GetSignal()), Core: s.GetCore()}, nil
}

// Where implements Process.
func (r *Remote) Where(ctx context.Context) (names.Host, error) {
	n, err := r.value(ctx, Daemon, procpb.Op_WHERE)
	return names.Host(n), err
}

// Parent implements Process.
func (r *Remote) Parent(ctx context.Context, who *Caller) (int, error) {
	return r.value(ctx, who, procpb.Op_PARENT)
}

// Group implements Process.
func (r *Remote) Group(ctx context.Context, who *Caller) (int, error) {
	return r.value(ctx, who, procpb.Op_GROUP)
}

// Session implements Process.
func (r *Remote) Session(ctx context.Context, who *Caller) (int, error) {
	return r.value(ctx, who, procpb.Op_SESSION)
}

// SetGroup implements Process.
func (r *Remote) SetGroup(ctx context.Context, who *Caller, group int) error {
	return r.set(ctx, who, procpb.Op_SET_GROUP, nil, int64(group))
}

// Priority implements Process.
func (r *Remote) Priority(ctx context.Context, who *Caller, of Which) (int, error) {
	return r.value(ctx, who, procpb.Op_PRIORITY, int64(of))
}

// SetPriority implements Process.
func (r *Remote) SetPriority(ctx context.Context, who *Caller, of Which, nice int) error {
	return r.set(ctx, who, procpb.Op_SET_PRIORITY, nil, int64(of), int64(nice))
}

// IOPriority implements Process.
func (r *Remote) IOPriority(ctx context.Context, who *Caller, of Which) (int, error) {
	return r.value(ctx, who, procpb.Op_IO_PRIORITY, int64(of))
}

// SetIOPriority implements Process.
func (r *Remote) SetIOPriority(ctx context.Context, who *Caller, of Which, prio int) error {
	return r.set(ctx, who, procpb.Op_SET_IO_PRIORITY, nil, int64(of), int64(prio))
}

// Affinity implements Process.
func (r *Remote) Affinity(ctx context.Context, who *Caller, mask []byte) (int, error) {
	return r.read(ctx, who, procpb.Op_AFFINITY, mask)
}

// SetAffinity implements Process.
func (r *Remote) SetAffinity(ctx context.Context, who *Caller, mask []byte) error {
	return r.set(ctx, who, procpb.Op_SET_AFFINITY, mask)
}

// Scheduler implements Process.
func (r *Remote) Scheduler(ctx context.Context, who *Caller) (int, error) {
	return r.value(ctx, who, procpb.Op_SCHEDULER)
}

// SetScheduler implements Process.
func (r *Remote) SetScheduler(ctx context.Context, who *Caller, policy, priority int) error {
	return r.set(ctx, who, procpb.Op_SET_SCHEDULER, nil, int64(policy), int64(priority))
}

// SchedParam implements Process.
func (r *Remote) SchedParam(ctx context.Context, who *Caller) (int, error) {
	return r.value(ctx, who, procpb.Op_SCHED_PARAM)
}

// SetSchedParam implements Process.
func (r *Remote) SetSchedParam(ctx context.Context, who *Caller, priority int) error {
	return r.set(ctx, who, procpb.Op_SET_SCHED_PARAM, nil, int64(priority))
}

// SchedAttr implements Process.
func (r *Remote) SchedAttr(ctx context.Context, who *Caller, attr []byte, flags int) error {
	_, err := r.read(ctx, who, procpb.Op_SCHED_ATTR, attr, int64(flags))
	return err
}

// SetSchedAttr implements Process.
func (r *Remote) SetSchedAttr(ctx context.Context, who *Caller, attr []byte, flags int) error {
	return r.set(ctx, who, procpb.Op_SET_SCHED_ATTR, attr, int64(flags))
}

// RRInterval implements Process.
func (r *Remote) RRInterval(ctx context.Context, who *Caller) (time.Duration, error) {
	n, err := r.value(ctx, who, procpb.Op_RR_INTERVAL)
	return time.Duration(n), err
}

// Limit implements Process.
func (r *Remote) Limit(ctx context.Context, who *Caller, resource int, set *Limit) (Limit, error) {
	req := &procpb.Request{Op: procpb.Op_LIMIT, Args: []int64{int64(resource)}}
	if set != nil {
		req.Data = set.Bytes()
	}
	reply, err := r.do(ctx, who, req)
	if err != nil {
		return Limit{}, err
	}
	if len(reply.Data) != limitSize {
		return Limit{}, syscall.EBADMSG
	}
	return ParseLimit(reply.Data), nil
}

// ReadMemory implements Process.
func (r *Remote) ReadMemory(ctx context.Context, who *Caller, b []byte, from []sys.Span) (int, error) {
	reply, err := r.do(ctx, who, &procpb.Request{Op: procpb.Op_READ_MEMORY, Args: []int64{int64(len(b))}, Spans: spans(from)})
	if err != nil {
		return 0, err
	}
	return copy(b, reply.Data), nil
}

// WriteMemory implements Process.
func (r *Remote) WriteMemory(ctx context.Context, who *Caller, b []byte, to []sys.Span) (int, error) {
	reply, err := r.do(ctx, who, &procpb.Request{Op: procpb.Op_WRITE_MEMORY, Data: b, Spans: spans(to)})
	return int(reply.GetValue()), err
}

func spans(of []sys.Span) []*procpb.Span {
	out := make([]*procpb.Span, len(of))
	for i, s := range of {
		out[i] = &procpb.Span{Base: s.Base, Len: s.Len}
	}
	return out
}

// Look implements Process.
func (r *Remote) Look(ctx context.Context, who *Caller, looks []Look) ([]View, error) {
	reply, err := r.do(ctx, who, &procpb.Request{Op: procpb.Op_LOOK, Looks: lookMessages(looks)})
	if err != nil {
		return nil, err
	}
	if len(reply.Views) != len(looks) {
		return nil, syscall.EBADMSG
	}
	return viewsOf(reply.Views), nil
}
