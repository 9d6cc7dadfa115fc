package netfs

import (
	"context"
	"errors"
	"syscall"

	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/netfs/fspb"
)

// method serves one kind of call.
type method func(ctx context.Context, c viewer, op *fspb.Op, body []byte) (*fspb.Result, []byte, error)

// Register makes the router serve the tree.
func (s *Server) Register(r *link.Router) {
	for name, m := range map[string]method{
		"fs.lookup": s.lookup, "fs.readdir": s.readdir, "fs.getattr": s.getattr, "fs.readlink": s.readlink,
		"fs.mkdir": s.mkdir, "fs.mknod": s.mknod, "fs.symlink": s.symlink, "fs.link": s.link, "fs.unlink": s.unlink,
		"fs.rename": s.rename, "fs.unpin": s.unpin,
		"fs.read": s.read, "fs.create": s.create, "fs.tmpfile": s.tmpfile, "fs.acquire": s.acquireOp, "fs.release": s.release,
		"fs.write": s.write, "fs.setattr": s.setattr, "fs.allocate": s.allocate, "fs.copy": s.copyRange,
		"fs.seek": s.seek, "fs.sync": s.sync, "fs.statfs": s.statfs, "fs.xattr": s.xattr, "fs.lock": s.lock,
		"fs.fifo.open": s.fifoOpen, "fs.fifo.read": s.fifoRead, "fs.fifo.write": s.fifoWrite, "fs.fifo.close": s.fifoClose,
	} {
		r.HandleCall(name, func(ctx context.Context, r *link.Request) (link.Reply, error) {
			c := s.find(r)
			if c == nil {
				return link.Reply{}, errDetached
			}
			if !changing[name] && name != "fs.write" {
				return serve(ctx, c, r, m)
			}
			if !c.begin() {
				return link.Reply{}, errDetached
			}
			defer c.busy.Done()
			rep, err := serve(ctx, c, r, m)
			if changing[name] && ctx.Err() != nil {
				s.unheard(c, r)
			}
			return rep, err
		})
	}
	r.HandleCall("fs.attach", func(ctx context.Context, r *link.Request) (link.Reply, error) {
		op := &fspb.Op{}
		if err := proto.Unmarshal(r.Header, op); err != nil {
			return link.Reply{}, syscall.EBADMSG
		}
		c, seq, err := s.attach(r, op.Mount)
		if err != nil {
			return link.Reply{}, err
		}
		return serve(ctx, c, r, func(ctx context.Context, c viewer, op *fspb.Op, body []byte) (*fspb.Result, []byte, error) {
			res, b, err := s.attachOp(ctx, c, op, body)
			if err == nil {
				res.Seq = seq
			}
			return res, b, err
		})
	})
}

// changing is the calls whose author is told of nothing, because he knows by the answer.
var changing = map[string]bool{
	"fs.mkdir": true, "fs.mknod": true, "fs.symlink": true, "fs.link": true, "fs.unlink": true,
	"fs.rename": true, "fs.create": true, "fs.setattr": true, "fs.allocate": true, "fs.copy": true, "fs.xattr": true,
}

// unheard tells the author of a change who gave up before the answer came.
func (s *Server) unheard(c *client, r *link.Request) {
	op := &fspb.Op{}
	if err := proto.Unmarshal(r.Header, op); err != nil {
		return // it was refused for that
	}
	invs := []*fspb.Inval{{Id: op.Id, Attr: true, Data: true}}
	if len(op.Name) > 0 {
		invs = append(invs, &fspb.Inval{Dir: op.Id, Name: op.Name, Entry: true})
	}
	if len(op.Id2) > 0 {
		invs = append(invs, &fspb.Inval{Dir: op.Id2, Name: op.Name2, Entry: true}, &fspb.Inval{Dir: op.Id2, Name: op.Name, Entry: true},
			&fspb.Inval{Id: op.Id2, Attr: true, Data: true})
	}
	s.mu.Lock()
	defer s.unlock()
	s.noteLocked(viewer{c, op.Mount}.holder(), invs...)
}

// begin counts a change, unless the client is gone.
func (c *client) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return false
	}
	c.busy.Add(1)
	return true
}

// errDetached says that the server does not know the caller's mount: it came by another connection.
const errDetached = syscall.ENOTCONN

func serve(ctx context.Context, c *client, r *link.Request, m method) (link.Reply, error) {
	op := &fspb.Op{}
	if err := proto.Unmarshal(r.Header, op); err != nil {
		return link.Reply{}, syscall.EBADMSG
	}
	res, body, err := m(ctx, viewer{c, op.Mount}, op, r.Body)
	if err != nil {
		return link.Reply{}, errno(err)
	}
	h, err := proto.Marshal(res)
	if err != nil {
		return link.Reply{}, syscall.EIO
	}
	return link.Reply{Header: h, Body: body}, nil
}

// errno gives what a program may see of an error.
func errno(err error) syscall.Errno {
	var e syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.Canceled):
		return syscall.EINTR
	case errors.Is(err, context.DeadlineExceeded):
		return syscall.EHOSTDOWN
	default:
		return syscall.EIO
	}
}
