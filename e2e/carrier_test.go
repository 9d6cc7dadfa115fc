package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/split"
)

// leftovers counts what a host has of carriers: their processes and nests, mounts, directories and groups.
const leftovers = `echo $(ps -eo args= | grep -c '^onehost-[cn]') $(grep -c ' /run/onehost/home/' /proc/mounts) \
$(ls -d /run/onehost/carrier /run/onehost/home/* 2>/dev/null | wc -l) $(find /sys/fs/cgroup -name 'onehost-nest-*' | wc -l)`

// nothingCarried waits until a host has nothing of carriers, and says how long that took.
func nothingCarried(t *testing.T, h *split.Host, limit time.Duration) {
	t.Helper()
	begin := time.Now()
	var left string
	for {
		if left = strings.TrimSpace(job{host: h}.must(t, leftovers)); left == "0 0 0 0" {
			t.Logf("nothing is left on %s after %v", h.Name(), time.Since(begin).Round(time.Millisecond))
			return
		}
		if time.Since(begin) > limit {
			t.Errorf("processes, mounts, directories and groups that are left on %s after %v: %s\n%s", h.Name(), limit, left, job{host: h}.must(t, "ps -eo pid,ppid,stat,args; ls -R /run/onehost/carrier; ls /run/onehost/home; :"))
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// identity says which process of a host, by its own number and its start, has this in its arguments; empty if there is none.
func identity(t *testing.T, h *split.Host, args string) string {
	t.Helper()
	return strings.TrimSpace(job{host: h}.must(t, `for p in /proc/[0-9]*; do
		case "$(tr '\0' ' ' <$p/cmdline 2>/dev/null)" in *[`+args[:1]+`]"`+args[1:]+`"*) cut -d' ' -f1,22 $p/stat;; esac; done 2>/dev/null | tail -n 1; :`))
}

// backOf gives what waits until a host's onehostd, which was started again, takes part, as another host sees it. Several in a row that end
// before they do are one absence for the other hosts, and an absence has its bound. The first time it waits for nothing.
func backOf(t *testing.T, h, sees *split.Host) func() {
	t.Helper()
	last := hosts(t, sees)[h.Name()].Incarnation - 1
	return func() {
		t.Helper()
		var is control.Host
		eventually(t, 10*time.Second, string(h.Name())+" is back", func() bool {
			is = hosts(t, sees)[h.Name()]
			return is.Incarnation > last && is.State != "failed"
		})
		last = is.Incarnation
	}
}

// restartOf gives what kills a host's onehostd and starts it again, once the one before is back.
func restartOf(t *testing.T, h, sees *split.Host) func() {
	t.Helper()
	back := backOf(t, h, sees)
	return func() {
		t.Helper()
		back()
		if err := h.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHelperDaemonIsStartedAgain: a job elsewhere, with its input, output, files, children and signals, goes on when the daemon of the host that runs it
// is killed and started again, any number of times, and is found there as before.
func TestHelperDaemonIsStartedAgain(t *testing.T) {
	c := cluster(t, 3)
	h1, h2 := c.Host("h1"), c.Host("h2")
	j := job{host: h1}
	j.must(t, "mkdir -p /home/talk && : >/home/talk/log")
	usable(t, j, "h2")
	restart := restartOf(t, h2, h1)
	talk := converse(t, h1, "h2")
	process := identity(t, h2, "talk/log")
	talk.outlives(restart)
	pid := ghost(t, j)
	restart()
	eventually(t, 5*time.Second, "where finds it again", func() bool {
		r, err := j.try(t.Context(), "onehost where "+pid)
		return err == nil && r.status == 0 && strings.Contains(r.out, "h2")
	})
	eventually(t, 5*time.Second, "its host counts it", func() bool { return hosts(t, h1)["h2"].Jobs == 1 })
	eventually(t, 5*time.Second, "ps shows it where it runs", func() bool {
		for _, p := range procs(t, c.Host("h3"), control.ProcsRequest{}).Procs {
			if strings.Contains(p.Command, "talk/log") && strings.HasPrefix(p.Command, "sh ") && p.Host == "h2" {
				return true
			}
		}
		return false
	})
	if out := j.must(t, "onehost ps --json"); !strings.Contains(out, "talk/log") {
		t.Errorf("ps --json does not show it:\n%s", brief(out))
	}
	state := func(want string) func() bool {
		at, _, _ := strings.Cut(process, " ")
		return func() bool {
			return strings.TrimSpace(job{host: h2}.must(t, "cut -d' ' -f3 /proc/"+at+"/stat; :")) == want
		}
	}
	j.must(t, "kill -STOP "+pid)
	eventually(t, stopLimit, "it is stopped", state("T"))
	restart()
	j.must(t, "kill -CONT -$(ps -o pgid= "+pid+" | tr -d ' ')") // as a shell does; run has stopped with it
	eventually(t, stopLimit, "it goes on", state("S"))
	j.must(t, "onehost kill -USR1 "+pid)
	talk.hear("usr1")
	// From another host: by way of its home's daemon and then the one that was started again.
	if r := (job{host: c.Host("h3")}).sh(t, "onehost kill -USR1 h1:"+pid); r.status != 0 {
		t.Errorf("from another host: %v", r)
	}
	talk.hear("usr1")
	if now := identity(t, h2, "talk/log"); now != process || now == "" {
		t.Errorf("it is process %q of its host, and was %q", now, process)
	}
	talk.ends(restart)
	noJobLeft(t, c)
}

// noted waits until the daemon of a home does nothing: then none of its threads is between a write for a job and the note of it, where to be killed
// would leave a doubt that ends the job.
func noted(t *testing.T, h *split.Host) {
	t.Helper()
	eventually(t, 10*time.Second, "the daemon of "+string(h.Name())+" rests", func() bool {
		return (job{host: h}).sh(t, `cat /proc/$(pgrep -x onehostd)/task/*/stat | sed 's/.*) //' | grep -v '^S'`).out == ""
	})
}

// TestBothDaemonsAreStartedAgain: nor does it matter if the home's daemon is killed in the same moment.
func TestBothDaemonsAreStartedAgain(t *testing.T) {
	c := cluster(t, 3)
	h1, h2 := c.Host("h1"), c.Host("h2")
	j := job{host: h1}
	j.must(t, "mkdir -p /home/talk && : >/home/talk/log")
	usable(t, j, "h2")
	talk := converse(t, h1, "h2")
	process := identity(t, h2, "talk/log")
	backs := []func(){backOf(t, h1, c.Host("h3")), backOf(t, h2, c.Host("h3"))}
	for i := 1; i < 5; i++ {
		for _, back := range backs {
			back()
		}
		talk.say("hello")
		talk.hear(fmt.Sprintf("%d hello", i))
		noted(t, h1)
		both := make(chan error, 2)
		for _, h := range []*split.Host{h1, h2} {
			go func() { both <- h.Restart(t.Context()) }()
		}
		for range 2 {
			if err := <-both; err != nil {
				t.Fatal(err)
			}
		}
	}
	talk.in.Close()
	talk.hear("end of file")
	if err := talk.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if process == "" {
		t.Error("the job was not found")
	}
	noJobLeft(t, c)
}

// TestHelperDaemonIsUpgraded: a daemon that ends in order leaves what it runs for others to the next.
func TestHelperDaemonIsUpgraded(t *testing.T) {
	c := cluster(t, 3)
	h1, h2 := c.Host("h1"), c.Host("h2")
	j := job{host: h1}
	j.must(t, "mkdir -p /home/talk && : >/home/talk/log")
	usable(t, j, "h2")
	talk := converse(t, h1, "h2")
	process := identity(t, h2, "talk/log")
	back := backOf(t, h2, h1)
	for i := 1; i < 6; i++ {
		back()
		talk.say("hello")
		talk.hear(fmt.Sprintf("%d hello", i))
		begin := time.Now()
		if err := stopDaemon(t.Context(), h2); err != nil {
			t.Fatal(err)
		}
		t.Logf("it took %v to end", time.Since(begin))
		if err := h2.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if now := identity(t, h2, "talk/log"); now != process || now == "" {
		t.Errorf("it is process %q of its host, and was %q", now, process)
	}
	talk.in.Close()
	talk.hear("end of file")
	if err := talk.cmd.Wait(); err != nil {
		t.Error(err)
	}
	noJobLeft(t, c)
	// With nothing to leave it leaves nothing.
	if err := stopDaemon(t.Context(), h2); err != nil {
		t.Fatal(err)
	}
	nothingCarried(t, h2, 0)
}

// TestFilesOutliveTheHelperDaemon: what a job has open, a file that it writes to and locks and a fifo among it, stays as it is.
func TestFilesOutliveTheHelperDaemon(t *testing.T) {
	c := cluster(t, 2)
	h1, h2 := c.Host("h1"), c.Host("h2")
	j := job{host: h1, dir: "/home/talk"}
	(job{host: h1}).must(t, "mkdir -p /home/talk")
	j.must(t, `mkfifo fifo && cat > reader.py <<'P'
import fcntl, sys
log = open("log", "w")
fcntl.flock(log, fcntl.LOCK_EX)
data = open("data", "r+b")
log.write("begun\n"); log.flush()
print("here", flush=True)
n = 0
for line in open("fifo"):
    n += 1
    data.seek(4096 * n); data.write(line.encode()); data.flush()
    log.write(line)
    print(n, line, end="", flush=True)
log.close()
data.seek(4096); print("first", data.read(4).decode().strip())
P
truncate -s 100000 data`)
	usable(t, j, "h2")
	reader := j.begin(t, "sh", "-c", "exec onehost run -q --no-local --hosts h2 python3 reader.py >out")
	has := func(file, want string) func() bool {
		return func() bool { return j.sh(t, "cat "+file).out == want }
	}
	eventually(t, 10*time.Second, "it has begun", has("out", "here\n"))
	process := identity(t, h2, "reader.py")
	writer := j.begin(t, "sh", "-c", "exec sleep 1008 >fifo") // as long as it has the fifo open there is no end of file
	restart := restartOf(t, h2, h1)
	out, log := "here\n", "begun\n"
	for i := 1; i < 6; i++ {
		j.must(t, fmt.Sprintf("echo line %d >fifo", i))
		out, log = out+fmt.Sprintf("%d line %d\n", i, i), log+fmt.Sprintf("line %d\n", i)
		eventually(t, 10*time.Second, "it has read a line of the fifo", has("out", out))
		restart()
		if r := j.sh(t, "flock -n log true"); r.status == 0 {
			t.Error("its lock is lost")
		}
	}
	if now := identity(t, h2, "reader.py"); now != process || now == "" {
		t.Errorf("it is process %q of its host, and was %q", now, process)
	}
	if err := writer.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = writer.Wait() // killed
	if err := reader.Wait(); err != nil {
		t.Error(err)
	}
	if !has("out", out+"first line\n")() || !has("log", log)() {
		t.Errorf("its output: %q, and its log: %q", j.must(t, "cat out"), j.must(t, "cat log"))
	}
	if got := j.must(t, "for i in 1 2 3 4 5; do dd if=data bs=1 skip=$((4096 * i)) count=6 2>/dev/null; echo; done"); got != "line 1\nline 2\nline 3\nline 4\nline 5\n" {
		t.Errorf("what it wrote: %q", got)
	}
}

// TestBuildOutlivesTheHelperDaemon: a build goes on when the daemons of its helpers are killed and started again; nothing of it begins twice.
func TestBuildOutlivesTheHelperDaemon(t *testing.T) {
	c := cluster(t, 3)
	j := job{host: c.Host("h1"), dir: "/home/compiled", limit: 3 * time.Minute}
	(job{host: c.Host("h1")}).must(t, "mkdir -p /home/compiled")
	j.must(t, `for i in $(seq 24); do
	{ echo '#include <stdio.h>'; for k in $(seq 20); do echo "int f${i}_$k(int x) { for (int i = 0; i < x; i++) x ^= i * $k + $i; return x; }"; done; } >s$i.c
done
printf '%s\n' 'all: $(patsubst %.c,%.o,$(wildcard s*.c))' '%.o: %.c' '	@mktemp runs/$*.XXXXXX >/dev/null && gcc -O2 -c -o $@ $<' >Makefile
mkdir runs && make -s -j3 && sha256sum s*.o >/tmp/want`)
	usable(t, j, "h2")
	usable(t, j, "h3")
	for _, harm := range []string{"h2", "h3", "h2"} {
		j.must(t, "rm -rf s*.o runs && mkdir runs")
		harmed := make(chan error, 1)
		timer := time.AfterFunc(500*time.Millisecond+rand.N(time.Second), func() { harmed <- c.Host(names.HostName(harm)).Restart(t.Context()) }) //nolint:gosec // any moment will do
		r := j.sh(t, "onehost run --no-local make -s -j8")
		if timer.Stop() {
			t.Fatal("the build was over before anything was done")
		}
		if err := <-harmed; err != nil {
			t.Fatal(err)
		}
		if r.status != 0 {
			t.Fatal(r)
		}
		t.Log(parseSummary(t, r.err).line)
		if got := j.must(t, "sha256sum s*.o | diff - /tmp/want; :"); got != "" {
			t.Errorf("it differs: %s", got)
		}
		if got := j.must(t, "ls runs | sed 's/[.].*//' | sort | uniq -d; ls runs | wc -l"); got != "24\n" {
			t.Errorf("what began twice, and how much began: %s", got)
		}
		eventually(t, 5*time.Second, harm+" has no jobs", func() bool {
			r, err := j.try(t.Context(), "onehost hosts")
			return err == nil && r.status == 0 && hosts(t, j.host)[names.HostName(harm)].Jobs == 0
		})
	}
	noJobLeft(t, c)
	if s := stuck(t, c); s != nil {
		t.Errorf("stuck: %q", s)
	}
}

// TestDrainAfterARestart: jobs that are older than the daemon count when their host is drained, and it takes no new ones.
func TestDrainAfterARestart(t *testing.T) {
	c := cluster(t, 3)
	h1, h2 := c.Host("h1"), c.Host("h2")
	j := job{host: h1}
	j.must(t, "mkdir -p /home/talk && : >/home/talk/log")
	usable(t, j, "h2")
	talk := converse(t, h1, "h2")
	restart := restartOf(t, h2, h1)
	restart()
	eventually(t, 5*time.Second, "the job is counted", func() bool {
		r, err := j.try(t.Context(), "onehost drain h2")
		return err == nil && r.status == 0 && strings.Contains(r.out, "1 job still runs there")
	})
	restart()
	if r := j.sh(t, "onehost run -q --no-local --hosts h2 true"); r.status == 0 {
		t.Errorf("a drained host took a job: %v", r)
	}
	w := waitDrained(t, h1, "--wait 1m h2")
	talk.say("still")
	talk.hear("1 still")
	select {
	case <-w.ended:
		t.Fatalf("the wait ended before the job: %v, %q", w.err, w.errs.String())
	default:
	}
	talk.in.Close()
	talk.hear("end of file")
	if err := talk.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if status := w.end(10 * time.Second); status != 0 {
		t.Errorf("drain --wait ended with %d: %q", status, w.errs.String())
	}
}

// TestStopOutlivesTheHelperDaemon: ^Z and fg do what they do, also when the daemon of the host that runs the job is started again between them.
func TestStopOutlivesTheHelperDaemon(t *testing.T) {
	c := cluster(t, 3)
	h1, h2 := c.Host("h1"), c.Host("h2")
	usable(t, job{host: h1}, "h2")
	x := openTerminal(t, h1)
	x.typed("clear; onehost run -q --no-local --hosts h2 sleep 1007")
	state := func(want string) func() bool {
		return func() bool {
			return strings.TrimSpace(job{host: h2}.must(t, "ps -eo stat=,args= | grep -x '.* sleep [1]007' | cut -c1; :")) == want
		}
	}
	eventually(t, 20*time.Second, "it runs", state("S"))
	process := identity(t, h2, "sleep 1007")
	restart := restartOf(t, h2, h1)
	for range 2 {
		x.key("C-z")
		eventually(t, stopLimit, "it is stopped", state("T"))
		restart()
		x.typed("clear; fg")
		eventually(t, stopLimit, "it goes on", state("S"))
		restart()
	}
	if now := identity(t, h2, "sleep 1007"); now != process || now == "" {
		t.Errorf("it is process %q of its host, and was %q", now, process)
	}
	x.key("C-c")
	eventually(t, stopLimit, "it has ended", state(""))
	x.typed("clear; echo status $?")
	x.see("the shell", func(s string) bool { return strings.Contains(s, "status ") })
}
