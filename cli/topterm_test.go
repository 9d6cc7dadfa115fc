package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
)

// pty opens a terminal of 80 by 24.
func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// TestTopRestoresTerminal: however top ends, the terminal is as it was, and what was on it is seen again.
func TestTopRestoresTerminal(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.sock")
	srv, err := control.Listen(path, (&daemon{}).handlers())
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	for name, end := range map[string]func(cmd *exec.Cmd, master *os.File) error{
		"q":    func(_ *exec.Cmd, master *os.File) error { _, err := master.WriteString("q"); return err },
		"^C":   func(_ *exec.Cmd, master *os.File) error { _, err := master.WriteString("\x03"); return err },
		"TERM": func(cmd *exec.Cmd, _ *os.File) error { return cmd.Process.Signal(syscall.SIGTERM) },
		"HUP":  func(cmd *exec.Cmd, _ *os.File) error { return cmd.Process.Signal(syscall.SIGHUP) },
		"-n":   func(*exec.Cmd, *os.File) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			master, slave := pty(t)
			before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"onehost", "top", "-d", "0.2", "--control", path}
			if name == "-n" {
				args = append(args, "-n", "2")
			}
			cmd := &exec.Cmd{Path: self, Args: args, Env: []string{"TERM=xterm", "HOME=" + dir}, Stdin: slave, Stdout: slave, Stderr: slave}
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			defer func() { _ = cmd.Process.Kill() }()
			out := &seen{}
			go out.read(master)
			if !out.wait(t, "cc -c a.c") || name != "-n" && end(cmd, master) != nil {
				t.Fatal("it is not there")
			}
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("it ended with %v: %q", err, out.text())
				}
			case <-time.After(5 * time.Second):
				t.Fatal("it does not end")
			}
			if !out.wait(t, "\x1b[?1049l") {
				t.Errorf("the screen before is not shown again: %q", out.text())
			}
			after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			if err != nil || *after != *before {
				t.Errorf("%v: the terminal was %+v and is %+v", err, before, after)
			}
		})
	}
}

// TestPsOnTerminal: lines are cut at its width there, and whole with -w.
func TestPsOnTerminal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.sock")
	srv, err := control.Listen(path, (&daemon{}).handlers())
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for flags, longest := range map[string]int{"-o": 22, "-wo": len("h1:11    SN   1-02:00:00 make -j8")} {
		master, slave := pty(t)
		if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 22}); err != nil {
			t.Fatal(err)
		}
		cmd := &exec.Cmd{Path: self, Args: []string{"onehost", "ps", "--control", path, flags, "pid,stat,time,command"}, Stdin: slave, Stdout: slave, Stderr: slave}
		cmd.Env = []string{"TERM=xterm", "FAKE_UID=1000"}
		out := &seen{}
		go out.read(master)
		if err := cmd.Run(); err != nil || !out.wait(t, "h1:32768") {
			t.Fatalf("%v: %q", err, out.text())
		}
		got := 0
		for line := range strings.SplitSeq(strings.ReplaceAll(out.text(), "\r", ""), "\n") {
			if strings.HasPrefix(line, "h1:11 ") {
				got = len(line)
			}
		}
		if got != longest {
			t.Errorf("%s: a line of %d, want %d: %q", flags, got, longest, out.text())
		}
	}
}

// seen is what a program wrote to a terminal.
type seen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *seen) read(f *os.File) {
	buf := make([]byte, 4096)
	for {
		n, err := f.Read(buf)
		s.mu.Lock()
		s.b.Write(buf[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *seen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// wait reports whether a text comes within some seconds.
func (s *seen) wait(t *testing.T, text string) bool {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if bytes.Contains([]byte(s.text()), []byte(text)) {
			return true
		}
	}
	return false
}
