package proc

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// TestLocalAllocatesNothing: resolving a process of this host and calling it costs the system call.
func TestLocalAllocatesNothing(t *testing.T) {
	ctx, pid := t.Context(), os.Getpid()
	var p Process
	for name, op := range map[string]func() error{
		"signal":   func() error { p = Here(pid); return p.Signal(ctx, Daemon, Signal{}) },
		"group":    func() error { p = Here(pid); _, err := p.Group(ctx, Daemon); return err },
		"session":  func() error { p = Here(pid); _, err := p.Session(ctx, Daemon); return err },
		"priority": func() error { p = Here(pid); _, err := p.Priority(ctx, Daemon, OfProcess); return err },
		"nobody":   func() error { p = Nobody; _ = p.Signal(ctx, Daemon, Signal{}); return nil },
	} {
		if err := op(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := testing.AllocsPerRun(100, func() { _ = op() }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestRights: the kernel decides by the caller's ids and capabilities, and by nothing of this process's own.
func TestRights(t *testing.T) {
	needRoot(t)
	ctx := t.Context()
	roots, users := Here(sleeper(t, 0).Process.Pid), Here(sleeper(t, user).Process.Pid)
	us := Here(os.Getpid())
	if unix.Getpgrp() == 0 { // that of a process outside of this pid name space
		if err := unix.Setpgid(0, 0); err != nil {
			t.Fatal(err)
		}
	}
	group := unix.Getpgrp()
	mayKill := callerOf(user)
	mayKill.Capabilities = 1 << unix.CAP_KILL
	word := make([]byte, 8)
	at := []sys.Span{{Base: 0x1000, Len: 8}} // nothing is there: EFAULT once it is allowed
	for _, c := range []struct {
		name string
		got  error
		want error
	}{
		{"user kills root's", roots.Signal(ctx, callerOf(user), Signal{}), syscall.EPERM},
		{"user kills his own", users.Signal(ctx, callerOf(user), Signal{}), nil},
		{"other kills user's", users.Signal(ctx, callerOf(other), Signal{}), syscall.EPERM},
		{"root kills user's", users.Signal(ctx, root(), Signal{}), nil},
		{"user kills this daemon", us.Signal(ctx, callerOf(user), Signal{}), syscall.EPERM},
		{"user kills a thread of this daemon", us.Signal(ctx, callerOf(user), Signal{Scope: ToThread}), syscall.EPERM},
		{"user kills this daemon's group", Here(group).Signal(ctx, callerOf(user), Signal{Scope: ToGroup}), syscall.EPERM},
		{"user with CAP_KILL kills root's", roots.Signal(ctx, mayKill, Signal{}), nil},
		{"user queues to root's", roots.Signal(ctx, callerOf(user), Signal{Number: 0, Info: make([]byte, InfoSize)}), syscall.EPERM},
		{"user renices root's", roots.SetPriority(ctx, callerOf(user), OfProcess, 5), syscall.EPERM},
		{"user renices his own", users.SetPriority(ctx, callerOf(user), OfProcess, 5), nil},
		{"user renices his own back", users.SetPriority(ctx, callerOf(user), OfProcess, 0), syscall.EACCES},
		{"root renices it back", users.SetPriority(ctx, root(), OfProcess, 0), nil},
		{"user pins root's", roots.SetAffinity(ctx, callerOf(user), []byte{1, 0, 0, 0, 0, 0, 0, 0}), syscall.EPERM},
		{"user pins his own", users.SetAffinity(ctx, callerOf(user), []byte{1, 0, 0, 0, 0, 0, 0, 0}), nil},
		{"user schedules root's", roots.SetScheduler(ctx, callerOf(user), unix.SCHED_BATCH, 0), syscall.EPERM},
		{"user makes his own real time", users.SetScheduler(ctx, callerOf(user), unix.SCHED_FIFO, 1), syscall.EPERM},
		{"user asks for root's limits", second(roots.Limit(ctx, callerOf(user), unix.RLIMIT_NOFILE, nil)), syscall.EPERM},
		{"user asks for his own limits", second(users.Limit(ctx, callerOf(user), unix.RLIMIT_NOFILE, nil)), nil},
		{"user reads root's memory", second(roots.ReadMemory(ctx, callerOf(user), word, at)), syscall.EPERM},
		{"user reads this daemon's memory", second(us.ReadMemory(ctx, callerOf(user), word, at)), syscall.EPERM},
		{"user reads his own memory", second(users.ReadMemory(ctx, callerOf(user), word, at)), syscall.EFAULT},
		{"other writes user's memory", second(users.WriteMemory(ctx, callerOf(other), word, at)), syscall.EPERM},
		{"anybody asks for the nice value", second(roots.Priority(ctx, callerOf(user), OfProcess)), nil},
		{"setpgid of a stranger", users.SetGroup(ctx, callerOf(user), 0), syscall.ESRCH},
		{"a signal that is none", users.Signal(ctx, callerOf(user), Signal{Number: 65}), syscall.EINVAL},
		{"a signal that says the kernel sent it", users.Signal(ctx, callerOf(user), Signal{Number: 10, Info: info(10, 0x80)}), syscall.EPERM},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	if uid := unix.Geteuid(); uid != 0 {
		t.Errorf("this process is user %d now", uid)
	}
}

func second[T any](_ T, err error) error { return err }

func info(sig, code int32) []byte {
	b := make([]byte, InfoSize)
	b[0], b[8], b[9], b[10], b[11] = byte(sig), byte(code), byte(code>>8), byte(code>>16), byte(code>>24)
	return b
}

// TestWait: the status is known while the process is a zombie and after its parent has fetched it.
func TestWait(t *testing.T) {
	for _, fetch := range []bool{false, true} {
		for script, want := range map[string]Status{
			"read x; exit 7":     {Known: true, Code: 7},
			"read x; kill -9 $$": {Known: true, Signal: 9},
		} {
			cmd := exec.Command("sh", "-c", script)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			type ended struct {
				Status
				err error
			}
			got := make(chan ended, 1)
			p := Here(cmd.Process.Pid)
			pidfd, err := p.open()
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				st, err := awaitEnd(t.Context(), pidfd, p.number())
				got <- ended{st, err}
			}()
			in.Close()
			var r ended
			if fetch {
				_ = cmd.Wait() // the status is what is tested
				r = <-got
			} else {
				r = <-got
				_ = cmd.Wait()
			}
			pidfd.Close()
			if r.err != nil || r.Status != want {
				t.Errorf("%s, fetched first %v: %+v, want %+v", script, fetch, r, want)
			}
			if _, err := p.Wait(t.Context()); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("waiting for what has ended: %v", err)
			}
		}
	}
}
