package nest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// listArg makes the test binary print the names in /.
const listArg = "test-list"

// daemonArg makes the test binary a daemon that opens a nest and waits to be killed.
const daemonArg = "test-daemon"

func TestMain(m *testing.M) {
	if Reexec(os.Args) {
		return
	}
	if len(os.Args) == 2 && os.Args[1] == listArg {
		entries, err := os.ReadDir("/")
		fmt.Println(entries, err)
		return
	}
	if len(os.Args) == 2 && os.Args[1] == daemonArg {
		testDaemon()
		return
	}
	signal.Ignore(syscall.SIGUSR2) // what the daemon was started with must not reach the jobs
	goleak.VerifyTestMain(m)
}

// limit bounds what a test waits for. It is far over what is needed: machines differ by more than five times in what a fork takes.
const limit = 90 * time.Second

func testConfig() Config {
	return Config{Home: 7, HomeName: "h7", Hostname: "h7", Root: "/", PidFirst: 40000, PidLast: 49151}
}

func openNest(t *testing.T, cfg Config) *Nest {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes name spaces")
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	n, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// run is a process whose output is collected.
type run struct {
	*Process
	out *os.File
}

func base(argv ...string) Spec {
	return Spec{Exe: "/bin/sh", Argv: append([]string{"sh", "-c"}, argv...), Env: []string{"PATH=/usr/bin:/bin"}, Cwd: "/", Umask: 0o22}
}

func start(t *testing.T, n *Nest, s Spec) *run {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	t.Cleanup(func() { r.Close() })
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if !slices.ContainsFunc(s.FDs, func(f FD) bool { return f.N == 0 }) {
		s.FDs = append(s.FDs, FD{N: 0, File: null})
	}
	s.FDs = append(s.FDs, FD{N: 1, File: w}, FD{N: 2, File: w})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	p, err := n.Start(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	return &run{p, r}
}

func (r *run) event(t *testing.T) Event {
	t.Helper()
	select {
	case ev, ok := <-r.Events():
		if !ok {
			t.Fatal("no event: the queue is closed")
		}
		return *ev
	case <-time.After(limit):
		t.Fatalf("no event in %v", limit)
	}
	return Event{}
}

// end waits for the exit and gives status and output.
func (r *run) end(t *testing.T) (syscall.WaitStatus, string) {
	t.Helper()
	_ = r.out.SetReadDeadline(time.Now().Add(limit))
	out, err := io.ReadAll(r.out)
	if err != nil {
		t.Fatal(err)
	}
	ev := r.event(t)
	if ev.Kind != Exited {
		t.Fatalf("event %+v: want the exit", ev)
	}
	if _, more := <-r.Events(); more {
		t.Fatal("an event after the exit")
	}
	return ev.Status, string(out)
}
