package split

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
)

func up(t *testing.T, cfg Config) *Cluster {
	t.Helper()
	needRoot(t)
	clean(t, cfg.Name)
	cfg.Onehost = self(t)
	c, err := Up(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func say(t *testing.T, h *Host, args ...string) string {
	t.Helper()
	out, err := h.Command(t.Context(), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %q: %v: %s", h.Name(), args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestHostsAreApart(t *testing.T) {
	dir := t.TempDir()
	c := up(t, Config{Name: "t-apart", Hosts: 2, Quota: 450, Rate: 100e6, Binds: []Bind{{Dir: dir, Host: "h2"}}})
	h1, h2 := c.Host("h1"), c.Host("h2")
	for _, q := range []struct{ what, cmd, want string }{
		{"name", "hostname; cat /etc/hostname", "h1\nh1"},
		{"address", "grep -w h2 /etc/hosts", "10.77.0.2\th2.split h2"},
		{"pid 1", "cat /proc/1/comm", "onehost-init"},
		{"pid_max", "cat /proc/sys/kernel/pid_max", "32768"},
		{"file handles", "grep -o nfs_export=on /proc/mounts", "nfs_export=on"},
		{"devices", "test -c /dev/null && test -c /dev/fuse && test -c /dev/net/tun && test -c /dev/ptmx && echo yes", "yes"},
		{"quota", "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null | cut -d' ' -f1", "9000"},
		{"own cgroups", "d=$(ls -d /sys/fs/cgroup/cpu /sys/fs/cgroup 2>/dev/null | head -1); mkdir $d/below && rmdir $d/below && echo yes", "yes"},
		{"empty /tmp", "ls -A /tmp", ""},
		{"no bind", "test -e " + dir + " || echo hidden", "hidden"},
		{"this program", "test -x /usr/local/bin/onehost && echo yes", "yes"},
	} {
		if got := say(t, h1, "/bin/sh", "-c", q.cmd); got != q.want {
			t.Errorf("%s: %q; want %q", q.what, got, q.want)
		}
	}
	say(t, h1, "sh", "-c", "echo one > /etc/onehost-split-test")
	if got := say(t, h2, "sh", "-c", "cat /etc/onehost-split-test 2>/dev/null || echo none"); got != "none" {
		t.Errorf("h2 sees h1's file: %q", got)
	}
	if _, err := os.Stat("/etc/onehost-split-test"); err == nil {
		t.Error("the machine sees h1's file")
	}
	say(t, h2, "sh", "-c", "echo two > "+dir+"/file")
	if data, err := os.ReadFile(filepath.Join(dir, "file")); string(data) != "two\n" {
		t.Errorf("the bound directory got %q, %v", data, err)
	}
}

func TestExec(t *testing.T) {
	c := up(t, Config{Name: "t-exec", Hosts: 1})
	h := c.Host("h1")
	status := func(script string) *ExitError {
		var e *ExitError
		err := h.Command(t.Context(), "sh", "-c", script).Run()
		if !errors.As(err, &e) {
			t.Fatalf("%s: %v; want an ExitError", script, err)
		}
		return e
	}
	if e := status("exit 7"); e.Code != 7 || e.Status() != 7 {
		t.Errorf("exit 7 gave %v", e)
	}
	if e := status("kill -TERM $$"); e.Signal != unix.SIGTERM || e.Status() != 143 {
		t.Errorf("kill -TERM gave %v", e)
	}
	for name, want := range map[string]error{"no-such-program": syscall.ENOENT, "/etc/passwd": syscall.EACCES} {
		if err := h.Command(t.Context(), name).Run(); !errors.Is(err, want) {
			t.Errorf("%s: %v; want %v", name, err, want)
		}
	}
	if out, err := h.Command(t.Context(), "sh", "-c", "echo /proc/$$/fd/*").Output(); err != nil || strings.Count(string(out), "/fd/") != 4 { // with the one it looks by
		t.Errorf("a program has not just its three descriptors: %s%v", out, err)
	}
	big := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	cmd := h.Command(t.Context(), "cat")
	cmd.Stdin = bytes.NewReader(big)
	if out, err := cmd.Output(); err != nil || !bytes.Equal(out, big) {
		t.Errorf("cat gave %d bytes of %d, %v", len(out), len(big), err)
	}
	cmd = h.Command(t.Context(), "sh", "-c", "id -un; id -Gn; echo $HOME")
	cmd.User = "nobody"
	if out, err := cmd.Output(); err != nil || string(out) != "nobody\nnogroup\n/nonexistent\n" {
		t.Errorf("as nobody: %q, %v", out, err)
	}
	cmd = h.Command(t.Context(), "pwd")
	cmd.Dir = "/nonexistent"
	if err := cmd.Run(); !errors.Is(err, syscall.ENOTDIR) { // not ENOENT, which is what a missing program gives
		t.Errorf("in a directory that is not there: %v", err)
	}
	if err := c.Host("h9").Command(t.Context(), "true").Run(); err == nil || !strings.Contains(err.Error(), "it has h1") {
		t.Errorf("on an unknown host: %v", err)
	}
}

// A caller that goes away takes its program along, one that ignores SIGHUP too.
func TestExecEndsWithItsCaller(t *testing.T) {
	c := up(t, Config{Name: "t-caller", Hosts: 1})
	ctx, cancel := context.WithCancel(t.Context())
	cmd := c.Host("h1").Command(ctx, "sh", "-c", "trap '' HUP; echo on; while :; do sleep 1; done")
	out := new(lockedBuffer)
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the program runs", func() bool { return len(out.Bytes()) > 0 })
	cancel()
	if err := cmd.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v", err)
	}
	g, err := instance("t-caller").cgroups()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "only the init is left", func() bool { return len(g.procs("h1")) == 1 })
}

func TestKillAndStart(t *testing.T) {
	c := up(t, Config{Name: "t-kill", Hosts: 2})
	h2 := c.Host("h2")
	say(t, h2, "sh", "-c", "echo kept > /root/kept; echo lost > /tmp/lost")
	cmd := h2.Command(t.Context(), "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := h2.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("kill took %v", time.Since(begin))
	if err := cmd.Wait(); !errors.Is(err, ErrLost) {
		t.Errorf("a program in a killed host: %v; want ErrLost", err)
	}
	if err := h2.Command(t.Context(), "true").Run(); err == nil || !strings.Contains(err.Error(), "split start h2 --name t-kill") {
		t.Errorf("exec in a dead host: %v", err)
	}
	if err := h2.Kill(t.Context()); err == nil || !strings.Contains(err.Error(), "h2 is down: boot it with 'onehost split start h2 --name t-kill'") {
		t.Errorf("a second kill: %v", err)
	}
	begin = time.Now()
	if err := h2.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("start took %v", time.Since(begin))
	if got := say(t, h2, "sh", "-c", "cat /root/kept; ls -A /tmp"); got != "kept" {
		t.Errorf("after the boot: %q", got)
	}
	if err := h2.Start(t.Context()); err == nil {
		t.Error("a host that is up can be started")
	}
	for range 5 { // the disk of the life before may still be busy
		if err := errors.Join(h2.Kill(t.Context()), h2.Start(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCutAndHeal(t *testing.T) {
	c := up(t, Config{Name: "t-cut", Hosts: 2})
	h1, h2 := c.Host("h1"), c.Host("h2")
	listen := h2.Command(t.Context(), "onehost")
	listen.Env = []string{"PATH=/usr/local/bin", "SPLIT_TEST=listen"}
	out := new(lockedBuffer)
	listen.Stdout = out
	if err := listen.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "h2 listens", func() bool { return string(out.Bytes()) == "ready\n" })
	reach := func() bool {
		dial := h1.Command(t.Context(), "onehost", "h2")
		dial.Env = []string{"PATH=/usr/local/bin", "SPLIT_TEST=dial"}
		return dial.Run() == nil
	}
	if !reach() {
		t.Fatal("h1 does not reach h2")
	}
	if err := h2.Cut(t.Context()); err != nil {
		t.Fatal(err)
	}
	if reach() {
		t.Error("h1 reaches h2, which is cut off")
	}
	if got := say(t, h2, "cat", "/sys/class/net/eth0/carrier"); got != "1" {
		t.Errorf("the carrier of a host that is cut off: %s", got)
	}
	if err := h2.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "h1 reaches h2 again", reach)
	if err := h2.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = listen.Wait() // ErrLost, which TestKillAndStart checks
}

func TestFreezeAndThaw(t *testing.T) {
	c := up(t, Config{Name: "t-freeze", Hosts: 1})
	h := c.Host("h1")
	file := filepath.Join(instance("t-freeze").hostRun("h1"), "count")
	cmd := h.Command(t.Context(), "sh", "-c", "while :; do echo >> /run/count; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		st, err := os.Stat(file)
		if err != nil {
			return 0
		}
		return st.Size()
	}
	eventually(t, "it counts", func() bool { return size() > 0 })
	if err := h.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	frozen := size()
	if err := h.Command(t.Context(), "true").Run(); err == nil || !strings.Contains(err.Error(), "frozen") {
		t.Errorf("exec in a frozen host: %v", err)
	}
	if now := size(); now != frozen {
		t.Errorf("a frozen host counted from %d to %d", frozen, now)
	}
	if err := h.Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it counts again", func() bool { return size() > frozen })
	if err := errors.Join(h.Freeze(t.Context()), h.Kill(t.Context())); err != nil {
		t.Errorf("kill of a frozen host: %v", err)
	}
	_ = cmd.Wait()
}

func TestSecondSplitIsRefused(t *testing.T) {
	up(t, Config{Name: "t-twice", Hosts: 1})
	_, err := Up(t.Context(), Config{Name: "t-twice", Hosts: 1})
	if err == nil || !strings.Contains(err.Error(), "onehost split down --name t-twice") {
		t.Errorf("a second split: %v", err)
	}
}

func TestDownLeavesNothing(t *testing.T) {
	needRoot(t)
	before, inits0 := goleak.IgnoreCurrent(), inits(t)
	mounts0, err := mountsOf("self")
	if err != nil {
		t.Fatal(err)
	}
	c := up(t, Config{Name: "t-down", Hosts: 3, Quota: 500, Rate: 1e9})
	// Programs of all kinds: one in its own session, one in a cgroup of its own, one as an orphan.
	say(t, c.Host("h2"), "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & (sleep 1000 >/dev/null 2>&1 &)")
	if err := c.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := belongings(t, "t-down"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	for _, pid := range inits(t) {
		if !slices.Contains(inits0, pid) && birth(pid) != 0 {
			t.Errorf("process %d is left", pid)
		}
	}
	mounts1, err := mountsOf("self")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts1 {
		if !slices.Contains(mounts0, m) && strings.Contains(m.point, "t-down") {
			t.Errorf("mount %v is left", m)
		}
	}
	if err := c.Down(t.Context()); !errors.Is(err, ErrNone) {
		t.Errorf("a second down: %v", err)
	}
	goleak.VerifyNone(t, before)
}

// onehost runs a command line in a process of its own.
func onehost(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), self(t), args...)
	cmd.Env = append(os.Environ(), "SPLIT_TEST=command")
	return cmd
}

// A command that is killed at any moment leaves only what down clears away.
func TestDownAfterKilledCommand(t *testing.T) {
	needRoot(t)
	clean(t, "t-killed")
	base := inits(t)
	for after := 4 * time.Millisecond; after < 80*time.Millisecond; after += 6 * time.Millisecond {
		cmd := onehost(t, "split", "3", "--name", "t-killed", "--daemon", "none")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after) // the moment of the kill is what is varied
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err := Down(t.Context(), "t-killed"); err != nil && !errors.Is(err, ErrNone) {
			t.Errorf("killed after %v: down: %v", after, err)
		}
		if left := belongings(t, "t-killed"); len(left) > 0 {
			t.Errorf("killed after %v: left behind: %q", after, left)
		}
		eventually(t, "an init that got no configuration ends", func() bool {
			return !slices.ContainsFunc(inits(t), func(pid int) bool { return !slices.Contains(base, pid) && ours(pid) })
		})
	}
}

// ours reports whether an init was made by a command of the test above: no other test has three hosts without a tether at the same time.
func ours(pid int) bool {
	exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	self, _ := os.Executable()
	return err == nil && exe == self && birth(pid) != 0
}

func TestInterruptedUpLeavesNothing(t *testing.T) {
	needRoot(t)
	clean(t, "t-intr")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if c, err := Up(ctx, Config{Name: "t-intr", Hosts: 8}); err == nil {
		t.Logf("up was too quick to be interrupted")
		_ = c.Down(t.Context())
	}
	if left := belongings(t, "t-intr"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestCommandLine(t *testing.T) {
	c := up(t, Config{Name: "t-cmd", Hosts: 2})
	for _, q := range []struct {
		args   string
		status int
		out    string // part of what is written
	}{
		{"exec h1 -- hostname", 0, "h1\n"},
		{"exec h2 hostname", 0, "h2\n"},
		{"exec h1 -- sh -c exit\t3", 3, ""},
		{"exec h1 -- sh -c kill\t-9\t$$", 137, ""},
		{"exec h1 -- no-such", 127, "no-such: command not found"},
		{"exec h1 -- /etc/passwd", 126, "not a program"},
		{"exec h7 -- true", 125, `no host "h7" in this split: it has h1, h2`},
		{"exec h1 -u nobody -- id -un", 125, ""}, // flags go before the host
		{"exec -u nobody h1 -- id -un", 0, "nobody\n"},
		{"exec h1 --", 125, "want a host and a command"},
		{"exec h1", 125, "want a host and a command"},
		{"exec --nosuch h1 true", 125, "unknown flag: --nosuch"},
		{"exec --cwd /nowhere h1 true", 125, "/nowhere: not in this host"},
		{"sh", 125, "one host is missing"},
		{"kill h7", 1, "it has h1, h2"},
		{"kill h1 h7", 1, "it has h1, h2"},
		{"exec h1 -- hostname", 0, "h1\n"}, // it lives
		{"kill", 2, "the host is missing"},
		{"down now", 2, "down takes no argument"},
		{"status --json", 0, `"state": "up"`},
		{"2", 1, "is up already"},
		{"status --name A_b", 2, `name of a split "A_b"`},
		{"two", 2, `"two" hosts`},
		{"251", 2, "a number from 1 to 250"},
		{"2 3", 2, "one argument too many"},
		{"2 --cpus 0", 2, "--cpus 0: want at least 1"},
		{"2 --cpu-quota half", 2, "such as 0.45"},
		{"2 --cpu-quota=", 2, "such as 0.45"},
		{"2 --rate fast", 2, "such as 100mbit"},
		{"2 --bind :h1", 2, "want DIR or DIR:HOST"},
	} {
		args := []string{"split", "--name", "t-cmd"}
		for a := range strings.FieldsSeq(strings.ReplaceAll(q.args, "\t", "\x01")) {
			args = append(args, strings.ReplaceAll(a, "\x01", " "))
		}
		out, err := onehost(t, append(args, []string{"--daemon", "none"}[:extra(q.args)]...)...).CombinedOutput()
		status := 0
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			status = exit.ExitCode()
		}
		if strings.HasPrefix(q.args, "exec h1 -u") {
			if status == 0 {
				t.Errorf("%s: a flag of the program was taken for ours", q.args)
			}
			continue
		}
		if status != q.status || !strings.Contains(string(out), q.out) {
			t.Errorf("%s: status %d, %q; want %d, %q", q.args, status, out, q.status, q.out)
		}
		if lines := bytes.Count(out, []byte("\n")); q.status != 0 && lines > 1 {
			t.Errorf("%s: an error of %d lines: %q", q.args, lines, out)
		}
	}
	if len(c.Hosts()) != 2 || c.Hosts()[1].Name() != names.HostName("h2") {
		t.Errorf("hosts: %v", c.Hosts())
	}
}

// extra says whether a command line makes a split, which needs no daemon here.
func extra(args string) int {
	if strings.HasPrefix(args, "2") || args == "two" {
		return 2
	}
	return 0
}

// What the maker of a split had open does not stay open for as long as its hosts live.
func TestHostsHoldNothingOfTheirMaker(t *testing.T) {
	needRoot(t)
	clean(t, "t-fds")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := onehost(t, "split", "2", "--name", "t-fds", "--daemon", "none")
	cmd.ExtraFiles = []*os.File{w, w, w, w} // 3 to 6: the boot stage has two of its own in front
	out, err := cmd.CombinedOutput()
	w.Close()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_ = r.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := r.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("hosts still hold the pipe: %d, %v", n, err)
	}
}
