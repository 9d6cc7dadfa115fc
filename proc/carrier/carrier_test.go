package carrier

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/member"
	"github.com/onehost/onehost/names"
)

func TestPrefix(t *testing.T) {
	inc := names.Incarnation(12).Carrier(3)
	for _, name := range []string{prefix(7, inc), prefix(7, inc) + ".1"} {
		if home, got, ok := parsePrefix(name); !ok || home != 7 || got != inc {
			t.Errorf("%s: %v, %v, %v", name, home, got, ok)
		}
	}
	for _, name := range []string{"", "7", "x.1", ".1"} {
		if _, _, ok := parsePrefix(name); ok {
			t.Errorf("%q names a carrier", name)
		}
	}
}

// TestSetup: what a carrier is started with arrives whole, whatever the place of the file that it is in.
func TestSetup(t *testing.T) {
	want := Setup{
		Dir: "/run/x", Home: link.Peer{Number: 3, Name: "h3", Incarnation: 5, Birth: 4}, Addr: "h3:1", Drained: true, Level: slog.LevelWarn,
		Credentials: member.Credentials{Cert: []byte{1, 2}, Key: []byte{3}, CA: []byte{4}, Hello: link.Hello{Cluster: "c", Number: 2, Incarnation: 9, Carrier: 1}},
	}
	f, err := want.keep()
	if err != nil {
		t.Fatal(err)
	}
	got, err := setupOf(f)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(want)
	b, _ := json.Marshal(got)
	if string(a) != string(b) {
		t.Errorf("%s, want %s", b, a)
	}
	if got.incarnation() != names.Incarnation(9).Carrier(1) {
		t.Errorf("incarnation %d", got.incarnation())
	}
}

func TestCount(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "jobs"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n := countOf(f); n != 0 {
		t.Errorf("%d jobs before any was counted", n)
	}
	c := &server{counter: f}
	for _, n := range []int{0, 1, 300, 2} {
		if c.count(n); countOf(f) != n {
			t.Errorf("%d jobs, want %d", countOf(f), n)
		}
	}
}

// fake is a carrier's socket, with another carrier behind it than this release's.
type fake struct {
	server *control.Server
	ended  atomic.Int32
}

