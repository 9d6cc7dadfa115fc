package space

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc"
	"github.com/onehost/onehost/proc/procpb"
)

// serveOpLook handles control.OpLook: whoever serves a /proc of the cluster asks for one look after the other.
func (s *Space) serveOpLook(ctx context.Context, who control.Caller, c *control.Conn, _ json.RawMessage, files []*os.File) error {
	closeAll(files)
	for {
		var r control.LookRequest
		files, err := c.Receive(&r)
		closeAll(files)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		reply, err := s.look(ctx, who, &r)
		if err != nil {
			reply = &procpb.Reply{Errno: int32(names.Errno(err))}
		}
		msg, err := proto.Marshal(reply)
		if err != nil {
			return err
		}
		if err := c.Send(control.LookReply{Reply: msg}); err != nil {
			return err
		}
	}
}

func (s *Space) look(ctx context.Context, who control.Caller, r *control.LookRequest) (*procpb.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*proc.OperationTime) // the way may be over two links
	defer cancel()
	var req procpb.Request
	if err := proto.Unmarshal(r.Request, &req); err != nil || req.Op != procpb.Op_LOOK {
		return nil, fmt.Errorf("bad look: %w", syscall.EBADMSG)
	}
	caller, err := s.looker(who, r.TID)
	if err != nil {
		return nil, err
	}
	req.Caller = caller.Message()
	return proc.Serve(ctx, s.Self(), s.Process(names.Pid(req.Pid)), &req), nil
}

// looker gives the rights of a look that a connection's user serves to a thread. Only root is believed that it is for somebody else.
func (s *Space) looker(who control.Caller, tid int) (*proc.Caller, error) {
	server, err := s.Caller(who)
	if err != nil || who.UID != 0 || who.Pid == 0 || tid <= 0 {
		return server, err
	}
	caller, err := proc.ReadCaller(tid)
	if err != nil {
		return nil, err
	}
	caller.Capabilities &= server.Capabilities
	return caller, nil
}
