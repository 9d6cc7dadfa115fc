package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/split"
)

// talker is a job that answers what it is told, does as children do, and says which signals it got.
const talker = `
trap 'got=1; echo usr1' USR1
n=0
got=
echo here
while :; do
	if read -r line; then :; elif [ "$got" ]; then got=; continue; else break; fi
	n=$((n + 1))
	case $line in
	exit) echo "after $n"; exit 7;;
	flood) seq 200000;;
	mounts) cat /proc/1/comm /proc/self/mountinfo >/home/talk/mounts.$n;;
	esac
	(sleep 0.01; echo "$n $line" >>/home/talk/log) &
	wait $!
	echo "$n $line"
done
echo "end of file"
`

// conversation is a run with a talker elsewhere.
type conversation struct {
	t    *testing.T
	home job
	cmd  *split.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	n    int             // lines said
	log  strings.Builder // what the talker's file should have
}

func converse(t *testing.T, h *split.Host, to names.HostName) *conversation {
	t.Helper()
	cmd := h.Command(t.Context(), "onehost", "run", "-q", "--no-local", "--hosts", string(to), "sh", "-c", talker)
	cmd.Dir = "/home/talk"
	theirs, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		out.Close()
	})
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirOut, os.Stderr
	err = cmd.Start()
	theirs.Close()
	theirOut.Close()
	if err != nil {
		t.Fatal(err)
	}
	c := &conversation{t: t, home: job{host: h}, cmd: cmd, in: in, out: bufio.NewReader(out)}
	c.hear("here")
	return c
}

func (c *conversation) say(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		c.t.Fatal(err)
	}
}

func (c *conversation) hear(want string) {
	c.t.Helper()
	got, err := c.out.ReadString('\n')
	if err != nil || got != want+"\n" {
		c.t.Fatalf("%q, %v; want %q", got, err, want)
	}
}

// speak says a line and hears it answered, by a child that notes it in the file.
func (c *conversation) speak(line string) {
	c.t.Helper()
	c.n++
	c.say(line)
	c.hear(fmt.Sprintf("%d %s", c.n, line))
	fmt.Fprintf(&c.log, "%d %s\n", c.n, line)
}

// outlives talks while a daemon is killed and started again, between lines, at any moment and in the midst of much output. What is mounted
// for the job has to stay.
func (c *conversation) outlives(restart func()) {
	c.t.Helper()
	mounts := func() string {
		c.t.Helper()
		c.speak("mounts")
		return c.file("mounts." + strconv.Itoa(c.n))
	}
	before := mounts()
	restart()
	c.speak("after")
	for i := range 5 {
		time.Sleep(time.Duration(rand.N(1500)) * time.Millisecond) //nolint:gosec // any moment will do
		restart()
		c.speak("again " + strconv.Itoa(i))
	}
	if after := mounts(); before != after || !strings.HasPrefix(after, "onehost-nest\n") {
		c.t.Errorf("what is mounted for the job was\n%s\nand is\n%s", before, after)
	}
	c.n++
	c.say("flood")
	for i := 1; i <= 200000; i++ {
		if i == 20000 || i == 120000 {
			restart()
		}
		c.hear(strconv.Itoa(i))
	}
	c.hear(fmt.Sprintf("%d flood", c.n))
	fmt.Fprintf(&c.log, "%d flood\n", c.n)
}

func (c *conversation) file(name string) string {
	c.t.Helper()
	return c.home.must(c.t, "cat /home/talk/"+name)
}

// ends checks the file, and how the talker ends after one more restart.
func (c *conversation) ends(restart func()) {
	c.t.Helper()
	if got := c.file("log"); got != c.log.String() {
		c.t.Errorf("the file: %q, want %q", got, c.log.String())
	}
	restart()
	c.say("exit")
	c.hear(fmt.Sprintf("after %d", c.n+1))
	var ended *split.ExitError
	if err := c.cmd.Wait(); !errors.As(err, &ended) || ended.Code != 7 {
		c.t.Errorf("it ended with %v; want status 7", err)
	}
}

