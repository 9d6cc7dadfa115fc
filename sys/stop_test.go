package sys

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const stopEnv = "ONEHOST_TEST_STOP"

// stopper stops itself again and again, and says each time what it has left.
func stopper(sig syscall.Signal) {
	caught := make(chan os.Signal, 64)
	signal.Notify(caught, sig)
	for i := 0; ; i++ {
		Stop(sig, func() bool { return true })
		var w unix.WaitStatus
		_, err := unix.Wait4(-1, &w, unix.WALL|unix.WNOHANG, nil)
		fmt.Println(i, len(caught), err)
	}
}

// TestStop: a process stops by the signal as if it had no handler, and has one again while it is stopped: the next such signal does not stop it.
func TestStop(t *testing.T) {
	if n, err := strconv.Atoi(os.Getenv(stopEnv)); err == nil {
		stopper(syscall.Signal(n))
	}
	for _, sig := range []syscall.Signal{unix.SIGTSTP, unix.SIGTTIN} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestStop$")
			cmd.Env = append(os.Environ(), stopEnv+"="+strconv.Itoa(int(sig)))
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // no orphaned group, which would not be stopped
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait() // killed
			}()
			pid := cmd.Process.Pid
			lines := bufio.NewScanner(out)
			for i := range 20 {
				var w unix.WaitStatus
				if _, err := unix.Wait4(pid, &w, unix.WUNTRACED, nil); err != nil || !w.Stopped() || w.StopSignal() != sig {
					t.Fatalf("status %#x, %v; want a stop by %v", w, err, sig)
				}
				if hasGate {
					caught := func() bool {
						status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
						if err != nil {
							t.Fatal(err)
						}
						_, mask, _ := strings.Cut(string(status), "SigCgt:\t")
						mask, _, _ = strings.Cut(mask, "\n")
						bits, err := strconv.ParseUint(mask, 16, 64)
						if err != nil {
							t.Fatal(err)
						}
						return bits&(1<<(sig-1)) != 0
					}
					for end := time.Now().Add(10 * time.Second); !caught(); time.Sleep(100 * time.Microsecond) {
						if time.Now().After(end) {
							t.Fatal("while it is stopped it has no handler")
						}
					}
				}
				if err := unix.Kill(pid, unix.SIGCONT); err != nil {
					t.Fatal(err)
				}
				if !lines.Scan() || lines.Text() != fmt.Sprintf("%d 0 no child processes", i) { // no signal caught, and no child left
					t.Fatalf("it says %q", lines.Text())
				}
			}
		})
	}
}
