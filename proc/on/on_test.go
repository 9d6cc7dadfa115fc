package on

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/on/onpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a home and a host joined in memory.
type rig struct {
	t    *testing.T
	path string // of the home's control socket
	near *link.Conn
	host *Server
}

func (r *rig) Find(host string) (names.Host, names.HostName, error) {
	if host != "h2" {
		return 0, "", control.Refuse(syscall.ENOENT, "no host %q", host)
	}
	return 2, "h2", nil
}

func (r *rig) Conn(context.Context, names.Host) (*link.Conn, func(), error) {
	return r.near, func() {}, r.near.Err()
}

func newRig(t *testing.T) *rig {
	t.Helper()
	if unix.Geteuid() != 0 {
		t.Skip("a host's commands are held by cgroups, which needs root")
	}
	r := &rig{t: t, host: NewServer(slog.New(slog.DiscardHandler))}
	t.Cleanup(r.host.Close)
	if r.host.err != nil {
		t.Fatal(r.host.err)
	}
	router := link.NewRouter()
	r.host.Register(router)
	near, far := link.Pipe(link.Peer{Number: 1, Name: "h1"}, link.Peer{Number: 2, Name: "h2"}, link.NewRouter(), router)
	r.near = near
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	r.path = filepath.Join(t.TempDir(), "c.sock")
	s, err := control.Listen(r.path, map[string]control.Handler{control.OpOn: NewHome(r).Serve})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return r
}

// command is a command of the rig and our ends of its descriptors.
type command struct {
	*control.OnCall
	in, out, err *os.File
}

