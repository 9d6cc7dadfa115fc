package calls

import (
	"context"
	"syscall"

	"github.com/onehost/onehost/proc"
	"github.com/onehost/onehost/sys"
)

func vmRead(ctx context.Context, c *Call) Answer { return c.vm(ctx, c.fetch) }

func vmWrite(ctx context.Context, c *Call) Answer { return c.vm(ctx, c.store) }

// copier copies n bytes between the caller's piece and the process's pieces, at most proc.MaxMemory, and says how many were copied.
type copier func(ctx context.Context, p proc.Process, own []sys.Span, other []sys.Span, n int) (int, error)

// vm is process_vm_readv or process_vm_writev: piece by piece, as much as one message holds each. What fails after the first piece shows
// as fewer bytes, as in the kernel.
func (c *Call) vm(ctx context.Context, move copier) Answer {
	own, err := c.spans(c.Args[1], c.Args[2])
	if err != nil {
		return fails(err)
	}
	other, err := c.spans(c.Args[3], c.Args[4])
	if err != nil {
		return fails(err)
	}
	if c.Args[5] != 0 {
		return fails(syscall.EINVAL)
	}
	p := c.process(0)
	if c.cont {
		return Answer{Continue: true}
	}
	total := min(sum(own), sum(other))
	if total == 0 { // the rights are looked at all the same
		_, err := p.ReadMemory(ctx, c.Who, nil, nil)
		return done(err)
	}
	var moved uint64
	for moved < total {
		n := int(min(total-moved, proc.MaxMemory))
		got, err := move(ctx, p, cut(own, moved, n), cut(other, moved, n), n)
		moved += uint64(got)
		if err != nil && moved == 0 {
			return fails(err)
		}
		if err != nil || got < n {
			break
		}
	}
	return Answer{Value: int64(moved)}
}

func (c *Call) fetch(ctx context.Context, p proc.Process, own, other []sys.Span, n int) (int, error) {
	b := make([]byte, n)
	got, err := p.ReadMemory(ctx, c.Who, b, other)
	if err != nil {
		return 0, err
	}
	put := 0
	for _, s := range own {
		k := min(int(s.Len), got-put)
		if k == 0 {
			break
		}
		if err := c.write(s.Base, b[put:put+k]); err != nil {
			return put, err
		}
		put += k
	}
	return put, nil
}

func (c *Call) store(ctx context.Context, p proc.Process, own, other []sys.Span, n int) (int, error) {
	b := make([]byte, 0, n)
	for _, s := range own {
		piece, err := c.read(s.Base, int(s.Len))
		if err != nil {
			return 0, err
		}
		b = append(b, piece...)
	}
	return p.WriteMemory(ctx, c.Who, b, other)
}

// sum gives the bytes of all pieces, at most what a call can return.
func sum(spans []sys.Span) uint64 {
	const most = 0x7ffff000 // MAX_RW_COUNT
	var n uint64
	for _, s := range spans {
		n = min(n+min(s.Len, most), most)
	}
	return n
}

// cut gives the pieces of n bytes after the first skip ones.
func cut(spans []sys.Span, skip uint64, n int) []sys.Span {
	var out []sys.Span
	left := uint64(n)
	for _, s := range spans {
		if skip >= s.Len {
			skip -= s.Len
			continue
		}
		k := min(s.Len-skip, left)
		if k > 0 {
			out = append(out, sys.Span{Base: s.Base + skip, Len: k})
		}
		left -= k
		skip = 0
	}
	return out
}
