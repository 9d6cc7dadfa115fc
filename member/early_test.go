package member

import (
	"context"
	"encoding/binary"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onehost/onehost/link"
)

// TestCallsBeforeStartReturns: a host that comes back is called as soon as it listens, and knows who it is by then.
func TestCallsBeforeStartReturns(t *testing.T) {
	c := newCluster(t, 2)
	h1, ctx := c.hosts["h1"], testContext(t)
	const method = "test.self"
	var answers, wrong atomic.Int32
	ending, end := context.WithCancel(ctx)
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for ending.Err() == nil {
				conn, err := h1.Conn(ending, 2)
				if err != nil {
					time.Sleep(time.Millisecond)
					continue
				}
				for {
					rep, err := conn.Call(ending, method, nil, nil)
					if err != nil {
						break // it has ended again
					}
					answers.Add(1)
					if binary.BigEndian.Uint16(rep.Header) != 2 {
						wrong.Add(1)
					}
				}
			}
		})
	}
	defer callers.Wait()
	defer end()
	for range 40 {
		if err := c.hosts["h2"].Close(); err != nil {
			t.Fatal(err)
		}
		r := link.NewRouter()
		m, err := New(Config{StateDir: filepath.Join(c.dir, "h2"), Router: r, Listen: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		c.hosts["h2"] = m
		r.HandleCall(method, func(context.Context, *link.Request) (link.Reply, error) {
			number, _, _, _ := m.Self()
			return link.Reply{Header: binary.BigEndian.AppendUint16(nil, uint16(number))}, nil
		})
		was := answers.Load()
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
		for limit := time.Now().Add(10 * time.Second); answers.Load() < was+20; time.Sleep(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatal("nobody calls")
			}
		}
	}
	if wrong.Load() > 0 {
		t.Errorf("%d of %d answers came from a host that did not know its number", wrong.Load(), answers.Load())
	}
}
