package control

import (
	"context"
	"fmt"
	"time"
)

// rowBytes is more than a Proc has as JSON besides its texts, and replyBytes what a packet of them may grow to.
const (
	rowBytes   = 768
	replyBytes = MaxPacket - 1024
)

// Send sends the reply in as many packets as it takes.
func (r *ProcsReply) Send(c *Conn) error {
	rest := r.Procs
	part := ProcsReply{Failed: r.Failed, Read: r.Read}
	for {
		n, size := 0, 120*len(part.Read) // a name and a time
		for _, why := range part.Failed {
			size += escaped(why) + 80 // and the name of a host
		}
		for n < len(rest) {
			p := &rest[n]
			size += rowBytes + escaped(p.Name) + escaped(p.User) + escaped(p.TTY) + escaped(p.Comm) + escaped(p.Command)
			if n > 0 && size > replyBytes {
				break
			}
			n++
		}
		part.Procs, rest = rest[:n:n], rest[n:]
		part.More = len(rest) > 0
		if err := c.Send(part); err != nil || !part.More {
			return err
		}
		part.Failed, part.Read = nil, nil
	}
}

// escaped gives the bytes that a text has in JSON, or some more.
func escaped(s string) int {
	n := len(s)
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			n += 5
		}
	}
	return n
}

// Procs asks the daemon at path for the processes of the cluster. It blocks no longer than ctx, and about two seconds when a host does not
// answer: that one is among Failed, and the others' processes are there.
func Procs(ctx context.Context, path string, req ProcsRequest) (ProcsReply, error) {
	c, err := Dial(ctx, path)
	if err != nil {
		return ProcsReply{}, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.Open(OpProcs, req); err != nil {
		return ProcsReply{}, err
	}
	all := ProcsReply{Procs: []Proc{}}
	for {
		var part ProcsReply
		if _, err := c.Receive(&part); err != nil {
			if ctx.Err() != nil {
				return ProcsReply{}, fmt.Errorf("onehostd did not answer: %w", ctx.Err())
			}
			return ProcsReply{}, err
		}
		all.Procs = append(all.Procs, part.Procs...)
		if part.Failed != nil {
			all.Failed = part.Failed
		}
		if part.Read != nil {
			all.Read = part.Read
		}
		if !part.More {
			return all, nil
		}
	}
}
