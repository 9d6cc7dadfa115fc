package sys

import (
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const dieEnv = "ONEHOST_TEST_DIE"

// TestDie: a process ends by the signal itself, also by those that Go's runtime has handlers of its own for.
func TestDie(t *testing.T) {
	if n, err := strconv.Atoi(os.Getenv(dieEnv)); err == nil {
		signal.Notify(make(chan os.Signal, 1))
		if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
			t.Fatal(err)
		}
		Die(syscall.Signal(n))
		os.Exit(0)
	}
	for _, sig := range []syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGSEGV, unix.SIGUSR1, unix.SIGPIPE, unix.SIGALRM, unix.SIGTERM, unix.SIGKILL, 40, 64} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestDie$")
		cmd.Env = append(os.Environ(), dieEnv+"="+strconv.Itoa(int(sig)))
		_ = cmd.Run() // how it ended is what is looked at
		if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != sig {
			t.Errorf("%v: %v", sig, cmd.ProcessState)
		}
	}
}