func (r *rig) start(args ...string) (*command, error) {
	c := &command{}
	var theirs [descriptors]*os.File
	for i, ours := range []**os.File{&c.in, &c.out, &c.err} {
		rd, w, err := os.Pipe()
		if err != nil {
			r.t.Fatal(err)
		}
		if theirs[i], *ours = w, rd; i == stdin {
			theirs[i], *ours = rd, w
		}
		r.t.Cleanup(func() {
			rd.Close()
			w.Close()
		})
	}
	var err error
	c.OnCall, err = control.StartOn(r.t.Context(), r.path, control.OnCommand{Host: "h2", Args: args}, theirs[:]...)
	closeAll(theirs[:])
	if err == nil {
		r.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func (r *rig) must(args ...string) *command {
	r.t.Helper()
	c, err := r.start(args...)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// TestSlowReader: who does not read one descriptor gets the others whole.
func TestSlowReader(t *testing.T) {
	r := newRig(t)
	c := r.must("sh", "-c", "(yes | head -c 5000000) & head -c 2000000 /dev/zero >&2; cat >/dev/null; wait")
	got := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(io.Discard, io.LimitReader(c.err, 2000000))
		got <- n
	}()
	select {
	case n := <-got:
		if n != 2000000 {
			t.Errorf("stderr gave %d bytes", n)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("stderr waits for stdout")
	}
	if _, err := c.in.Write(make([]byte, 3000000)); err != nil {
		t.Errorf("stdin: %v", err)
	}
	c.in.Close()
	if n, err := io.Copy(io.Discard, c.out); n != 5000000 || err != nil {
		t.Errorf("stdout gave %d bytes, %v", n, err)
	}
	if e, err := c.Wait(); err != nil || e.Code != 0 || e.Signal != 0 {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestLost: a link that ends in the midst ends both sides, within the time it takes to end a command.
func TestLost(t *testing.T) {
	r := newRig(t)
	c := r.must("sh", "-c", "trap '' HUP TERM; echo up; sleep 1000; sleep 1000")
	line := make([]byte, 3)
	if _, err := io.ReadFull(c.out, line); err != nil || string(line) != "up\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if c.Pid.Host() != 2 || c.Host != "h2" {
		t.Errorf("it is %v on %s", c.Pid, c.Host)
	}
	begin := time.Now()
	r.near.Close()
	if _, err := c.Wait(); !errors.Is(err, syscall.EHOSTDOWN) || strings.Contains(err.Error(), "\n") {
		t.Errorf("the caller hears %v", err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("after %v", took)
	}
	noGroups(t)
	if took := time.Since(begin); took < grace || took > grace+time.Second {
		t.Errorf("it was ended after %v, want %v", took, grace)
	}
	if err := unix.Kill(c.Pid.Local(), 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("it lives: %v", err)
	}
}

// TestStop: a host's daemon that stops ends commands, and says so; what a command left lives on until it ends by itself.
func TestStop(t *testing.T) {
	r := newRig(t)
	left := r.must("sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!")
	out, err := io.ReadAll(left.out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := left.Wait(); err != nil {
		t.Fatal(err)
	}
	c := r.must("sleep", "1000")
	r.host.Close()
	if _, err := c.Wait(); err == nil || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("the caller hears %v", err)
	}
	if _, err := r.start("true"); err == nil || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("one more: %v", err)
	}
	sleeper := strings.TrimSpace(string(out))
	comm, err := os.ReadFile("/proc/" + sleeper + "/comm")
	if err != nil || string(comm) != "sleep\n" {
		t.Fatalf("what was left: %q, %v", comm, err)
	}
	// The daemon that comes after it takes it over.
	next := NewServer(slog.New(slog.DiscardHandler))
	defer next.Close()
	next.left.mu.Lock()
	n := len(next.left.groups)
	next.left.mu.Unlock()
	if n != 1 {
		t.Errorf("%d groups were taken over, want 1", n)
	}
	if err := unix.Kill(atoi(t, sleeper), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	noGroups(t)
}

// TestSweep: a daemon that was killed leaves groups; the next one kills what runs in them.
func TestSweep(t *testing.T) {
	r := newRig(t)
	c := r.must("sleep", "1000")
	dir, err := groupDir()
	if err != nil {
		t.Fatal(err)
	}
	sweep(dir, func(g *group) { t.Errorf("%s is in use, and was taken", g.path) }, r.host.log)
	paths, err := filepath.Glob(filepath.Join(dir, groupPrefix+"*"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("%q, %v", paths, err)
	}
	held := heldGroup(t, paths[0])
	unix.Close(held) // as the kernel does when a daemon dies
	next := NewServer(slog.New(slog.DiscardHandler))
	defer next.Close()
	if e, err := c.Wait(); err != nil || e.Signal != int(unix.SIGKILL) {
		t.Errorf("%+v, %v", e, err)
	}
	noGroups(t)
}

// heldGroup finds the descriptor that holds a group.
func heldGroup(t *testing.T, path string) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range fds {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); to == path {
			return atoi(t, e.Name())
		}
	}
	t.Fatalf("nobody holds %s", path)
	return -1
}

// noGroups waits until no group is left.
func noGroups(t *testing.T) {
	t.Helper()
	dir, err := groupDir()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		paths, err := filepath.Glob(filepath.Join(dir, groupPrefix+"*"))
		if err == nil && len(paths) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left: %q, %v", paths, err)
		}
	}
}

// TestMortal: the daemon's protection from running out of memory is its own.
func TestMortal(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const file = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("123"), 0); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if now, err := os.ReadFile(file); err != nil || string(now) != "123\n" {
			t.Errorf("the daemon's own is %q, %v", now, err)
		}
		if err := os.WriteFile(file, before, 0); err != nil {
			t.Error(err)
		}
	}()
	r := newRig(t)
	c := r.must("sh", "-c", "(sleep 0.05; cat "+file+")& sleep 0.05; cat "+file+"; wait")
	if out, err := io.ReadAll(c.out); err != nil || string(out) != "0\n0\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := c.Wait(); err != nil {
		t.Error(err)
	}
}