// TestHomeDaemonIsStartedAgain: a job elsewhere, with its input, output, files, children and signals, goes on when the daemon of its home
// is killed and started again, any number of times.
func TestHomeDaemonIsStartedAgain(t *testing.T) {
	c := cluster(t, 3)
	h1 := c.Host("h1")
	j := job{host: h1}
	j.must(t, "mkdir -p /home/talk && : >/home/talk/log")
	usable(t, j, "h2")
	restart := restartOf(t, h1, c.Host("h2"))
	talk := converse(t, h1, "h2")
	talk.outlives(restart)
	pid := ghost(t, j)
	restart()
	eventually(t, 5*time.Second, "where finds it again", func() bool {
		r, err := j.try(t.Context(), "onehost where "+pid)
		return err == nil && r.status == 0 && strings.Contains(r.out, "h2")
	})
	if out := j.must(t, "onehost ps"); !strings.Contains(out, "talk/log") {
		t.Errorf("ps does not show it:\n%s", out)
	}
	j.must(t, "onehost kill -USR1 "+pid)
	talk.hear("usr1")
	talk.ends(restart)
	noJobLeft(t, c)
}

// ghost gives the pid of the one ghost at home.
func ghost(t *testing.T, j job) string {
	t.Helper()
	pid := strings.TrimSpace(j.must(t, "pgrep -x sh"))
	if _, err := strconv.Atoi(pid); err != nil {
		t.Fatalf("ghosts: %q", pid)
	}
	return pid
}

// noJobLeft checks that no job of h1 is left anywhere.
func noJobLeft(t *testing.T, c *split.Cluster) {
	t.Helper()
	for _, h := range c.Hosts() {
		eventually(t, 20*time.Second, "nothing of a job is left on "+string(h.Name()), func() bool {
			out, err := h.Command(t.Context(), "sh", "-c", `cat /proc/[0-9]*/cmdline | tr '\0' ' ' | grep -c 'talk[/]log\|cc[1]'; find /run/onehost/dev -type f | wc -l`).Output()
			f := strings.Fields(string(out))
			return err == nil && len(f) == 2 && f[0] == "0" && (f[1] == "0" || h.Name() != "h1")
		})
	}
}

// TestSignalsWhileTheDaemonIsAway: signals and the end of the input that come while there is no daemon are not lost.
func TestSignalsWhileTheDaemonIsAway(t *testing.T) {
	c := cluster(t, 2)
	h1 := c.Host("h1")
	j := job{host: h1}
	j.must(t, "mkdir -p /home/talk && : >/home/talk/log")
	usable(t, j, "h2")
	talk := converse(t, h1, "h2")
	talk.say("one")
	talk.hear("1 one")
	pid := ghost(t, j)
	if err := killDaemon(t.Context(), h1); err != nil {
		t.Fatal(err)
	}
	j.must(t, "kill -USR1 "+pid)
	talk.say("two")
	if err := h1.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	talk.hear("usr1")
	talk.hear("2 two")
	talk.in.Close()
	talk.hear("end of file")
	if err := talk.cmd.Wait(); err != nil {
		t.Error(err)
	}
	noJobLeft(t, c)
}

// TestBuildOutlivesTheDaemon: a build goes on when the daemon of its home is killed and started again.
func TestBuildOutlivesTheDaemon(t *testing.T) {
	c := cluster(t, 3)
	h1 := c.Host("h1")
	b := newBuilder(t, job{host: h1}, 20)
	usable(t, b.job, "h2")
	usable(t, b.job, "h3")
	for range 4 {
		b.during(t, 500*time.Millisecond+rand.N(2500*time.Millisecond), "", func(ctx context.Context) error { return h1.Restart(ctx) }) //nolint:gosec // any moment will do
		eventually(t, 5*time.Second, "the daemon answers", func() bool {
			r, err := b.job.try(t.Context(), "onehost hosts")
			return err == nil && r.status == 0
		})
		if t.Failed() {
			return
		}
	}
	noJobLeft(t, c)
	if s := stuck(t, c); s != nil {
		t.Errorf("stuck: %q", s)
	}
}

