package split

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
)

// lockedBuffer takes the output of several pipes.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// Bytes is what was written so far.
func (b *lockedBuffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buf.Bytes())
}

// stdio are the three descriptors for a program; ours were made for it and are closed once passed.
type stdio struct{ all, ours []*os.File }

// files passes files as they are and puts a pipe before everything else. The same writer for stdout and stderr gets one pipe, which keeps
// their order.
func (c *Cmd) files() (stdio, error) {
	var s stdio
	add := func(f *os.File, ours bool) {
		s.all = append(s.all, f)
		if ours {
			s.ours = append(s.ours, f)
		}
	}
	null := func() error {
		f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err == nil {
			add(f, true)
		}
		return err
	}
	switch in := c.Stdin.(type) {
	case nil:
		if err := null(); err != nil {
			return s, err
		}
	case *os.File:
		add(in, false)
	default:
		r, w, err := os.Pipe()
		if err != nil {
			return s, err
		}
		add(r, true)
		c.pump(w, w, in)
	}
	for i, out := range []io.Writer{c.Stdout, c.Stderr} {
		f, isFile := out.(*os.File)
		switch {
		case out == nil:
			if err := null(); err != nil {
				return s, err
			}
		case isFile:
			add(f, false)
		case i == 1 && same(c.Stdout, c.Stderr):
			add(s.all[1], false)
		default:
			r, w, err := os.Pipe()
			if err != nil {
				return s, err
			}
			add(w, true)
			c.pump(r, out, r)
		}
	}
	return s, nil
}

func same(a, b io.Writer) bool {
	defer func() { _ = recover() }() // not comparable: not the same
	return a == b
}

// pump copies from r to w on a goroutine; pipe is our end, closed when it is done.
func (c *Cmd) pump(pipe *os.File, w io.Writer, r io.Reader) {
	c.pipes = append(c.pipes, pipe)
	c.copies.Go(func() {
		_, err := io.Copy(w, r)
		pipe.Close()
		if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, os.ErrClosed) {
			c.mu.Lock()
			c.pipeErr = err
			c.mu.Unlock()
		}
	})
}

func (c *Cmd) closePipes() { closeAll(c.pipes) }
