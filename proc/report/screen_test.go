package report

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pty gives the two ends of a new terminal of 10 rows and 60 columns.
func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 60}); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// until reads from the terminal until the text has come, and gives all that was read.
func until(t *testing.T, master *os.File, text string) string {
	t.Helper()
	var got bytes.Buffer
	buf := make([]byte, 4096)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		p := []unix.PollFd{{Fd: int32(master.Fd()), Events: unix.POLLIN}}
		if n, _ := unix.Poll(p, 100); n > 0 {
			n, err := unix.Read(int(master.Fd()), buf)
			if err != nil {
				break
			}
			got.Write(buf[:n])
		}
		if strings.Contains(got.String(), text) {
			return got.String()
		}
	}
	t.Fatalf("%q never came; got %q", text, got.String())
	return ""
}

const (
	enter = "\x1bD\x1b[A\x1b7\x1b[1;9r\x1b8"
	erase = "\x1b7\x1b[r\x1b[10;1H\x1b[0m\x1b[K\x1b8"
)

func TestLiveOnTerminal(t *testing.T) {
	master, slave := pty(t)
	r := New(Options{Out: slave, Term: "xterm"})
	r.JobRemote(1, "a", "h2")
	r.JobRemote(2, "b", "h3")
	until(t, master, enter+"\x1b7\x1b[10;1H\x1b[0mhome 0  h2 1  h3 1 | 0 done, 0.0/s, 0:00\x1b[K\x1b8")

	r.Suspend()
	until(t, master, erase)
	r.Resume()
	until(t, master, enter)

	r.JobLocal(3, "vi", "interactive")
	until(t, master, erase)
	r.JobDone(3, 0, 0, 0)
	until(t, master, enter)

	attr, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	raw := *attr
	raw.Lflag &^= unix.ECHO // somebody asks for a password
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, &raw); err != nil {
		t.Fatal(err)
	}
	until(t, master, erase)
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, attr); err != nil {
		t.Fatal(err)
	}
	until(t, master, enter)

	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 20, Col: 40}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(unix.Getpid(), unix.SIGWINCH); err != nil { // it is not our controlling terminal, which would send it
		t.Fatal(err)
	}
	until(t, master, "\x1b[1;19r")
	if err := unix.Kill(unix.Getpid(), unix.SIGTSTP); err != nil {
		t.Fatal(err)
	}
	until(t, master, "\x1b7\x1b[r\x1b[20;1H")
	if err := unix.Kill(unix.Getpid(), unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(t, master, "\x1b[1;19r")

	r.JobDone(1, 0, 0, 0)
	r.Finish()
	until(t, master, "\x1b7\x1b[r\x1b[20;1H\x1b[0m\x1b[K\x1b82 jobs: 1 remote, 1 local (1 interactive); h2 1\r\n")
}

func TestNoLiveLine(t *testing.T) {
	for name, o := range map[string]Options{
		"quiet": {Quiet: true, Term: "xterm"}, "no color": {NoColor: true, Term: "xterm"}, "dumb": {Term: "dumb"}, "no TERM": {},
	} {
		master, slave := pty(t)
		o.Out = slave
		r := New(o)
		r.start = r.start.Add(-time.Minute)
		r.JobRemote(1, "a", "h2")
		r.JobRemote(2, "b", "h3")
		r.Say("end")
		r.JobDone(1, 0, 0, 0)
		r.Finish()
		if got := until(t, master, "end"); strings.Contains(got, "\x1b") {
			t.Errorf("%s: escape sequences in %q", name, got)
		}
	}
}

// A whole run in a real terminal emulator: what the build prints is all there, in order, and the last row is free
// again at the end.
func TestInTmux(t *testing.T) {
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("no tmux")
	}
	socket := t.TempDir() + "/s"
	tmux := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("tmux", append([]string{"-S", socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	tmux("new-session", "-d", "-x", "70", "-y", "12", "sh")
	t.Cleanup(func() { tmux("kill-server") })
	screen := func(ok func(rows []string) bool) []string {
		t.Helper()
		var rows []string
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
			rows = strings.Split(strings.TrimSuffix(tmux("capture-pane", "-p"), "\n"), "\n")
			if ok(rows) {
				return rows
			}
			<-time.After(20 * time.Millisecond)
		}
		t.Fatalf("the screen never came to what it should:\n%s", strings.Join(rows, "\n"))
		return nil
	}
	tmux("send-keys", "PS1='$ '; clear; TERM=screen REPORT_TEST_CHILD=1 "+os.Args[0], "Enter")
	screen(func(rows []string) bool {
		return len(rows) == 12 && strings.HasPrefix(rows[11], "home 0  h2 ") && strings.Contains(rows[9], "built")
	})
	rows := screen(func(rows []string) bool { return strings.Contains(strings.Join(rows, "\n"), "60 jobs: 60 remote") })
	if last := rows[len(rows)-1]; strings.Contains(last, "home") {
		t.Errorf("the live line is still there: %q", last)
	}
	all := tmux("capture-pane", "-p", "-S", "-200")
	want := 0
	for line := range strings.Lines(all) {
		if n, ok := strings.CutPrefix(line, "built "); ok {
			want++
			if strings.TrimSpace(n) != strconv.Itoa(want) {
				t.Fatalf("line %d of the build reads %q in\n%s", want, line, all)
			}
		}
	}
	if want != 60 {
		t.Errorf("%d of 60 lines of the build are left in\n%s", want, all)
	}
	if strings.Contains(all, "done,") {
		t.Errorf("a live line was left among the output:\n%s", all)
	}
	tmux("send-keys", "clear; echo all; echo rows", "Enter") // the region is gone: the last row is reached
	tmux("send-keys", "seq 1 30", "Enter")
	screen(func(rows []string) bool {
		return len(rows) == 12 && rows[10] == "30" && strings.HasPrefix(rows[11], "$")
	})
}

// child is the run inside tmux: its jobs print to the terminal past the reporter, as real ones do.
func child() {
	r := New(Options{Out: os.Stderr, Term: os.Getenv("TERM")})
	for i := 1; i <= 60; i++ {
		r.JobRemote(uint64(i), "cc", "h2")
		cmd := exec.Command("sh", "-c", fmt.Sprintf("printf 'buil'; sleep 0.04; echo 't %d'", i))
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		_ = cmd.Run()
		r.JobDone(uint64(i), 0, 0, 0)
	}
	r.Finish()
}