func listen(t *testing.T, dir string, o owned) *fake {
	t.Helper()
	f := &fake{}
	counter, err := os.Create(filepath.Join(t.TempDir(), "jobs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { counter.Close() })
	(&server{counter: counter}).count(2)
	over := make(chan struct{})
	f.server, err = control.Listen(socket(dir), map[string]control.Handler{
		opOwn: func(_ context.Context, _ control.Caller, c *control.Conn, _ json.RawMessage, _ []*os.File) error {
			if err := c.Send(o, counter); err != nil {
				return err
			}
			var none done
			_, _ = c.Receive(&none)
			return nil
		},
		opEnd: func(context.Context, control.Caller, *control.Conn, json.RawMessage, []*os.File) error {
			if f.ended.Add(1) == 1 {
				close(over)
			}
			return nil
		},
		opPart: func(_ context.Context, _ control.Caller, c *control.Conn, _ json.RawMessage, _ []*os.File) error {
			return c.Send(parted{Stays: true})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case <-over:
			f.server.Close()
		case <-t.Context().Done():
		}
	}()
	t.Cleanup(func() {
		<-gone
		f.server.Close()
	})
	return f
}

func config(t *testing.T, dir string) (Config, *strings.Builder) {
	t.Helper()
	var log strings.Builder
	return Config{
		Dir: dir, Trees: t.TempDir(), Drained: func() bool { return false }, Addr: func(names.Host) string { return "" },
		Credentials: func() (member.Credentials, error) { return member.Credentials{}, syscall.ENOTCONN },
		Clear:       func(string) error { return nil }, Log: slog.New(slog.NewTextHandler(&log, nil)),
	}, &log
}

// TestAdopt: a daemon takes on what it can speak with, ends what it cannot, and clears up after what has ended; what it leaves goes on.
func TestAdopt(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a carrier's socket is root's, and groups are looked through")
	}
	dir := filepath.Join(t.TempDir(), "carrier")
	at := func(home names.Host, inc names.Incarnation) string {
		d := filepath.Join(dir, prefix(home, inc))
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
		return d
	}
	one, old := names.Incarnation(4).Carrier(1), names.Incarnation(4).Carrier(2)
	living := listen(t, at(7, one), owned{Protocol: Protocol, Host: 2, Cluster: "c", Incarnation: one, Home: link.Peer{Number: 7, Name: "h7", Incarnation: 3}})
	other := listen(t, at(8, old), owned{Protocol: Protocol + 1, Version: "v9", Host: 2, Cluster: "c", Incarnation: old})
	dead := at(9, old)
	cfg, log := config(t, dir)
	cs := New(cfg)
	if n := cs.Jobs(); n != 2 {
		t.Errorf("%d jobs, want 2", n)
	}
	if left := cs.Close(); !left { // which waits for those that end
		t.Error("a carrier with jobs was not left")
	}
	if living.ended.Load() != 0 || other.ended.Load() != 1 {
		t.Errorf("the one was ended %d times, the other %d", living.ended.Load(), other.ended.Load())
	}
	if !strings.Contains(log.String(), "cannot speak") || !strings.Contains(log.String(), "v9") {
		t.Errorf("the log does not say why one was ended: %s", log)
	}
	for _, d := range []string{dead, at(8, old)} {
		if d != dead {
			_ = os.Remove(d) // at has made it again
			continue
		}
		if _, err := os.Stat(d); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", d, err)
		}
	}
	if !cs.Owns(prefix(7, one)+".1") || cs.Owns(prefix(8, old)+".1") || cs.Owns("junk") {
		t.Error("whose trees are whose")
	}
	if c := cs.of(link.Peer{Number: 7}); c == nil || cs.name(c) != "h7" {
		t.Error("the one that lives is not found")
	}
	// Another life of this host, or another cluster, ends it.
	cs = New(cfg)
	view := member.View{Seq: 1, Cluster: "c", Hosts: []member.Host{
		{Number: 2, Incarnation: 6, Birth: 3, State: member.Alive}, {Number: 7, Incarnation: 3, State: member.Alive},
	}}
	cs.Follow(view, 2)
	view.Hosts[0].Birth = 6
	if living.ended.Load() != 0 {
		t.Error("it was ended in the life in which it was started")
	}
	cs.Follow(view, 2)
	if cs.Close(); living.ended.Load() != 1 {
		t.Error("it was not ended with the life in which it was started")
	}
}

// TestDeadButNotEnded: what waits for a carrier is let go when that is dead, and not only when it has ended, for which it may wait itself.
func TestDeadButNotEnded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "carrier")
	inc := names.Incarnation(4).Carrier(1)
	// A process whose first thread has ended, and another has not: as one that was killed while a thread waits in the kernel.
	process := exec.Command("python3", "-c", `import ctypes, sys, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
print("living", flush=True)
sys.stdin.readline()
ctypes.CDLL(None).syscall(`+strconv.Itoa(unix.SYS_EXIT)+`, 0)`)
	in, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := process.StdoutPipe()
	if err == nil {
		err = process.Start()
	}
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("needs python3")
	}
	if err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(exited)
		_ = process.Wait() // killed
	}()
	cfg, _ := config(t, dir)
	var cleared []string
	cfg.Clear = func(prefix string) error {
		cleared = append(cleared, prefix)
		return process.Process.Kill()
	}
	cs := New(cfg)
	cs.mu.Lock()
	c := cs.newCarrierLocked(link.Peer{Number: 7, Name: "h7"}, inc)
	cs.mu.Unlock()
	c.pid = process.Process.Pid
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	listen(t, c.dir, owned{Protocol: Protocol, Incarnation: inc})
	conn, err := control.Dial(t.Context(), socket(c.dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Open(opOwn, ownRequest{Protocol: Protocol}); err != nil {
		t.Fatal(err)
	}
	files, err := conn.Receive(&owned{})
	if err != nil {
		t.Fatal(err)
	}
	c.counter = files[0]
	if dying(c.pid) {
		t.Error("it is taken for dead while it lives")
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	go cs.watch(c, conn, exited)
	select {
	case <-exited: // by Clear
	case <-time.After(10 * time.Second):
		t.Error("what waits for a dead process waits on")
		_ = process.Process.Kill()
		<-exited
	}
	_ = control.Call(t.Context(), socket(c.dir), opEnd, endRequest{}, &done{}) // the kernel closes what it had open
	<-c.gone
	if len(cleared) < 2 || cleared[0] != prefix(7, inc) {
		t.Errorf("cleared: %q", cleared)
	}
}

// others is a cluster as Reach sees it.
type others struct {
	daemon  *link.Conn
	carrier *link.Conn
	asked   names.Incarnation
}

func (o *others) Conn(context.Context, names.Host) (*link.Conn, error) {
	if o.daemon == nil {
		return nil, syscall.EHOSTDOWN
	}
	return o.daemon, nil
}
func (o *others) Carrier(names.Host) *link.Conn { return o.carrier }
func (o *others) AwaitCarrier(_ context.Context, _ names.Host, inc names.Incarnation) (*link.Conn, error) {
	o.asked = inc
	return o.daemon, nil
}

// TestReach: a carrier that has a connection is not asked for; one that is over is known to be.
func TestReach(t *testing.T) {
	one := names.Incarnation(4).Carrier(1)
	router := link.NewRouter()
	var answer error
	var header string
	router.HandleCall(reachMethod, func(_ context.Context, r *link.Request) (link.Reply, error) {
		header = string(r.Header)
		return link.Reply{Header: []byte{5}}, answer
	})
	self := link.Peer{Number: 1, Incarnation: 1}
	daemon, far := link.Pipe(self, link.Peer{Number: 2, Incarnation: 4}, link.NewRouter(), router)
	was, gone := link.Pipe(self, link.Peer{Number: 2, Carrier: 1, Incarnation: one}, link.NewRouter(), link.NewRouter())
	other, otherFar := link.Pipe(self, link.Peer{Number: 2, Carrier: 2, Incarnation: one + 1}, link.NewRouter(), link.NewRouter())
	t.Cleanup(func() {
		for _, c := range []*link.Conn{daemon, far, was, gone, other, otherFar} {
			c.Close()
		}
	})
	m := &others{carrier: other}
	up := true
	var over []names.Incarnation
	r := &Reach{Member: m, Up: func(names.Host) bool { return up }, Over: func(_ names.Host, inc names.Incarnation) { over = append(over, inc) }}
	if c, err := r.Conn(t.Context(), 2); c != other || err != nil {
		t.Errorf("one that is there: %v", err)
	}
	m.carrier = nil
	if _, err := r.Back(t.Context(), was); !errors.Is(err, syscall.EHOSTDOWN) {
		t.Errorf("while the daemon is away: %v", err)
	}
	m.daemon = daemon
	if c, err := r.Conn(t.Context(), 2); c == nil || err != nil || m.asked != 5 || header != "\x00\x01" {
		t.Errorf("one that is made: %v, %d, %q", err, m.asked, header)
	}
	if _, err := r.Find(t.Context(), 2); err != nil || header != "\x00\x00" {
		t.Errorf("one that is not to be made: %v, %q", err, header)
	}
	if len(over) > 0 {
		t.Errorf("given up: %v", over)
	}
	answer = syscall.ESRCH
	if _, err := r.Back(t.Context(), was); !errors.Is(err, syscall.ESRCH) || len(over) != 1 || over[0] != one {
		t.Errorf("one that is over: %v, %v", err, over)
	}
	up, answer = false, nil
	if _, err := r.Back(t.Context(), was); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("one whose host has failed: %v", err)
	}
}
