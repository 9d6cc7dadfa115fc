package link

import (
	"context"
	"slices"
	"sync"
)

// budget is a number of bytes that may be under way. Whoever asks for more than is free waits in line.
type budget struct {
	mu    sync.Mutex
	free  int
	size  int
	queue []*claim
}

type claim struct {
	n       int
	granted chan struct{}
}

func newBudget(size int) *budget { return &budget{free: size, size: size} }

// acquire takes n bytes, at most the whole budget, or returns what ended the wait: ctx's error, or ErrClosed when done
// is closed.
func (b *budget) acquire(ctx context.Context, done <-chan struct{}, n int) error {
	b.mu.Lock()
	if b.tryLocked(n) {
		b.mu.Unlock()
		return nil
	}
	c := &claim{n: n, granted: make(chan struct{})}
	b.queue = append(b.queue, c)
	b.mu.Unlock()
	var err error
	select {
	case <-c.granted:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-done:
		err = ErrClosed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.queue, c); i >= 0 {
		b.queue = slices.Delete(b.queue, i, i+1)
		b.grantLocked() // a smaller claim behind this one may fit now
		return err
	}
	return nil // granted meanwhile
}

// try takes n bytes if they are free now.
func (b *budget) try(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tryLocked(n)
}

func (b *budget) tryLocked(n int) bool {
	if len(b.queue) > 0 || b.free < n {
		return false
	}
	b.free -= n
	return true
}

// release gives back n bytes. It is false when more came back than was taken.
func (b *budget) release(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.size-b.free {
		return false
	}
	b.free += n
	b.grantLocked()
	return true
}

func (b *budget) grantLocked() {
	for len(b.queue) > 0 && b.queue[0].n <= b.free {
		b.free -= b.queue[0].n
		close(b.queue[0].granted)
		b.queue[0] = nil
		b.queue = b.queue[1:]
	}
}
