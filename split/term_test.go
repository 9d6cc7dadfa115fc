package split

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// screen is a terminal of the machine with a command on it.
type screen struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	mu     sync.Mutex
	out    bytes.Buffer
}

// onScreen starts a command line as the session leader of a new terminal of 24 lines of 80.
func onScreen(t *testing.T, args ...string) *screen {
	t.Helper()
	master, slave, err := openTerminal(24, 80, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	s := &screen{t: t, master: master, cmd: onehost(t, args...)}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = slave, slave, slave
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			s.mu.Lock()
			s.out.Write(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { master.Close() })
	return s
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

func (s *screen) shows(what string) {
	s.t.Helper()
	eventually(s.t, "the screen shows "+what, func() bool { return strings.Contains(s.text(), what) })
}

func (s *screen) keys(k string) {
	s.t.Helper()
	if _, err := s.master.WriteString(k); err != nil {
		s.t.Fatal(err)
	}
}

func TestTerminal(t *testing.T) {
	up(t, Config{Name: "t-tty", Hosts: 1})
	s := onScreen(t, "split", "exec", "--name", "t-tty", "h1", "--", "sh", "-c",
		`trap 'echo got int' INT; tty; stty size; echo ready; read x; echo "x is $x"; read y; `+
			`until [ "$(stty size)" = "30 100" ]; do sleep 0.01; done; echo resized; exit 5`)
	s.shows("ready")
	if got := s.text(); !strings.Contains(got, "/dev/pts/0") || !strings.Contains(got, "24 80") {
		t.Errorf("the terminal of the host: %q", got)
	}
	s.keys("abc\r")
	s.shows("x is abc")
	s.keys("\x03")
	s.shows("got int")
	if err := unix.IoctlSetWinsize(fdOf(t, s.master), unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 100}); err != nil {
		t.Fatal(err)
	}
	s.keys("def\r")
	s.shows("resized")
	if err := s.cmd.Wait(); s.cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("exit: %v; want status 5: %q", err, s.text())
	}
}

// ^Z stops the program in the host and then the command itself, with the terminal as it was; SIGCONT lets both go on.
func TestTerminalStop(t *testing.T) {
	up(t, Config{Name: "t-stop", Hosts: 1})
	s := onScreen(t, "split", "exec", "--name", "t-stop", "h1", "--", "sh", "-c", "echo ready; while :; do :; done")
	s.shows("ready")
	s.keys("\x1a")
	var ws unix.WaitStatus
	eventually(t, "the command stops", func() bool {
		pid, err := unix.Wait4(s.cmd.Process.Pid, &ws, unix.WUNTRACED|unix.WNOHANG, nil)
		return err == nil && pid == s.cmd.Process.Pid && ws.Stopped()
	})
	tio, err := unix.IoctlGetTermios(fdOf(t, s.master), unix.TCGETS)
	if err != nil || tio.Lflag&unix.ICANON == 0 {
		t.Errorf("the terminal stays raw while the command is stopped (%v)", err)
	}
	if err := unix.Kill(s.cmd.Process.Pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the terminal is raw again", func() bool {
		tio, err := unix.IoctlGetTermios(fdOf(t, s.master), unix.TCGETS)
		return err == nil && tio.Lflag&unix.ICANON == 0
	})
	s.keys("\x03")
	_ = s.cmd.Wait()
	if got := s.cmd.ProcessState.ExitCode(); got != 128+int(unix.SIGINT) {
		t.Errorf("^C after going on: status %d; want 130", got)
	}
}

// A terminal that goes away takes the program along.
func TestTerminalHangsUp(t *testing.T) {
	up(t, Config{Name: "t-hup", Hosts: 1})
	s := onScreen(t, "split", "exec", "--name", "t-hup", "h1", "--", "sh", "-c", "echo ready; while :; do sleep 1; done")
	s.shows("ready")
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait()
	g, err := instance("t-hup").cgroups()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "only the init is left", func() bool { return len(g.procs("h1")) == 1 })
}

// fdOf gives the descriptor without making the file block, as Fd would.
func fdOf(t *testing.T, f *os.File) int {
	t.Helper()
	rc, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	if err := rc.Control(func(n uintptr) { fd = int(n) }); err != nil {
		t.Fatal(err)
	}
	return fd
}
