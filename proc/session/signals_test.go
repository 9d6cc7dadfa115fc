package session

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// start begins a run and waits until the daemon has n jobs of it.
func (f *fake) start(t *testing.T, n int, argv ...string) (*exec.Cmd, func() syscall.WaitStatus) {
	t.Helper()
	cmd, _, _ := f.command(t, nil, argv...)
	cmd.WaitDelay = 5 * time.Second
	// The kernel drops SIGTSTP for an orphaned process group, which the one of this test is when what began it has ended.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // the status is looked at
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	eventually(t, "jobs", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.execs) >= n
	})
	return cmd, func() syscall.WaitStatus {
		t.Helper()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("run does not end")
		}
		return cmd.ProcessState.Sys().(syscall.WaitStatus)
	}
}

func (f *fake) ghostPid(i int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.execs[i].Pid
}

// TestKillGhost: a signal to the ghost reaches its job, and the ghost dies of what the job dies of.
func TestKillGhost(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGUSR1, unix.SIGKILL, unix.SIGSEGV} {
		t.Run(sig.String(), func(t *testing.T) {
			f := newFake(t)
			_, wait := f.start(t, 1, "/bin/echo", "job", "hold")
			eventually(t, "it is a ghost", func() bool { return stateOf(f.ghostPid(0)) == 'S' })
			if err := unix.Kill(f.ghostPid(0), sig); err != nil {
				t.Fatal(err)
			}
			st := wait()
			if sig == unix.SIGSEGV || sig == unix.SIGUSR1 {
				if st.ExitStatus() != 128+int(sig) && st.Signal() != sig {
					t.Errorf("status %#x", st)
				}
			} else if st.Signal() != sig {
				t.Errorf("status %#x, want signal %d", st, sig)
			}
			eventually(t, "the job hears of it", func() bool { return slices.Contains(f.ordered(), int(sig)) })
		})
	}
}

// TestKilledWhileHeld kills a process that is stopped at its exec, where it cannot be detached from any more: its parent must
// be told of its end all the same.
func TestKilledWhileHeld(t *testing.T) {
	for name, next := range map[string]string{"before it is a ghost": "hold", "before it is let go": "refuse"} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			_, wait := f.start(t, 1, "/bin/echo", "job", "murder", next)
			if st := wait(); st.Signal() != unix.SIGKILL {
				t.Errorf("status %#x, want SIGKILL", st)
			}
		})
	}
}

// TestRunKilledWhileHeld kills run when the host has the image, and before there is a ghost: what may run elsewhere must not
// run here as well.
func TestRunKilledWhileHeld(t *testing.T) {
	f := newFake(t)
	ran := filepath.Join(t.TempDir(), "ran")
	_, wait := f.start(t, 1, "sh", "-c", "echo ran > "+ran+"; exec sleep 1000 # job regicide")
	pid := f.ghostPid(0)
	keeper := parentOf(t, pid)
	eventually(t, "the keeper stands still", func() bool { return stateOf(keeper) == 'T' })
	wait()
	eventually(t, "it dies with run", func() bool { return stateOf(pid) == 'Z' || stateOf(pid) == 0 })
	if _, err := os.Stat(ran); err == nil {
		t.Error("it ran here")
	}
	if err := unix.Kill(keeper, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the keeper ends", func() bool { return stateOf(keeper) == 0 || stateOf(keeper) == 'Z' })
}

// TestPassed: what is sent to run alone reaches CMD, once.
func TestPassed(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP} {
		f := newFake(t)
		cmd, wait := f.start(t, 1, "/bin/echo", "job", "hold")
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if st := wait(); st.Signal() != sig {
			t.Errorf("status %#x, want signal %d", st, sig)
		}
		if got := f.ordered(); !slices.Equal(got, []int{int(sig)}) {
			t.Errorf("orders %v", got)
		}
	}
}

