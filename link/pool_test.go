package link

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onehost/onehost/names"
)

// poolBubble runs f with a pool whose dials take a second and give what next gives.
func poolBubble(t *testing.T, f func(t *testing.T, p *Pool, dials *atomic.Int64, next *func(names.Host) (*Conn, error))) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		var next func(names.Host) (*Conn, error)
		p := NewPool(func(ctx context.Context, h names.Host) (*Conn, error) {
			dials.Add(1)
			select {
			case <-time.After(time.Second):
				return next(h)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		next = func(h names.Host) (*Conn, error) { return life(t, h, 1), nil }
		defer p.Close()
		f(t, p, &dials, &next)
	})
}

// life gives a connection to one life of a host.
func life(t *testing.T, h names.Host, inc names.Incarnation) *Conn {
	a, b := Pipe(hostA, Peer{Number: h, Name: "hx", Incarnation: inc}, NewRouter(), NewRouter())
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a
}

func TestPoolSingleFlight(t *testing.T) {
	poolBubble(t, func(t *testing.T, p *Pool, dials *atomic.Int64, _ *func(names.Host) (*Conn, error)) {
		var wg sync.WaitGroup
		got := make([]*Conn, 20)
		for i := range got {
			wg.Go(func() {
				var err error
				if got[i], err = p.Get(t.Context(), 2); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, c := range got {
			if c != got[0] {
				t.Error("two connections to one host")
			}
		}
		if n := dials.Load(); n != 1 {
			t.Errorf("%d dials, want 1", n)
		}
		_ = got[0].Close()
		if c, err := p.Get(t.Context(), 2); err != nil || c == got[0] || dials.Load() != 2 {
			t.Errorf("after the connection ended: %v, %d dials", err, dials.Load())
		}
	})
}

func TestPoolFailure(t *testing.T) {
	poolBubble(t, func(t *testing.T, p *Pool, dials *atomic.Int64, next *func(names.Host) (*Conn, error)) {
		no := errors.New("no route")
		good := *next
		*next = func(names.Host) (*Conn, error) { return nil, no }
		if _, err := p.Get(t.Context(), 2); err != no {
			t.Errorf("first: %v", err)
		}
		start := time.Now()
		if _, err := p.Get(t.Context(), 2); err != no || time.Since(start) != 0 || dials.Load() != 1 {
			t.Errorf("within the pause: %v after %v and %d dials", err, time.Since(start), dials.Load())
		}
		time.Sleep(firstPause)
		*next = good
		if _, err := p.Get(t.Context(), 2); err != nil {
			t.Errorf("after the pause: %v", err)
		}
		*next = func(names.Host) (*Conn, error) { return life(t, 9, 1), nil }
		if _, err := p.Get(t.Context(), 3); !errors.Is(err, names.Refused) {
			t.Errorf("another host answered: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := p.Get(ctx, 4); err != context.DeadlineExceeded {
			t.Errorf("no patience: %v", err)
		}
	})
}

func TestPoolLives(t *testing.T) {
	poolBubble(t, func(t *testing.T, p *Pool, dials *atomic.Int64, _ *func(names.Host) (*Conn, error)) {
		get := func() *Conn {
			c, err := p.Get(t.Context(), 2)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		first, second := life(t, 2, 5), life(t, 2, 5)
		p.Add(first)
		p.Add(second)
		if get() != first || second.Err() != nil {
			t.Error("Get does not prefer the older of two, or the other was closed")
		}
		old := life(t, 2, 4)
		if p.Add(old); old.Err() == nil || get() != first {
			t.Error("an earlier life was taken in")
		}
		newer := life(t, 2, 6)
		if p.Add(newer); get() != newer || first.Err() == nil || second.Err() == nil {
			t.Error("a new life did not end the earlier one's connections")
		}
		p.Drop(2, 5)
		if newer.Err() != nil {
			t.Error("dropping an earlier life closed the newer one's connection")
		}
		p.Drop(2, 6)
		if newer.Err() == nil {
			t.Error("Drop closed nothing")
		}
		if _, err := p.Get(t.Context(), 2); !errors.Is(err, names.OldIncarnation) { // dials, and gets life 1
			t.Errorf("a dropped life answers a dial: %v", err)
		}
		if n := dials.Load(); n != 1 {
			t.Errorf("%d dials, want 1", n)
		}
		last := life(t, 2, 7)
		p.Add(last)
		if get() != last {
			t.Error("the life after a dropped one is not taken in")
		}
		p.Close()
		if _, err := p.Get(t.Context(), 2); !errors.Is(err, ErrClosed) || last.Err() == nil {
			t.Errorf("after Close: %v", err)
		}
		late := life(t, 2, 7)
		if p.Add(late); late.Err() == nil {
			t.Error("a closed pool took a connection in")
		}
	})
}