// TestRefusals: what cannot be run is refused with its reason, before anything is left behind.
func TestRefusals(t *testing.T) {
	r := newRig(t)
	for _, k := range []struct {
		args []string
		want error
	}{
		{[]string{"nosuch-command"}, unix.ENOENT},
		{[]string{"/etc/passwd"}, unix.EACCES},
		{[]string{"/etc/passwd/x"}, unix.ENOTDIR},
		{[]string{""}, unix.ENOENT},
		{[]string{"true", strings.Repeat("x", 200<<10)}, unix.E2BIG},
	} {
		_, err := r.start(k.args...)
		if n, ok := errors.AsType[*control.NotExecuted](err); !ok || n.Errno != k.want || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.40q: %v, want %v", k.args, err, k.want)
		}
	}
	plain, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	_, err = control.StartOn(t.Context(), r.path, control.OnCommand{Host: "h2", Args: []string{"true"}}, plain, plain, plain)
	if !errors.Is(err, unix.EINVAL) {
		t.Errorf("a file in place of a pipe: %v", err)
	}
	if _, err = control.StartOn(t.Context(), r.path, control.OnCommand{Host: "h2", Args: []string{"true"}}); !errors.Is(err, unix.EBADF) {
		t.Errorf("no descriptors: %v", err)
	}
	if _, err = control.StartOn(t.Context(), r.path, control.OnCommand{Host: "h3", Args: []string{"true", strings.Repeat("y", 1<<20)}}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("no such host: %v", err)
	}
	noGroups(t)
}

// TestBreach: an end that does not keep to the windows is told off, not believed.
func TestBreach(t *testing.T) {
	rd, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	defer w.Close()
	word := func(x *onpb.Word) []byte {
		b, err := marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, k := range []struct {
		name string
		msgs [][]byte
	}{
		{"nothing", [][]byte{{}}},
		{"no such descriptor", [][]byte{{3, 1}}},
		{"a descriptor of the other end", [][]byte{{stdin, 1}}},
		{"more than the window", [][]byte{bytes.Repeat([]byte{stdout}, window), {stdout, 1, 1, 1}}},
		{"bytes after the end", [][]byte{word(&onpb.Word{Kind: onpb.Word_END, Fd: stdout}), {stdout, 1}}},
		{"credit for what was not sent", [][]byte{word(&onpb.Word{Kind: onpb.Word_CREDIT, Fd: stdin, N: 1})}},
		{"no credit", [][]byte{word(&onpb.Word{Kind: onpb.Word_CREDIT, Fd: stdin})}},
		{"credit that overflows", [][]byte{word(&onpb.Word{Kind: onpb.Word_CREDIT, Fd: stdin, N: 1 << 31})}},
		{"credit for no descriptor", [][]byte{word(&onpb.Word{Kind: onpb.Word_CREDIT, Fd: 1 << 30, N: 1})}},
		{"no word", [][]byte{{wordMark, 0xff}}},
	} {
		c := &carrier{}
		c.sources[stdin], c.sinks[stdout] = newSource(rd), newSink(w)
		var err error
		for _, m := range k.msgs {
			_, err = c.hear(m)
		}
		if !errors.Is(err, unix.EBADMSG) {
			t.Errorf("%s: %v, want EBADMSG", k.name, err)
		}
	}
}

// TestCaller: what is refused of a caller, whom the kernel knows better than he does.
func TestCaller(t *testing.T) {
	me := control.Caller{Pid: os.Getpid(), UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	x, err := readCaller(me)
	if err != nil {
		t.Fatal(err)
	}
	if x.Uid != me.UID || x.Gid != me.GID || len(x.Limits) != 2*(unix.RLIMIT_RTTIME+1) {
		t.Errorf("%v", x)
	}
	if n := x.Limits[2*unix.RLIMIT_NOFILE]; n > softFiles {
		t.Errorf("%d open files, want at most %d", n, softFiles)
	}
	other, nobody := me, me
	other.UID++
	nobody.Pid = 0 // as in another pid name space
	for name, who := range map[string]control.Caller{"who has changed": other, "who is not to be seen": nobody} {
		if _, err := readCaller(who); err == nil {
			t.Errorf("a caller %s is believed", name)
		}
	}
	if err := unconfined("/proc/self", 1); err != nil {
		t.Errorf("one filter, as in a session: %v", err)
	}
	if err := unconfined("/proc/self", 2); !errors.Is(err, unix.EPERM) {
		t.Errorf("a sandbox: %v", err)
	}
}
