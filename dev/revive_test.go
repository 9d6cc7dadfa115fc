package dev

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/onehost/onehost/link"
)

// killed replaces the home's daemon, as after a kill: the connection ends, and nothing of the server's memory is left. It gives the helper's end
// of the next connection.
func (r *rig) killed() *link.Conn {
	r.t.Helper()
	r.conn.Close()
	r.home.Close()
	server, err := NewServer(r.server.dir, nil, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for id, h := range r.server.files { // as the kernel closes them
		if h.notes != nil {
			h.notes.Close()
		}
		h.file.Drop()
		delete(r.server.files, id)
	}
	r.server = server
	router := link.NewRouter()
	server.Register(router)
	home, helper := link.Peer{Number: 1, Name: "h1", Incarnation: 2, Birth: 1}, link.Peer{Number: 2, Name: "h2", Incarnation: 1}
	r.conn, r.home = link.Pipe(helper, home, link.NewRouter(), router)
	r.t.Cleanup(func() {
		r.conn.Close()
		r.home.Close()
	})
	return r.conn
}

// described keeps files at home, and gives their description and the helper's ends.
func (r *rig) described(files ...*os.File) (desc []byte, ns []int, l *line, objs []*Object) {
	r.t.Helper()
	for i := range files {
		ns = append(ns, i)
	}
	desc, _, err := r.server.Describe(0, 0, ns, files)
	if err != nil {
		r.t.Fatal(err)
	}
	ds, err := Unmarshal(desc)
	if err != nil {
		r.t.Fatal(err)
	}
	l = newLine(r.conn, Options{})
	for _, d := range ds {
		objs = append(objs, newObject(l, &r.client.seq, d, r.t.Context()))
	}
	return desc, ns, l, objs
}

func TestReadOutlivesTheDaemon(t *testing.T) {
	r := newRig(t)
	rd, wr := newPipe(t)
	desc, ns, l, objs := r.described(rd)
	type result struct {
		b   []byte
		err error
	}
	got := make(chan result, 1)
	go func() {
		b, err := objs[0].Read(context.Background(), 100)
		got <- result{b, err}
	}()
	for { // until the read is under way at home
		r.server.mu.Lock()
		n := len(r.server.active)
		r.server.mu.Unlock()
		if n > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	conn := r.killed()
	if _, doubt, err := r.server.Resume(0, desc, ns, []*os.File{rd}); doubt != nil || err != nil {
		t.Fatal(doubt, err)
	}
	select {
	case g := <-got:
		t.Fatalf("it did not wait: %q, %v", g.b, g.err)
	case <-time.After(50 * time.Millisecond):
	}
	l.set(conn)
	if _, err := wr.WriteString("after"); err != nil {
		t.Fatal(err)
	}
	if g := <-got; string(g.b) != "after" || g.err != nil {
		t.Errorf("%q, %v", g.b, g.err)
	}
}

// TestOnce asks again for what has been carried out, as a helper does to which the reply has not come.
func TestOnce(t *testing.T) {
	r := newRig(t)
	in, inw := newPipe(t)
	out, outw := newPipe(t)
	files := []*os.File{in, outw}
	desc, ns, l, objs := r.described(files...)
	if _, err := inw.WriteString("first"); err != nil {
		t.Fatal(err)
	}
	if b, err := objs[0].Read(t.Context(), 100); string(b) != "first" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	if n, err := objs[1].Write(t.Context(), []byte("said")); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := inw.WriteString("second"); err != nil {
		t.Fatal(err)
	}
	again := func() {
		t.Helper()
		b, err := l.call(t.Context(), readMethod, encode(objs[0].id, 1, 100), nil, nil)
		if string(b.Body) != "first" || err != nil {
			t.Errorf("the read again: %q, %v", b.Body, err)
		}
		w, err := l.call(t.Context(), writeMethod, encode(objs[1].id, 2, 0), []byte("said"), nil)
		if v, herr := header(w.Header, 2); err != nil || herr != nil || v[0] != 4 || v[1] != 0 {
			t.Errorf("the write again: %v, %v, %v", v, err, herr)
		}
	}
	again()
	conn := r.killed()
	if _, doubt, err := r.server.Resume(0, desc, ns, files); doubt != nil || err != nil {
		t.Fatal(doubt, err)
	}
	l.set(conn)
	again()
	if got := available(t, out); got != "said" {
		t.Errorf("written: %q", got)
	}
	if b, err := objs[0].Read(t.Context(), 100); string(b) != "second" || err != nil {
		t.Errorf("the next read: %q, %v", b, err)
	}
	if _, err := l.call(t.Context(), readMethod, encode(objs[0].id, 1, 100), nil, nil); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("a read that comes late: %v", err)
	}
}

// TestPartWritten: a write of which a part was done goes on with the rest.
func TestPartWritten(t *testing.T) {
	r := newRig(t)
	out, outw := newPipe(t)
	desc, ns, l, objs := r.described(outw)
	r.server.mu.Lock()
	h := r.server.files[objs[0].id]
	r.server.mu.Unlock()
	if err := h.lanes[1].note(entry{host: 2, inc: 1, seq: 1, state: waiting, count: 3}); err != nil {
		t.Fatal(err)
	}
	conn := r.killed()
	if _, doubt, err := r.server.Resume(0, desc, ns, []*os.File{outw}); doubt != nil || err != nil {
		t.Fatal(doubt, err)
	}
	l.set(conn)
	if n, err := objs[0].Write(t.Context(), []byte("abcdef")); n != 6 || err != nil { // its number is 1
		t.Error(n, err)
	}
	if got := available(t, out); got != "def" {
		t.Errorf("written: %q", got)
	}
}

// TestDoubt: a daemon that was killed in a system call leaves a job that cannot go on, and what it noted goes with the descriptor.
func TestDoubt(t *testing.T) {
	r := newRig(t)
	_, outw := newPipe(t)
	desc, ns, _, objs := r.described(outw)
	r.server.mu.Lock()
	h := r.server.files[objs[0].id]
	r.server.mu.Unlock()
	h.lanes[1].last = entry{host: 2, inc: 1, seq: 1}
	if _, err := h.lanes[1].attempt(func() (int, error) { return 1, nil }); err != nil {
		t.Fatal(err)
	}
	r.killed()
	release, doubt, err := r.server.Resume(0, desc, ns, []*os.File{outw})
	if err != nil || !errors.Is(doubt, errDoubt) {
		t.Fatalf("%v, %v: want doubt", doubt, err)
	}
	release()
	if err := r.server.Sweep(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(r.server.dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
