package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestWaitingIsCheap: connections that wait for something to read, at either end, hold no room for it.
func TestWaitingIsCheap(t *testing.T) {
	const conns = 200
	path := filepath.Join(t.TempDir(), "control.sock")
	var waiting sync.WaitGroup
	s, err := listen(path, map[string]Handler{
		"wait": func(_ context.Context, _ Caller, c *Conn, _ json.RawMessage, _ []*os.File) error {
			if err := c.Send(echo{"here"}); err != nil {
				return err
			}
			waiting.Done()
			var e echo
			if _, err := c.Receive(&e); err != nil {
				return err
			}
			return c.Send(e)
		},
	}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	used := func() uint64 {
		runtime.GC()
		runtime.GC() // what is in a sync.Pool outlives the first
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := used()
	waiting.Add(conns)
	all := make([]*Conn, conns)
	got := make(chan string, conns)
	for i := range all {
		if all[i], err = Dial(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		defer all[i].Close()
		if err := all[i].Open("wait", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := all[i].Receive(&echo{}); err != nil {
			t.Fatal(err)
		}
		go func() {
			var e echo
			if _, err := all[i].Receive(&e); err != nil {
				e.Text = err.Error()
			}
			got <- e.Text
		}()
	}
	waiting.Wait()
	if each := (used() - before) / conns; each > 16<<10 {
		t.Errorf("a connection that waits at both ends takes %d bytes", each)
	} else {
		t.Logf("a connection that waits at both ends takes %d bytes", each)
	}
	long := strings.Repeat("x", 100<<10)
	for _, c := range all { // and they take as much as ever
		if err := c.Send(echo{long}); err != nil {
			t.Fatal(err)
		}
	}
	for range all {
		if text := <-got; text != long {
			t.Fatalf("got %d bytes, want %d: %.100q", len(text), len(long), text)
		}
	}
}

// TestUnread: who was hung up on can tell whether what it said last had been read.
func TestUnread(t *testing.T) {
	for _, reads := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "control.sock")
		said := make(chan struct{})
		s, err := listen(path, map[string]Handler{
			"end": func(_ context.Context, _ Caller, c *Conn, _ json.RawMessage, _ []*os.File) error {
				<-said
				if reads {
					_, err := c.Receive(&echo{})
					return errors.Join(err, c.Close())
				}
				return c.Close()
			},
		}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		c, err := Dial(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := errors.Join(c.Open("end", nil), c.Send(echo{"last"})); err != nil {
			t.Fatal(err)
		}
		close(said)
		if _, err := c.Receive(&echo{}); !errors.Is(err, io.EOF) || Unread(err) == reads {
			t.Errorf("read %v: %v, unread %v", reads, err, Unread(err))
		}
		if err := c.Send(echo{"too late"}); err == nil {
			t.Error("sent to a connection whose other end is closed")
		}
	}
}
