package session

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/sys"
)

// TestToGroup: a signal to a ghost alone is one for its job's process alone; one to its process group, whoever sends it and in
// whatever group the ghost is, is one for the job's whole group, and comes once.
func TestToGroup(t *testing.T) {
	need(t, "python3")
	f := newFake(t)
	// The first job is in run's group, the second leads one of its own; the spreader sends to groups when it is told to.
	const program = `
import os, signal, subprocess, sys
signal.signal(signal.SIGUSR1, signal.SIG_IGN); signal.signal(signal.SIGUSR2, signal.SIG_IGN)
one = subprocess.Popen(["/bin/echo", "job", "order", "order", "order", "order", "order", "hold"])
two = subprocess.Popen(["/bin/echo", "job", "order", "order", "order", "order", "order", "hold"], process_group=0)
for line in sys.stdin:
    what, sig = line.split()
    os.kill({"own": 0, "two": -two.pid}[what], int(sig))
`
	cmd, _, _ := f.command(t, nil, "python3", "-c", program)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait()
	}()
	eventually(t, "two jobs", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.execs) == 2 })
	for i := range 2 {
		eventually(t, "a ghost", func() bool { return stateOf(f.ghostPid(i)) == 'S' })
	}
	one, two := f.ghostPid(0), f.ghostPid(1)
	if st, err := sys.ReadProcStat(one); err != nil || st.Pgid != cmd.Process.Pid {
		one, two = two, one
	}
	kill := func(pid int, sig syscall.Signal) func() error {
		return func() error { return unix.Kill(pid, sig) }
	}
	say := func(what string, sig syscall.Signal) func() error {
		return func() error {
			_, err := in.Write([]byte(what + " " + strconv.Itoa(int(sig)) + "\n"))
			return err
		}
	}
	type got struct {
		signal syscall.Signal
		group  bool
	}
	for _, c := range []struct {
		name string
		send func() error
		want []got
	}{
		{"one alone", kill(one, unix.SIGUSR1), []got{{unix.SIGUSR1, false}}},
		{"run's group", kill(-cmd.Process.Pid, unix.SIGUSR1), []got{{unix.SIGUSR1, true}}},
		{"one alone after it", kill(one, unix.SIGUSR1), []got{{unix.SIGUSR1, false}}},
		{"run's group, from inside", say("own", unix.SIGUSR2), []got{{unix.SIGUSR2, true}}},
		{"two alone", kill(two, unix.SIGUSR2), []got{{unix.SIGUSR2, false}}},
		{"another group, from inside", say("two", unix.SIGUSR1), []got{{unix.SIGUSR1, true}}},
		{"two alone after it", kill(two, unix.SIGUSR1), []got{{unix.SIGUSR1, false}}},
		{"run's group again", kill(-cmd.Process.Pid, unix.SIGURG), []got{{unix.SIGURG, true}}},
		{"one alone again", kill(one, unix.SIGURG), []got{{unix.SIGURG, false}}},
	} {
		f.mu.Lock()
		f.orders = nil
		f.mu.Unlock()
		if err := c.send(); err != nil {
			t.Fatal(err)
		}
		var orders []control.JobOrder
		eventually(t, c.name, func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			orders = append([]control.JobOrder(nil), f.orders...)
			return len(orders) >= len(c.want)
		})
		for i, o := range orders {
			if i >= len(c.want) || (got{syscall.Signal(o.Signal), o.Group}) != c.want[i] {
				t.Errorf("%s: orders %+v, want %+v", c.name, orders, c.want)
				break
			}
		}
	}
}

// TestGroupSignalOnce: what goes to all of run's group reaches its command once, and what goes to run alone as well, however late the
// witness is.
func TestGroupSignalOnce(t *testing.T) {
	need(t, "python3")
	f := newFake(t)
	got := filepath.Join(t.TempDir(), "got")
	cmd, wait := f.start(t, 0, "python3", "-c", `import os, signal, sys, time
signal.signal(signal.SIGUSR1, lambda *a: os.write(f, b"1"))
f = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
os.write(f, b"ready ")
while True: time.sleep(0.01)`, got)
	said := func() string {
		b, _ := os.ReadFile(got)
		return string(b)
	}
	eventually(t, "it counts", func() bool { return said() == "ready " })
	run := cmd.Process.Pid
	witness := 0
	for _, p := range descendants(run) { // in run's group, as the command, and of the same program as run
		comm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p), "comm"))
		if st, serr := sys.ReadProcStat(p); err == nil && serr == nil && st.Pgid == run && !strings.HasPrefix(string(comm), "python") {
			witness = p
		}
	}
	if witness == 0 {
		t.Fatal("there is no witness")
	}
	send := func(pid int, sig syscall.Signal) {
		t.Helper()
		if err := unix.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
	}
	send(witness, unix.SIGSTOP)
	eventually(t, "the witness stands still", func() bool { return stateOf(witness) == 'T' })
	want := "ready "
	for _, to := range []int{-run, run, -run, -run, run, run} {
		send(to, unix.SIGUSR1)
		want += "1"
		eventually(t, "it gets the signal", func() bool { return said() == want })
		time.Sleep(100 * time.Millisecond) // another one would come
		if said() != want {
			t.Fatalf("to %d: it has got %q, want %q", to, said(), want)
		}
		if to == -run {
			send(witness, unix.SIGCONT)
			eventually(t, "the witness has counted", func() bool { // it sleeps only then
				state, pending := signalState(witness, int(unix.SIGUSR1))
				return state == 'S' && !pending
			})
			send(witness, unix.SIGSTOP)
			eventually(t, "the witness stands still", func() bool { return stateOf(witness) == 'T' })
		}
	}
	send(run, unix.SIGTERM)
	wait()
}
