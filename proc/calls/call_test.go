package calls

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc"
	"github.com/onehost/onehost/sys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	nr, args, err := parse("302 0x20005 0x7 0x7ffc80a3e5e0 0x0 0xffffffffffffffff 0x1 0x7ffc80a3e598 0x7fd1e73cf829")
	if err != nil || nr != 302 || args != [6]uint64{0x20005, 7, 0x7ffc80a3e5e0, 0, ^uint64(0), 1} {
		t.Errorf("%d %v %v", nr, args, err)
	}
	for _, line := range []string{"", "running", "-1 0x7ffc80a3e598 0x7fd1e73cf829", "x 0x1 0x2 0x3 0x4 0x5 0x6 0x7 0x8", "1 0x1 0x2 0x3 z 0x5 0x6 0x7 0x8"} {
		if nr, args, err := parse(line); err == nil {
			t.Errorf("%q: %d %v", line, nr, args)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("302 0x20005 0x7 0x7ffc80a3e5e0 0x0 0xffffffffffffffff 0x1 0x7ffc80a3e598 0x7fd1e73cf829")
	f.Fuzz(func(t *testing.T, line string) {
		if _, _, err := parse(line); err == nil && len(strings.Fields(line)) != 9 {
			t.Errorf("%q is a call", line)
		}
	})
}

// TestPieces: cutting two lists of pieces of memory into messages moves each byte of one to its place in the other, once.
func TestPieces(t *testing.T) {
	list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) sys.Span {
		return sys.Span{Base: rapid.Uint64Range(0, 1000).Draw(t, "base"), Len: rapid.Uint64Range(0, 20).Draw(t, "len")}
	}), 0, 8)
	bytes := func(spans []sys.Span) (all []uint64) {
		for _, s := range spans {
			for i := range s.Len {
				all = append(all, s.Base+i)
			}
		}
		return all
	}
	rapid.Check(t, func(t *rapid.T) {
		spans, each := list.Draw(t, "spans"), rapid.IntRange(1, 30).Draw(t, "each")
		want := bytes(spans)
		if sum(spans) != uint64(len(want)) {
			t.Fatalf("sum %d of %d", sum(spans), len(want))
		}
		var got []uint64
		for moved := uint64(0); moved < uint64(len(want)); moved += uint64(each) {
			piece := cut(spans, moved, min(each, len(want)-int(moved)))
			for _, s := range piece {
				if s.Len == 0 {
					t.Fatal("a piece of nothing")
				}
			}
			got = append(got, bytes(piece)...)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
	if n := sum([]sys.Span{{Len: 1 << 62}, {Len: 1 << 62}, {Len: 1 << 62}, {Len: 1 << 62}}); n != 0x7ffff000 {
		t.Errorf("the most is %#x", n)
	}
}

// here is a space of one host, number 1.
type here struct{}

func (here) Self() names.Host { return 1 }

func (here) Process(pid names.Pid) proc.Process {
	if pid.Host() != 1 {
		return proc.Nobody
	}
	return proc.Here(pid.Local())
}
func (h here) Group(pid names.Pid) proc.Process                    { return h.Process(pid) }
func (here) SignalLeased(context.Context, *proc.Caller, int) error { return syscall.ESRCH }

// TestWhoMayAsk: only root and the user of a thread may have its call carried out, and it must wait in one.
func TestWhoMayAsk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	path := filepath.Join(t.TempDir(), "control.sock")
	srv, err := control.Listen(path, map[string]control.Handler{control.OpCall: func(ctx context.Context, who control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
		var as struct{ As uint32 }
		if err := json.Unmarshal(body, &as); err != nil {
			return err
		}
		who.UID = as.As // as if that user had asked
		return Handler(here{})(ctx, who, c, body, files)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	const user = 65534
	// A thread that waits in a call of the table: wait4 for a child.
	cmd := exec.Command("sh", "-c", "sleep 1000; :")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: user, Gid: user}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait()
	}()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if waitsIn(cmd.Process.Pid, unix.SYS_WAIT4) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the shell does not wait")
		}
	}
	roots := exec.Command("sleep", "1000")
	if err := roots.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = roots.Process.Kill()
		_ = roots.Wait() // killed
	}()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if waitsIn(roots.Process.Pid, unix.SYS_CLOCK_NANOSLEEP) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it does not sleep")
		}
	}
	type request struct {
		TID int    `json:"tid"`
		As  uint32 `json:"As"`
	}
	for _, c := range []struct {
		name string
		req  request
		want error
	}{
		{"its user", request{cmd.Process.Pid, user}, nil},
		{"root", request{cmd.Process.Pid, 0}, nil},
		{"another user", request{cmd.Process.Pid, user - 1}, syscall.EPERM},
		{"about root's thread", request{roots.Process.Pid, user}, syscall.EPERM},
		{"about nobody's", request{1 << 30, 0}, syscall.ESRCH},
		{"about none", request{0, 0}, syscall.EINVAL},
		{"about all", request{-1, 0}, syscall.EINVAL},
	} {
		var reply control.CallReply
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := control.Call(ctx, path, control.OpCall, c.req, &reply)
		cancel()
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if c.want == nil && reply.Errno != int(syscall.ECHILD) {
			t.Errorf("%s: %+v, want ECHILD", c.name, reply)
		}
	}
}

func waitsIn(tid, nr int) bool {
	c, err := Read(tid)
	if err != nil {
		return false
	}
	defer c.Close()
	return c.Nr == nr
}

// TestOneMoment: the rights of a call are those that its thread had when it made it, whatever becomes of the thread meanwhile; and what is
// written goes into the memory that it had then.
func TestOneMoment(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	// It sleeps as a user and as root by turns, for times of their own.
	const program = `
import ctypes, os
libc = ctypes.CDLL(None)
users = (ctypes.c_long * 2)(0, 200000); roots = (ctypes.c_long * 2)(0, 300000)
while True:
    os.setresuid(65534, 65534, 0); libc.syscall(230, 1, 0, users, None)
    os.setresuid(0, 0, 0); libc.syscall(230, 1, 0, roots, None)
`
	cmd := exec.Command("python3", "-c", program)
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}()
	seen := map[uint64]int{}
	for end := time.Now().Add(20 * time.Second); (seen[200000] < 200 || seen[300000] < 200) && time.Now().Before(end); {
		c, err := Read(cmd.Process.Pid)
		if err != nil {
			continue
		}
		if c.Nr == unix.SYS_CLOCK_NANOSLEEP {
			b, err := c.read(c.Args[2]+8, 8)
			if err == nil {
				ns := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16
				if user := c.Who.UID[1] != 0; (ns == 200000) != user {
					t.Fatalf("a sleep of %d ns by user %d", ns, c.Who.UID[1])
				}
				seen[ns]++
			}
		}
		c.Close()
	}
	if seen[200000] == 0 || seen[300000] == 0 {
		t.Errorf("seen %v", seen)
	}
	old, err := Read(cmd.Process.Pid)
	if err != nil {
		t.Skip(err) // it never lay still
	}
	defer old.Close()
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed
	if err := old.write(old.Args[2], []byte("x")); !errors.Is(err, syscall.EFAULT) {
		t.Errorf("into the memory of what has ended: %v", err)
	}
}
