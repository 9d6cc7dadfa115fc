package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/onehost/onehost/split"
)

// terminal is a shell of a host in a terminal, with a person before it.
type terminal struct {
	t    *testing.T
	sock string
}

// openTerminal starts bash in the host, in a tmux of the test's own. Its prompt is "@ ".
func openTerminal(t *testing.T, h *split.Host) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("needs tmux, to look at a terminal's screen")
	}
	term := &terminal{t, filepath.Join(t.TempDir(), "tmux")}
	term.tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "24",
		filepath.Join(os.Getenv(programsEnv), "onehost")+" split exec --name "+splitName(t)+" --cwd /root "+string(h.Name())+" -- env PS1='@ ' HOME=/root bash --norc")
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", term.sock, "kill-server").Run() })
	term.see("a prompt", func(s string) bool { return strings.HasSuffix(s, "@") })
	return term
}

func (x *terminal) tmux(args ...string) string {
	x.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", x.sock}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return string(out)
}

// typed types a line; key types one key by tmux's name.
func (x *terminal) typed(line string) { x.tmux("send-keys", "-l", line); x.key("Enter") }
func (x *terminal) key(name string)   { x.tmux("send-keys", name) }

// screen is what the person sees, without trailing blanks.
func (x *terminal) screen(escapes bool) string {
	args := []string{"capture-pane", "-p"}
	if escapes {
		args = append(args, "-e")
	}
	return strings.TrimRight(x.tmux(args...), " \n")
}

// see waits for a screen.
func (x *terminal) see(what string, ok func(screen string) bool) {
	x.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for s := x.screen(false); !ok(s); s = x.screen(false) {
		if time.Now().After(deadline) {
			x.t.Fatalf("%s: not seen; the screen is\n%s", what, s)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// ends waits for a screen that ends so.
func (x *terminal) ends(suffix string) {
	x.t.Helper()
	x.see("the end "+suffix, func(s string) bool { return strings.HasSuffix(s, suffix) })
}

// TestInterrupt: ^C ends all of a build, and the shell sees a death by SIGINT: it gives up its own list of commands.
func TestInterrupt(t *testing.T) {
	c := cluster(t, 3)
	h1 := c.Hosts()[0]
	job{host: h1, dir: "/root"}.must(t, lasting)
	x := openTerminal(t, h1)
	x.typed("clear; for i in 1 2; do onehost run --no-local make -j8 -f lasting.mk; done; echo ended $?")
	inMidBuild(t)
	x.key("C-c")
	gone(t, endLimit, func(p process) bool { return p.argv[0] != "bash" && p.argv[0] != "env" })
	x.ends("@")
	if s := x.screen(false); strings.Contains(s, "ended") {
		t.Errorf("the shell went on:\n%s", s)
	}
	x.typed("clear; onehost run --no-local make -j8 -f lasting.mk")
	inMidBuild(t)
	x.tmux("kill-server") // the terminal hangs up
	gone(t, 3*time.Second, func(process) bool { return true })
}

// TestStop: ^Z stops the processes on all hosts, fg and bg let them go on, and the shell's own commands see one job.
func TestStop(t *testing.T) {
	c := cluster(t, 3)
	h1 := c.Hosts()[0]
	job{host: h1, dir: "/root"}.must(t, `printf 'all: 1 2 3 4\n%%: ; @awk "BEGIN { while (1) ; }"\n' > busy.mk`)
	x := openTerminal(t, h1)
	x.typed("clear; onehost run -q --no-local make -j4 -f busy.mk")
	awks := func(state string) func() bool {
		return func() bool {
			n := len(only(processes(t), func(p process) bool {
				return remote(p) && p.argv[0] == "awk" && (p.state == state || state == "R" && p.state != "T")
			}))
			return n == 4
		}
	}
	eventually(t, 20*time.Second, "four loops elsewhere", awks("R"))
	for _, on := range []string{"fg", "bg"} {
		x.key("C-z")
		x.see("the shell's word", func(s string) bool { return strings.Contains(s, "Stopped") && strings.HasSuffix(s, "@") })
		eventually(t, 2*time.Second, "all to be stopped", awks("T"))
		x.typed("clear; " + on)
		eventually(t, 2*time.Second, "all to go on", awks("R"))
	}
	x.typed("clear; jobs; kill %1; wait %1; echo status $?")
	x.see("the status of wait", func(s string) bool { return strings.Contains(s, "Running") && strings.Contains(s, "status 143") })
	gone(t, endLimit, func(p process) bool { return p.argv[0] != "bash" && p.argv[0] != "env" })
}

// TestScreen: the live line stands at the bottom while the warnings of remote compilers scroll above it in colour; without a
// terminal, with --quiet or NO_COLOR there is none of it.
func TestScreen(t *testing.T) {
	c := cluster(t, 3)
	h1 := c.Hosts()[0]
	job{host: h1, dir: "/root"}.must(t, warners+"warners p 40")
	x := openTerminal(t, h1)
	x.typed("cd p; clear; onehost run --no-local make -j6")
	live := func(s string) bool {
		lines := strings.Split(s, "\n")
		last := lines[len(lines)-1]
		return len(lines) == 24 && strings.Contains(s, "warning") && strings.HasPrefix(last, "home ") && strings.Contains(last, " done, ") && strings.Contains(last, "h2 ")
	}
	x.see("the live line below a full screen", live)
	if s := x.screen(true); !strings.Contains(s, "\x1b[1m\x1b[35mwarning:") {
		t.Errorf("no warning in colour:\n%q", s)
	}
	x.see("the summary", func(s string) bool {
		lines := strings.Split(s, "\n")
		return len(lines) > 2 && strings.HasPrefix(lines[len(lines)-2], "41 jobs: 40 remote, 1 local (1 spreader); h2 ") && lines[len(lines)-1] == "@"
	})
	if s := x.screen(false); strings.Contains(s, " done, ") {
		t.Errorf("the live line was left:\n%s", s)
	}
	for i, quiet := range []string{"onehost run -q make -j6", "NO_COLOR=1 onehost run make -j6", "onehost run make -j6 2>&1 | cat"} {
		x.typed("clear; make clean >/dev/null; " + quiet + " ; echo over " + strconv.Itoa(i))
		x.see(quiet, func(s string) bool {
			if live(s) {
				t.Fatalf("%s: a live line:\n%s", quiet, s)
			}
			return strings.HasSuffix(s, "\nover "+strconv.Itoa(i)+"\n@")
		})
		if s := x.screen(false); strings.Contains(s, " jobs: ") == strings.Contains(quiet, "-q") {
			t.Errorf("%s: the summary:\n%s", quiet, s)
		}
	}
}
