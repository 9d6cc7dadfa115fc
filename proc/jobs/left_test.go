package jobs

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/jobs/jobspb"
	"github.com/onehost/onehost/proc/nest"
)

func TestMain(m *testing.M) {
	if nest.Reexec(os.Args) {
		return
	}
	os.Exit(m.Run())
}

// hostTree is this host's own tree, which needs no care.
type hostTree struct{}

func (hostTree) Root() string                          { return "/" }
func (hostTree) Binds() []nest.Bind                    { return nil }
func (hostTree) AbortFile() *os.File                   { return nil }
func (hostTree) Applied(context.Context, uint64) error { return nil }
func (hostTree) Flush(context.Context) error           { return nil }
func (hostTree) FlushEnded(context.Context) error      { return nil }
func (hostTree) Abort()                                {}
func (hostTree) Unmount(context.Context) error         { return nil }

// noFiles gives jobs no descriptors.
type noFiles struct{}

func (noFiles) Open(context.Context, *link.Conn, []byte, Tree, *nest.Nest) ([]nest.FD, FileSet, error) {
	return nil, noFiles{}, nil
}
func (noFiles) Release()                    {}
func (noFiles) Watch(func() ([]int, error)) {}
func (noFiles) SetWinsize(uint16, uint16)   {}
func (noFiles) Drain(context.Context) error { return nil }
func (noFiles) Attach(*link.Conn)           {}
func (noFiles) Close()                      {}

// noLinks is of a home that has gone.
type noLinks struct{}

func (noLinks) Conn(context.Context, names.Host) (*link.Conn, error) { return nil, unix.EHOSTDOWN }

// TestLeft: what a job leaves running lives until its session ends, although its home closes the stream as soon as it has the
// status; and what ends after its session leaves nothing.
func TestLeft(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes name spaces")
	}
	h := NewHelper(HelperConfig{
		Mount: func(context.Context, link.Peer) (Tree, error) { return hostTree{}, nil },
		Links: noLinks{}, Files: noFiles{}, Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(h.Close)
	router := link.NewRouter()
	h.Register(router)
	helper, home := link.Pipe(link.Peer{Number: 2, Name: "h2", Incarnation: 1}, link.Peer{Number: 1, Name: "h1", Incarnation: 1}, router, link.NewRouter())
	t.Cleanup(func() { helper.Close(); home.Close() })
	dir := t.TempDir()
	job := func(session uint64, n int, script string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		x := &jobspb.Exec{
			Pid: uint32(1000 + n), Session: session, Job: uint64(n), Exe: "/bin/sh", Cwd: dir, Env: [][]byte{[]byte("PATH=/usr/bin:/bin")},
			Argv: [][]byte{[]byte("sh"), []byte("-c"), []byte(script)}, Uids: []uint32{0, 0, 0, 0}, Gids: []uint32{0, 0, 0, 0},
			Home: &jobspb.Home{Hostname: "h1", PidFirst: names.FirstLease, PidLast: names.MaxLease},
		}
		body, err := proto.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		s, err := home.Open(ctx, Method, nil, body)
		if err != nil {
			t.Fatal(err)
		}
		for {
			msg, err := s.Recv(ctx)
			var ev jobspb.Event
			if err = errors.Join(err, proto.Unmarshal(msg, &ev)); err != nil {
				t.Fatal(err)
			}
			switch ev.Kind {
			case jobspb.Event_REFUSED:
				t.Fatal(ev.Reason)
			case jobspb.Event_EXITED:
				s.Reset(context.Canceled) // as Home.drive does, at once
				return
			}
		}
	}
	// Who is left says so when it begins, and holds a lock as long as it lives.
	leaves := func(n int) string {
		file := filepath.Join(dir, strconv.Itoa(n))
		return "exec 9> " + file + "; flock 9; sleep 1000 & exec 9>&-; exit 0"
	}
	living := func(n int) bool {
		f, err := os.Open(filepath.Join(dir, strconv.Itoa(n)))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
	}
	const jobs = 200
	for n := range jobs {
		job(7, n, leaves(n))
	}
	time.Sleep(50 * time.Millisecond) // a kill that is on its way comes
	var dead []string
	for n := range jobs {
		if !living(n) {
			dead = append(dead, strconv.Itoa(n))
		}
	}
	if dead != nil {
		t.Errorf("what jobs left behind was killed with them: %s", strings.Join(dead, " "))
	}
	end := func(session byte) {
		if _, err := home.Call(t.Context(), endMethod, []byte{session}, nil); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	gone := func(n int) {
		for deadline := time.Now().Add(10 * time.Second); living(n); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("what job %d left behind outlives its session", n)
			}
		}
	}
	end(7)
	for n := range jobs {
		gone(n)
	}
	end(8)
	job(8, jobs, leaves(jobs))
	gone(jobs)
}
