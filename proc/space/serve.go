package space

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc"
	"github.com/onehost/onehost/proc/procpb"
)

// Methods on links: an operation, and the wait for a process's end, which may take days.
const (
	callMethod = "proc.call"
	waitMethod = "proc.wait"
)

// Register serves both on r.
func (s *Space) Register(r *link.Router) {
	r.HandleCall(callMethod, s.serveCall)
	r.HandleStream(waitMethod, s.serveWait)
}

// Carry implements proc.Carrier.
func (s *Space) Carry(ctx context.Context, to names.Host, r *procpb.Request) (*procpb.Reply, error) {
	limited, cancel := context.WithTimeout(ctx, proc.OperationTime)
	defer cancel()
	reply, err := s.carry(ctx, limited, to, r)
	switch {
	case err == nil:
		return reply, nil
	case ctx.Err() != nil:
		return nil, names.Errno(ctx.Err())
	case errors.Is(err, names.UnknownHost): // nobody was ever given a number by it
		return nil, syscall.ESRCH
	case limited.Err() != nil:
		return nil, syscall.EHOSTDOWN
	}
	return nil, names.Errno(err)
}

func (s *Space) carry(ctx, limited context.Context, to names.Host, r *procpb.Request) (*procpb.Reply, error) {
	conn, err := s.cfg.Links.Conn(limited, to)
	if err != nil {
		return nil, err
	}
	if r.Op == procpb.Op_SIGNAL && names.Pid(r.Pid).Host() == s.cfg.Self() { // what was done here before is seen after it there
		if r.FsSeq, err = s.cfg.Tree.Drain(limited, to); err != nil {
			return nil, err
		}
	}
	msg, err := proto.Marshal(r)
	if err != nil {
		return nil, syscall.EINVAL
	}
	var body []byte
	if r.Op == procpb.Op_WAIT {
		body, err = awaitReply(ctx, conn, msg)
	} else {
		var reply link.Reply
		reply, err = conn.Call(limited, callMethod, nil, msg)
		body = reply.Body
	}
	if err != nil {
		return nil, err
	}
	reply := &procpb.Reply{}
	if err := proto.Unmarshal(body, reply); err != nil {
		return nil, syscall.EBADMSG
	}
	return reply, nil
}

func awaitReply(ctx context.Context, conn *link.Conn, msg []byte) ([]byte, error) {
	st, err := conn.Open(ctx, waitMethod, nil, msg)
	if err != nil {
		return nil, err
	}
	defer st.Reset(context.Canceled) // no-op after a clean end
	return st.Recv(ctx)
}

func (s *Space) serveCall(ctx context.Context, r *link.Request) (link.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, proc.OperationTime)
	defer cancel()
	var req procpb.Request
	if err := proto.Unmarshal(r.Body, &req); err != nil {
		return link.Reply{}, fmt.Errorf("bad process call: %w: %w", err, syscall.EBADMSG)
	}
	if req.Op == procpb.Op_WAIT {
		return link.Reply{}, fmt.Errorf("a wait is no call: %w", syscall.EBADMSG)
	}
	msg, err := proto.Marshal(s.serve(ctx, r.From, &req))
	return link.Reply{Body: msg}, err
}

func (s *Space) serveWait(ctx context.Context, r *link.Request, st *link.Stream) error {
	var req procpb.Request
	if err := proto.Unmarshal(r.Body, &req); err != nil || req.Op != procpb.Op_WAIT {
		return fmt.Errorf("bad wait for a process: %w", syscall.EBADMSG)
	}
	msg, err := proto.Marshal(s.serve(ctx, r.From, &req))
	if err != nil {
		return err
	}
	return st.Send(ctx, msg)
}

// serve carries out what another host asks for.
func (s *Space) serve(ctx context.Context, from link.Peer, r *procpb.Request) *procpb.Reply {
	pid := names.Pid(r.Pid)
	fail := func(err error) *procpb.Reply { return &procpb.Reply{Errno: int32(names.Errno(err))} }
	switch pid.Host() {
	case names.Here:
		return fail(syscall.EBADMSG) // whose?
	case s.cfg.Self():
		return proc.Serve(ctx, s.cfg.Self(), s.target(pid, r), r)
	case from.Number:
	default:
		return fail(syscall.ESRCH)
	}
	if r.FsSeq != 0 {
		if err := s.cfg.Nests.Applied(ctx, from, r.FsSeq); err != nil {
			return fail(err)
		}
	}
	if r.Op == procpb.Op_SIGNAL && len(r.Args) > 1 && proc.Scope(r.Args[1]) == proc.ToAll {
		return proc.Serve(ctx, s.cfg.Self(), allOf{proc.Nobody, s, from}, r)
	}
	p, err := s.nested(from, pid)
	if err != nil {
		return fail(err)
	}
	defer p.Close()
	if r.Op == procpb.Op_LOOK {
		dir, err := s.cfg.Nests.NestedProc(from)
		if err != nil {
			return fail(err)
		}
		defer dir.Close()
		p.At(dir, pid.Local())
	}
	return proc.Serve(ctx, s.cfg.Self(), p, r)
}

// target finds what a request for our own space is about.
func (s *Space) target(pid names.Pid, r *procpb.Request) proc.Process {
	arg := func(i int) int64 {
		if i < len(r.Args) {
			return r.Args[i]
		}
		return 0
	}
	switch r.Op {
	case procpb.Op_WHERE:
		return s.sought(pid)
	case procpb.Op_SIGNAL:
		if scope := proc.Scope(arg(1)); scope == proc.ToGroup || scope == proc.ToAll {
			return s.Group(pid)
		}
	case procpb.Op_PRIORITY, procpb.Op_SET_PRIORITY, procpb.Op_IO_PRIORITY, procpb.Op_SET_IO_PRIORITY:
		if proc.Which(arg(0)) == proc.OfGroup {
			return s.Group(pid)
		}
	}
	return s.Process(pid)
}

// allOf is everybody of a home that its jobs have forked here, but those in the group of a job that lives: they get what the job gets.
type allOf struct {
	proc.Gone
	s    *Space
	home link.Peer
}

// Signal implements proc.Process.
func (a allOf) Signal(ctx context.Context, who *proc.Caller, sig proc.Signal) error {
	err := error(syscall.ESRCH)
	numbers := a.s.cfg.Nests.NestedNumbers(a.home)
	for _, n := range numbers {
		pid := names.MakePid(a.home.Number, n)
		if n <= names.MaxNative || pid == who.Pid {
			continue
		}
		p, nerr := a.s.nested(a.home, pid)
		if nerr != nil {
			continue // it has ended meanwhile
		}
		group, gerr := p.Group(ctx, who)
		if ofJob := gerr == nil && group <= names.MaxNative && slices.Contains(numbers, group); !ofJob {
			err = better(err, p.Signal(ctx, who, proc.Signal{Number: sig.Number}))
		}
		p.Close()
	}
	return err
}
