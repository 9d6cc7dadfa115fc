package proc

import (
	"context"
	"syscall"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/procpb"
	"github.com/onehost/onehost/sys"
)

const limitSize = 16 // of a struct rlimit64

// Serve carries out a request of another host on p. self is this host's number, the answer to where.
func Serve(ctx context.Context, self names.Host, p Process, r *procpb.Request) *procpb.Reply {
	who, err := CallerOf(r.Caller)
	if err != nil {
		return failed(err)
	}
	reply, err := serve(ctx, self, p, who, r)
	if err != nil {
		return failed(err)
	}
	return reply
}

func failed(err error) *procpb.Reply { return &procpb.Reply{Errno: int32(names.Errno(err))} }

func serve(ctx context.Context, self names.Host, p Process, who *Caller, r *procpb.Request) (*procpb.Reply, error) {
	arg := func(i int) int {
		if i < len(r.Args) {
			return int(r.Args[i])
		}
		return 0
	}
	value := func(n int, err error) (*procpb.Reply, error) { return &procpb.Reply{Value: int64(n)}, err }
	done := func(err error) (*procpb.Reply, error) { return &procpb.Reply{}, err }
	of := Which(arg(0))
	switch r.Op {
	case procpb.Op_PRIORITY, procpb.Op_SET_PRIORITY, procpb.Op_IO_PRIORITY, procpb.Op_SET_IO_PRIORITY:
		if of != OfProcess && of != OfGroup {
			return nil, syscall.EINVAL
		}
	}
	switch r.Op {
	case procpb.Op_SIGNAL:
		return done(p.Signal(ctx, who, Signal{Number: arg(0), Scope: Scope(arg(1)), Leader: arg(2), Info: r.Data}))
	case procpb.Op_PARENT:
		return value(p.Parent(ctx, who))
	case procpb.Op_GROUP:
		return value(p.Group(ctx, who))
	case procpb.Op_SESSION:
		return value(p.Session(ctx, who))
	case procpb.Op_SET_GROUP:
		return done(p.SetGroup(ctx, who, arg(0)))
	case procpb.Op_PRIORITY:
		return value(p.Priority(ctx, who, of))
	case procpb.Op_SET_PRIORITY:
		return done(p.SetPriority(ctx, who, of, arg(1)))
	case procpb.Op_IO_PRIORITY:
		return value(p.IOPriority(ctx, who, of))
	case procpb.Op_SET_IO_PRIORITY:
		return done(p.SetIOPriority(ctx, who, of, arg(1)))
	case procpb.Op_SCHEDULER:
		return value(p.Scheduler(ctx, who))
	case procpb.Op_SET_SCHEDULER:
		return done(p.SetScheduler(ctx, who, arg(0), arg(1)))
	case procpb.Op_SCHED_PARAM:
		return value(p.SchedParam(ctx, who))
	case procpb.Op_SET_SCHED_PARAM:
		return done(p.SetSchedParam(ctx, who, arg(0)))
	case procpb.Op_RR_INTERVAL:
		d, err := p.RRInterval(ctx, who)
		return value(int(d), err)
	case procpb.Op_WHERE:
		h, err := p.Where(ctx)
		if h == names.Here {
			h = self
		}
		return value(int(h), err)
	case procpb.Op_WAIT:
		s, err := p.Wait(ctx)
		return &procpb.Reply{Status: &procpb.Status{Known: s.Known, Code: int32(s.Code), Signal: int32(s.Signal), Core: s.Core}}, err
	case procpb.Op_LOOK:
		views, err := p.Look(ctx, who, looksOf(r.Looks))
		return &procpb.Reply{Views: viewMessages(views)}, err
	case procpb.Op_SET_AFFINITY, procpb.Op_SET_SCHED_ATTR, procpb.Op_AFFINITY, procpb.Op_SCHED_ATTR, procpb.Op_LIMIT, procpb.Op_READ_MEMORY, procpb.Op_WRITE_MEMORY:
		return serveData(ctx, p, who, r, arg)
	}
	return nil, syscall.ENOSYS
}

// serveData serves what reads or writes bytes.
func serveData(ctx context.Context, p Process, who *Caller, r *procpb.Request, arg func(int) int) (*procpb.Reply, error) {
	buffer := func(most int) ([]byte, error) {
		if n := arg(0); n >= 0 && n <= most {
			return make([]byte, n), nil
		}
		return nil, syscall.EINVAL
	}
	switch r.Op {
	case procpb.Op_SET_AFFINITY:
		return &procpb.Reply{}, p.SetAffinity(ctx, who, r.Data)
	case procpb.Op_SET_SCHED_ATTR:
		return &procpb.Reply{}, p.SetSchedAttr(ctx, who, r.Data, arg(0))
	case procpb.Op_AFFINITY:
		mask, err := buffer(MaxAffinity)
		if err != nil {
			return nil, err
		}
		n, err := p.Affinity(ctx, who, mask)
		return &procpb.Reply{Data: mask[:n]}, err
	case procpb.Op_SCHED_ATTR:
		attr, err := buffer(MaxSchedAttr)
		if err != nil {
			return nil, err
		}
		return &procpb.Reply{Data: attr}, p.SchedAttr(ctx, who, attr, arg(1))
	case procpb.Op_LIMIT:
		var set *Limit
		switch len(r.Data) {
		case 0:
		case limitSize:
			l := ParseLimit(r.Data)
			set = &l
		default:
			return nil, syscall.EBADMSG
		}
		was, err := p.Limit(ctx, who, arg(0), set)
		return &procpb.Reply{Data: was.Bytes()}, err
	}
	if len(r.Spans) > MaxSpans || len(r.Data) > MaxMemory {
		return nil, syscall.EINVAL
	}
	at := make([]sys.Span, len(r.Spans))
	for i, s := range r.Spans {
		at[i] = sys.Span{Base: s.Base, Len: s.Len}
	}
	if r.Op == procpb.Op_WRITE_MEMORY {
		n, err := p.WriteMemory(ctx, who, r.Data, at)
		return &procpb.Reply{Value: int64(n)}, err
	}
	b, err := buffer(MaxMemory)
	if err != nil {
		return nil, err
	}
	n, err := p.ReadMemory(ctx, who, b, at)
	return &procpb.Reply{Data: b[:n]}, err
}