// TestHomeDaemonStaysAway: a daemon that does not come back leads to the end of what its home had elsewhere, in the time in which a crash does.
func TestHomeDaemonStaysAway(t *testing.T) {
	c := cluster(t, 3)
	h1 := c.Host("h1")
	j := job{host: h1}
	j.must(t, "mkdir -p /home/talk && : >/home/talk/log")
	usable(t, j, "h2")
	talk := converse(t, h1, "h2")
	runs := func() bool {
		out, err := c.Host("h2").Command(t.Context(), "sh", "-c", `cat /proc/[0-9]*/cmdline | tr '\0' ' ' | grep -c 'talk[/]log'; :`).Output()
		return err != nil || strings.TrimSpace(string(out)) != "0"
	}
	if err := killDaemon(t.Context(), h1); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for runs() && time.Since(begin) < 10*time.Second {
		time.Sleep(20 * time.Millisecond)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("it ran on for %v", took)
	} else {
		t.Logf("it ended after %v", took)
	}
	if _, err := talk.out.ReadString('\n'); !errors.Is(err, io.EOF) {
		t.Errorf("its output: %v", err)
	}
	var ended *split.ExitError
	if err := talk.cmd.Wait(); !errors.As(err, &ended) || ended.Code == 0 {
		t.Errorf("it ended with %v; want a failure", err)
	}
}

// stopDaemon has a host's onehostd end in order, as for an upgrade, and waits for its end.
func stopDaemon(ctx context.Context, h *split.Host) error {
	return h.Command(ctx, "sh", "-c", `for p in /proc/[0-9]*; do
		[ "$(tr '\0' '\n' < $p/cmdline | head -n 1 | sed 's|.*/||')" != onehostd ] || { kill -TERM ${p#/proc/}; d=$p; }; done
		for i in $(seq 500); do grep -qs onehostd $d/cmdline || exit 0; sleep 0.01; done; exit 1`).Run()
}

// TestDaemonIsUpgraded: what a daemon does that ends in order is the same to its sessions.
func TestDaemonIsUpgraded(t *testing.T) {
	c := cluster(t, 3)
	h1 := c.Host("h1")
	j := job{host: h1}
	j.must(t, "mkdir -p /home/talk && : >/home/talk/log")
	usable(t, j, "h2")
	talk := converse(t, h1, "h2")
	back := backOf(t, h1, c.Host("h2"))
	for i := 1; i < 6; i++ {
		back()
		talk.say("hello")
		talk.hear(fmt.Sprintf("%d hello", i))
		begin := time.Now()
		if err := stopDaemon(t.Context(), h1); err != nil {
			t.Fatal(err)
		}
		t.Logf("it took %v to end", time.Since(begin))
		if err := h1.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	talk.in.Close()
	talk.hear("end of file")
	if err := talk.cmd.Wait(); err != nil {
		t.Error(err)
	}
	noJobLeft(t, c)
}

// TestRunEndsWhileTheDaemonIsAway: what nobody takes up again ends, and so does what its session left behind.
func TestRunEndsWhileTheDaemonIsAway(t *testing.T) {
	c := cluster(t, 3)
	h1 := c.Host("h1")
	j := job{host: h1}
	j.must(t, "mkdir -p /home/talk && : >/home/talk/log")
	usable(t, j, "h2")
	talk := converse(t, h1, "h2")
	left := h1.Command(t.Context(), "onehost", "run", "-q", "--no-local", "--hosts", "h3", "make", "-s", "-f", "-")
	left.Stdin = strings.NewReader("a:\n\t(exec setsid sleep 1234 </dev/null >/dev/null 2>&1 &) ; true\nb: a\n\tsleep 600\n")
	left.Args = append(left.Args, "b")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	sleepers := func(h names.HostName, what string) bool {
		out, err := c.Host(h).Command(t.Context(), "sh", "-c", `cat /proc/[0-9]*/cmdline | tr '\0' ' ' | grep -c '`+what+`'; :`).Output()
		return err != nil || strings.TrimSpace(string(out)) != "0"
	}
	eventually(t, 10*time.Second, "make has left something behind", func() bool { return sleepers("h3", "sleep [1]234") && sleepers("h3", "sleep [6]00") })
	if err := killDaemon(t.Context(), h1); err != nil {
		t.Fatal(err)
	}
	j.must(t, "pkill -KILL -x onehost; :")
	if err := h1.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = talk.cmd.Wait()
	_ = left.Wait()
	eventually(t, 8*time.Second, "nothing is left", func() bool {
		return !sleepers("h2", "talk[/]log") && !sleepers("h3", "sleep [6]00") && !sleepers("h3", "sleep [1]234")
	})
	noJobLeft(t, c)
	usable(t, j, "h2")
	usable(t, j, "h3")
}
