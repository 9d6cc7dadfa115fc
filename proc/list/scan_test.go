package list

import (
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/list/listpb"
)

func reader(ghosts map[int]names.Host) *Reader {
	return NewReader(Config{Nests: func() []Nest { return nil }, Elsewhere: func() map[int]names.Host { return ghosts }})
}

func find(t *testing.T, a *answer, pid int) *listpb.Proc {
	t.Helper()
	i := slices.IndexFunc(a.procs, func(p *listpb.Proc) bool { return int(p.Pid) == pid })
	if i < 0 {
		t.Fatalf("process %d is not listed", pid)
	}
	return a.procs[i]
}

// child starts a program that ends with the test.
func child(t testing.TB, words ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(words[0], words[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// TestRead holds a reading against what is known of a process that was just started.
func TestRead(t *testing.T) {
	before := time.Now()
	cmd := child(t, "nice", "-n", "5", "sleep", "1000")
	pid := cmd.Process.Pid
	r := reader(nil)
	var p *listpb.Proc
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) { // until it is sleep, and sleeps
		a, err := r.read(false)
		if err != nil {
			t.Fatal(err)
		}
		p = find(t, a, pid)
		if string(p.Command) == "sleep 1000" && p.State == 'S' {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v", p)
		}
	}
	sid, err := unix.Getsid(0) // 0 where the session's leader is outside of this pid name space
	if err != nil {
		t.Fatal(err)
	}
	if int(p.Ppid) != os.Getpid() || int(p.Pgid) != pid || int(p.Session) != sid || int(p.Uid) != os.Getuid() || string(p.Comm) != "sleep" || p.Nice != 5 ||
		p.Rss <= 0 || p.Kernel || p.Home != 0 || p.Elsewhere != 0 {
		t.Errorf("%v", p)
	}
	if began := time.Unix(0, p.StartedNs); began.Before(before.Add(-100*time.Millisecond)) || began.After(time.Now()) {
		t.Errorf("started %v, not after %v", began, before)
	}
	again, err := r.read(false)
	if err != nil {
		t.Fatal(err)
	}
	if q := find(t, again, pid); q.StartedNs != p.StartedNs {
		t.Errorf("started %d, and then %d", p.StartedNs, q.StartedNs)
	}
}

// TestReadRecent: what a display sees is at most some seconds old, and a new program is seen at once by its name.
func TestReadRecent(t *testing.T) {
	cmd := exec.Command("sh", "-c", "read line; exec sleep 1000")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	r := reader(nil)
	first, err := r.read(true)
	if err != nil {
		t.Fatal(err)
	}
	find(t, first, cmd.Process.Pid)
	if shared, err := r.read(true); err != nil || shared != first {
		t.Errorf("two readings at once: %v", err)
	}
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r.mu.Lock()
		r.last = nil // the next one is another reading
		r.mu.Unlock()
		a, err := r.read(true)
		if err != nil {
			t.Fatal(err)
		}
		p := find(t, a, cmd.Process.Pid)
		if string(p.Comm) == "sleep" && string(p.Command) == "sleep 1000" {
			break
		}
		if c := string(p.Command); c != "sh -c read line; exec sleep 1000" && !strings.HasPrefix(c, "[") { // in the midst of the exec
			t.Fatalf("%q runs %q", p.Comm, c)
		}
		if time.Now().After(deadline) {
			t.Fatal("the new program is not seen")
		}
	}
	r.mu.Lock()
	for pid, k := range r.known {
		if k.turn != r.turn {
			t.Errorf("process %d is remembered and gone", pid)
		}
	}
	r.mu.Unlock()
}

func TestReadGhost(t *testing.T) {
	cmd := child(t, "sleep", "1000")
	a, err := reader(map[int]names.Host{cmd.Process.Pid: 3}).read(false)
	if err != nil {
		t.Fatal(err)
	}
	if p := find(t, a, cmd.Process.Pid); p.Elsewhere != 3 {
		t.Errorf("%v", p)
	}
	if p := find(t, a, os.Getpid()); p.Elsewhere != 0 {
		t.Errorf("%v", p)
	}
	if len(a.users) == 0 || a.users[0] != "root" {
		t.Errorf("users of what is elsewhere: %v", a.users)
	}
}

// TestTell: whoever may not see others' processes is told of his own.
func TestTell(t *testing.T) {
	r := reader(map[int]names.Host{os.Getpid(): 2})
	a, err := r.tell(&listpb.Query{Home: true})
	if err != nil || len(a.procs) != 1 || int(a.procs[0].Pid) != os.Getpid() {
		t.Errorf("what a home knows: %v, %v", a, err)
	}
	for i, p := range []struct {
		uids [4]uint32
		want uint32
	}{{[4]uint32{5, 5, 5, 5}, 5}, {[4]uint32{5, 0, 0, 0}, nobody}, {[4]uint32{5, 5, 0, 5}, nobody}} {
		if got := owner(p.uids); got != p.want {
			t.Errorf("%d: %d, want %d", i, got, p.want)
		}
	}
}

func TestCommand(t *testing.T) {
	for text, want := range map[string]string{"": "[x]", "\x00\x00": "[x]", "a\x00b c\x00": "a b c", "a": "a", "\x00a\x00": " a"} {
		if got := command([]byte(text), "x"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	long := child(t, "sh", "-c", "sleep 1000; : "+strings.Repeat("x", 2*maxCommand))
	a, err := reader(nil).read(false)
	if err != nil {
		t.Fatal(err)
	}
	if p := find(t, a, long.Process.Pid); len(p.Command) != maxCommand {
		t.Errorf("%d bytes of a long command", len(p.Command))
	}
}

// BenchmarkRead reads this host's /proc with as many more processes as PROCS says: full, and as a display does.
func BenchmarkRead(b *testing.B) {
	n, _ := strconv.Atoi(os.Getenv("PROCS")) // unset: 0
	for range n {
		child(b, "sleep", "1000")
	}
	for _, recent := range []bool{false, true} {
		b.Run(map[bool]string{false: "full", true: "recent"}[recent], func(b *testing.B) {
			r := reader(nil)
			procs := 0
			for b.Loop() {
				r.last = nil // share nothing
				a, err := r.read(recent)
				if err != nil {
					b.Fatal(err)
				}
				procs = len(a.procs)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(procs), "us/process")
		})
	}
}

// TestReadInTheMidst: a process whose arguments are not there, of which another program was known, is looked at again the next time.
func TestReadInTheMidst(t *testing.T) {
	cmd := exec.Command("true") // dead and not waited for it has no arguments, as a process has none in the midst of an exec
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, out); err != nil { // to its end
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	pid := cmd.Process.Pid
	r := reader(nil)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := r.read(false); err != nil {
			t.Fatal(err)
		}
		if k := r.known[pid]; k != nil && k.command == "[true]" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not end")
		}
	}
	k := r.known[pid]
	k.comm, k.command = "before", "before it"
	for _, again := range []bool{true, false} { // it is read once more, and then known
		r.last = nil
		if _, err := r.read(true); err != nil {
			t.Fatal(err)
		}
		if k := r.known[pid]; k.command != "[true]" || k.read.IsZero() != again {
			t.Errorf("%q, read %v; to be read again: %v", k.command, k.read, again)
		}
	}
}