// TestStopContinue: stops and continues go both ways.
func TestStopContinue(t *testing.T) {
	for _, sig := range []syscall.Signal{unix.SIGTSTP, unix.SIGSTOP} {
		f := newFake(t)
		_, wait := f.start(t, 1, "sh", "-c", ": job hold") // make would be stopped with it
		pid := f.ghostPid(0)
		if err := unix.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the ghost stops", func() bool { st, err := sys.ReadProcStat(pid); return err == nil && st.State == 'T' })
		eventually(t, "the job stops", func() bool { return slices.Contains(f.ordered(), int(sig)) })
		eventually(t, "run stops with CMD", func() bool { return stateOf(parentOf(t, parentOf(t, pid))) == 'T' })
		if err := unix.Kill(parentOf(t, parentOf(t, pid)), unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the ghost goes on", func() bool { return stateOf(pid) == 'S' })
		eventually(t, "the job goes on", func() bool { return slices.Contains(f.ordered(), int(unix.SIGCONT)) })
		if err := unix.Kill(pid, unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if st := wait(); st.Signal() != unix.SIGTERM {
			t.Errorf("status %#x", st)
		}
	}
}

// TestStopAfterContinue: a SIGCONT that came to run alone is passed on, but not to a CMD that was stopped after it, though that becomes known late.
func TestStopAfterContinue(t *testing.T) {
	f := newFake(t)
	_, wait := f.start(t, 1, "sh", "-c", ": job hold")
	pid := f.ghostPid(0)
	keeper := parentOf(t, pid)
	run := parentOf(t, keeper)
	send := func(to int, sig syscall.Signal) {
		t.Helper()
		if err := unix.Kill(to, sig); err != nil {
			t.Fatal(err)
		}
	}
	stops := func(what string, to int) {
		t.Helper()
		eventually(t, what, func() bool { return stateOf(to) == 'T' })
	}
	eventually(t, "it is a ghost", func() bool { return stateOf(pid) == 'S' })
	send(keeper, unix.SIGSTOP)
	stops("the keeper stands still", keeper)
	send(run, unix.SIGCONT)
	send(pid, unix.SIGSTOP)
	time.Sleep(4 * aloneTime) // for what is not to come
	if got := stateOf(pid); got != 'T' {
		t.Errorf("CMD is in state %c: an older SIGCONT has undone its stop", got)
	}
	send(keeper, unix.SIGCONT)
	stops("run stops with CMD", run)
	send(run, unix.SIGCONT)
	eventually(t, "CMD goes on", func() bool { return stateOf(pid) == 'S' })
	send(pid, unix.SIGTERM)
	if st := wait(); st.Signal() != unix.SIGTERM {
		t.Errorf("status %#x", st)
	}
}

// TestBelatedNews: what a job did before it got a signal does nothing to a ghost that has got it.
func TestBelatedNews(t *testing.T) {
	need(t, "python3")
	f := newFake(t)
	f.start(t, 1, "python3", "-c", "import subprocess; subprocess.run(['/bin/echo', 'job', 'belated', '3', 'hold'])")
	pid := f.ghostPid(0)
	send := func(sig syscall.Signal) {
		t.Helper()
		if err := unix.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the job is told", func() bool { o := f.ordered(); return len(o) > 0 && o[len(o)-1] == int(sig) })
	}
	leads := func() bool { st, err := sys.ReadProcStat(pid); return err == nil && st.Pgid == pid }
	send(unix.SIGCONT)
	eventually(t, "it goes on after the news of a stop", func() bool { return leads() && stateOf(pid) == 'S' })
	send(unix.SIGSTOP)
	time.Sleep(100 * time.Millisecond) // for the news of a continue
	if got := stateOf(pid); got != 'T' {
		t.Fatalf("state %c: the news of a continue has continued it", got)
	}
	send(unix.SIGCONT)
	eventually(t, "it goes on", func() bool { return stateOf(pid) == 'S' })
	time.Sleep(100 * time.Millisecond) // for the news of a stop
	if got := stateOf(pid); got != 'S' {
		t.Fatalf("state %c: the news of a stop has stopped it", got)
	}
}

// TestKeeperEndsWithSignalsPending: the keeper ends with its run, also when it is stopped and has got a signal.
func TestKeeperEndsWithSignalsPending(t *testing.T) {
	f := newFake(t)
	cmd, wait := f.start(t, 1, "sh", "-c", ": job hold")
	keeper := parentOf(t, f.ghostPid(0))
	for _, sig := range []syscall.Signal{unix.SIGSTOP, unix.SIGUSR1} {
		if err := unix.Kill(keeper, sig); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the keeper stands still", func() bool { return stateOf(keeper) == 'T' })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	wait()
	if err := unix.Kill(keeper, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the keeper ends", func() bool { return stateOf(keeper) == 0 || stateOf(keeper) == 'Z' })
}

func stateOf(pid int) byte {
	st, err := sys.ReadProcStat(pid)
	if err != nil {
		return 0
	}
	return st.State
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	st, err := sys.ReadProcStat(pid)
	if err != nil {
		t.Fatal(err)
	}
	return st.Ppid
}

// TestKillRun: whoever of run and keeper is killed, or all of run's process group, nothing of the session is left.
func TestKillRun(t *testing.T) {
	need(t, "make")
	dir := t.TempDir()
	mk := "all: a b c d\na b:\n\t@/bin/echo job hold\nc:\n\t@bash -c 'setsid sleep 1000 & wait'\nd:\n\t@python3 -c 'import os,time; os.fork() or (os.setsid(), os.fork()); time.sleep(1000)'\n.PHONY: a b c d\n"
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte(mk), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"run", "keeper", "group"} {
		t.Run(who, func(t *testing.T) {
			f := newFake(t)
			f.set(false, "job")
			cmd, wait := f.start(t, 2, "make", "-j8", "-C", dir)
			run := cmd.Process.Pid
			eventually(t, "the whole tree", func() bool { return len(descendants(run)) >= 10 })
			tree := descendants(run)
			victim := run
			if who == "keeper" {
				victim = tree[0]
			}
			if who == "group" { // as `kill -9 %1` of a shell does
				victim = -run
			}
			began := time.Now()
			if err := unix.Kill(victim, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "all are dead", func() bool {
				return !slices.ContainsFunc(tree, func(p int) bool { s := stateOf(p); return s != 0 && s != 'Z' })
			})
			if d := time.Since(began); d > 2*time.Second {
				t.Errorf("it took %v", d)
			}
			t.Logf("%d processes gone in %v", len(tree), time.Since(began))
			wait()
		})
	}
}

// TestTermEndsAll: run was asked to end, and CMD has ended of that: what CMD leaves behind, as make does its sub-make, is not waited for.
func TestTermEndsAll(t *testing.T) {
	need(t, "make")
	dir := t.TempDir()
	mk := "all:\n\t@cd . && $(MAKE) sub\nsub:\n\t@/bin/echo job hold\n.PHONY: all sub\n"
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte(mk), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFake(t)
	f.set(false, "job")
	cmd, wait := f.start(t, 1, "make", "-C", dir)
	tree := descendants(cmd.Process.Pid)
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if st := wait(); st.Signal() != unix.SIGTERM {
		t.Errorf("status %#x", st)
	}
	if slices.ContainsFunc(tree, func(p int) bool { s := stateOf(p); return s != 0 && s != 'Z' }) {
		t.Error("something lives")
	}
}

// TestDaemonDies: the session goes on, and what was elsewhere comes home.
func TestDaemonDies(t *testing.T) {
	need(t, "make")
	f := newFake(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte("all:\n\t@/bin/echo job hold\n\t@/bin/echo second\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, out, report := f.command(t, nil, "make", "--no-print-directory", "-C", dir)
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the job", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.execs) == 1 })
	f.srv.Close()
	if err := cmd.Wait(); err != nil || out.String() != "job hold\nsecond\n" {
		t.Errorf("%v, output %q", err, out)
	}
	b, err := os.ReadFile(report)
	if err != nil || strings.Count(string(b), "say\tonehostd is gone") != 1 {
		t.Errorf("%v, report %q", err, b)
	}
}

// TestTerminal: ^C and ^Z at a terminal, under a shell with job control.
func TestTerminal(t *testing.T) {
	need(t, "tmux", "bash", "make")
	f := newFake(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte("all: a b\na b:\n\t@/bin/echo job hold\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sock := filepath.Join(dir, "tmux")
	tmux := func(argv ...string) string {
		out, err := exec.Command("tmux", append([]string{"-S", sock, "-f", "/dev/null"}, argv...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %v: %v: %s", argv, err, out)
		}
		return string(out)
	}
	tmux("new-session", "-d", "-x", "150", "-y", "50", "bash --norc")
	defer func() { _ = exec.Command("tmux", "-S", sock, "kill-server").Run() }()
	sees := func(what string) {
		t.Helper()
		eventually(t, "the screen shows "+what, func() bool { return strings.Contains(tmux("capture-pane", "-p"), what) })
	}
	jobs := func(n int) {
		t.Helper()
		eventually(t, strconv.Itoa(n)+" jobs", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.execs) == n })
	}
	count := func(sig syscall.Signal, n int) {
		t.Helper()
		eventually(t, sig.String(), func() bool {
			got := 0
			for _, s := range f.ordered() {
				if s == int(sig) {
					got++
				}
			}
			return got == n
		})
	}
	tmux("send-keys", envRun+"="+f.path+" "+self+" make -j2 -C "+dir+"; echo status=$?", "Enter")
	jobs(2)
	tmux("send-keys", "C-z")
	count(unix.SIGTSTP, 2)
	sees("Stopped")
	for i := range 2 {
		eventually(t, "ghosts stop", func() bool { return stateOf(f.ghostPid(i)) == 'T' })
	}
	tmux("send-keys", "clear; fg", "Enter")
	count(unix.SIGCONT, 2)
	eventually(t, "ghosts go on", func() bool { return stateOf(f.ghostPid(0)) == 'S' && stateOf(f.ghostPid(1)) == 'S' })
	tmux("send-keys", "C-c")
	count(unix.SIGINT, 2)
	eventually(t, "ghosts end", func() bool { return stateOf(f.ghostPid(0)) == 0 && stateOf(f.ghostPid(1)) == 0 })
	tmux("send-keys", "echo status=$?", "Enter")
	sees("status=130")
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.orders {
		if o.Signal == int(unix.SIGINT) && o.Code != 0x80 {
			t.Errorf("^C came with si_code %d, want SI_KERNEL", o.Code)
		}
	}
}
