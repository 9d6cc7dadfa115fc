package list

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/list/listpb"
)

// Method is the stream by which a host is asked for its processes: the opening's body is a listpb.Query, each message back a
// listpb.Batch.
const Method = "proc.list"

// batchBytes is how large a batch may grow before it is sent.
const batchBytes = 48 << 10

// Register serves other hosts' questions on router.
func (r *Reader) Register(router *link.Router) { router.HandleStream(Method, r.serve) }

func (r *Reader) serve(ctx context.Context, req *link.Request, s *link.Stream) error {
	var q listpb.Query
	if err := proto.Unmarshal(req.Body, &q); err != nil {
		return fmt.Errorf("bad list message: %w: %w", err, syscall.EBADMSG)
	}
	a, err := r.tell(&q)
	if err != nil {
		return err
	}
	return a.send(ctx, s)
}

// send tells an answer in batches.
func (a *answer) send(ctx context.Context, s *link.Stream) error {
	b, size := &listpb.Batch{Unnamed: uint32(a.unnamed), ReadNs: a.read.UnixNano()}, 0
	send := func() error {
		msg, err := proto.Marshal(b)
		if err != nil {
			return err
		}
		b, size = &listpb.Batch{}, 0
		return s.Send(ctx, msg)
	}
	for uid, name := range a.users {
		b.Users = append(b.Users, &listpb.User{Uid: uid, Name: name})
		if size += 16 + len(name); size >= batchBytes {
			if err := send(); err != nil {
				return err
			}
		}
	}
	for _, p := range a.procs {
		b.Procs = append(b.Procs, p)
		if size += proto.Size(p); size >= batchBytes {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return send()
}

// tell gives what whoever asks may see.
func (r *Reader) tell(q *listpb.Query) (*answer, error) {
	a, err := r.read(q.Recent || q.Home)
	if err != nil {
		return nil, err
	}
	hidden := false
	if q.Uid != 0 {
		if hidden, err = hides(); err != nil {
			return nil, err
		}
	}
	if !hidden && !q.Home {
		return a, nil
	}
	some := &answer{users: a.users, unnamed: a.unnamed, read: a.read}
	for i, p := range a.procs {
		if hidden && a.own[i] != q.Uid || q.Home && p.Elsewhere == 0 {
			continue
		}
		some.procs = append(some.procs, p)
	}
	return some, nil
}

// ask asks another host. It returns within ctx.
func ask(ctx context.Context, conn *link.Conn, q *listpb.Query) (*answer, error) {
	body, err := proto.Marshal(q)
	if err != nil {
		return nil, err
	}
	s, err := conn.Open(ctx, Method, nil, body)
	if err != nil {
		return nil, err
	}
	defer s.Reset(context.Canceled) // no-op after the end
	a := &answer{users: map[uint32]string{}}
	for {
		msg, err := s.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return nil, err
		}
		var b listpb.Batch
		if err := proto.Unmarshal(msg, &b); err != nil {
			return nil, fmt.Errorf("bad list: %w: %w", err, syscall.EBADMSG)
		}
		a.procs = append(a.procs, b.Procs...)
		a.unnamed += int(b.Unnamed)
		if b.ReadNs != 0 {
			a.read = time.Unix(0, b.ReadNs)
		}
		for _, u := range b.Users {
			a.users[u.Uid] = u.Name
		}
		if len(a.procs) > maxProcs {
			return nil, fmt.Errorf("more than %d processes: %w", maxProcs, syscall.E2BIG)
		}
	}
}

// maxProcs is how many processes one host can have that have names: its own numbers, and those of all its nests.
const maxProcs = (names.MaxNative + 1) * 64
