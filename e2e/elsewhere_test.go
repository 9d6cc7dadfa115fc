package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/split"
)

// touch does to the process of its argument what programs do, and prints what came of it.
const touch = `cat > /tmp/touch.py <<'P'
import errno, os, resource, sys
pid = int(sys.argv[1])
for name, step in {
  "kill": lambda: os.kill(pid, 0),
  "nice": lambda: os.getpriority(os.PRIO_PROCESS, pid),
  "renice": lambda: os.setpriority(os.PRIO_PROCESS, pid, 5),
  "nice now": lambda: os.getpriority(os.PRIO_PROCESS, pid),
  "cpus": lambda: len(os.sched_getaffinity(pid)) > 0,
  "pin": lambda: os.sched_setaffinity(pid, {0}),
  "pinned": lambda: os.sched_getaffinity(pid),
  "limit": lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (500, 600)) and None,
  "limit now": lambda: resource.prlimit(pid, resource.RLIMIT_CPU),
  "group": lambda: os.getpgid(pid) > 0,
  "wait": lambda: os.waitpid(pid, 0),
}.items():
    try: r = step()
    except OSError as e: r = errno.errorcode[e.errno]
    print(name + "=" + str(r).replace(" ", ""), end=" ")
P
`

const (
	touched    = "kill=None nice=0 renice=None nicenow=5 cpus=True pin=None pinned={0} limit=None limitnow=(500,600) group=True wait=ECHILD"
	nobodyThat = "kill=ESRCH nice=ESRCH renice=ESRCH nicenow=ESRCH cpus=ESRCH pin=ESRCH limit=ESRCH limitnow=ESRCH group=ESRCH wait=ECHILD"
)

// results drops what depends on how many CPUs a host has.
func results(out string) string {
	var keep []string
	out = strings.NewReplacer("nice now", "nicenow", "limit now", "limitnow").Replace(out)
	for f := range strings.FieldsSeq(out) {
		if !strings.HasPrefix(f, "pinned=") || strings.HasPrefix(f, "pinned={0}") {
			keep = append(keep, f)
		}
	}
	return strings.Join(keep, " ")
}

// TestProcessElsewhere: a program of a session does to a process of another host what it may do to one of its own, and may do no more.
func TestProcessElsewhere(t *testing.T) {
	c := cluster(t, 2)
	h1, h2 := job{host: c.Hosts()[0]}, job{host: c.Hosts()[1]}
	for _, h := range []job{h1, h2} {
		h.must(t, touch+"useradd -u 4001 -m alice")
	}
	number := hosts(t, h1.host)["h2"].Number
	sleeper := func(as string) names.Pid {
		n := strings.TrimSpace(h2.must(t, "setsid setpriv --reuid "+as+" --regid "+as+" --clear-groups sleep 1000 >/dev/null 2>&1 & echo $!"))
		pid, err := strconv.Atoi(n)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "it is "+as+"'s", func() bool {
			return strings.Contains(h2.sh(t, "cat /proc/"+n+"/comm").out, "sleep") && strings.TrimSpace(h2.sh(t, "stat -c %U /proc/"+n).out) == as
		})
		return names.MakePid(number, pid)
	}
	for _, k := range []struct {
		as, of string
		may    bool
	}{{"root", "root", true}, {"root", "alice", true}, {"alice", "alice", true}, {"alice", "root", false}} {
		natively := job{host: h2.host, user: k.as}
		want := results(natively.must(t, python+" /tmp/touch.py "+strconv.Itoa(sleeper(k.of).Local())))
		pid := sleeper(k.of)
		run := job{host: h1.host, user: k.as}
		if got := results(run.must(t, "onehost run -q "+python+" /tmp/touch.py "+pid.String())); got != want || strings.HasPrefix(got, "kill=None") != k.may {
			t.Errorf("%s touches %s's:\n got %s\nwant %s", k.as, k.of, got, want)
		}
		r := run.sh(t, "onehost run -q "+python+" -c 'import os; os.kill("+pid.String()+", 15)'")
		if k.may != (r.status == 0) {
			t.Errorf("%s ends %s's: %v", k.as, k.of, r)
		} else if k.may {
			eventually(t, 5*time.Second, "it has ended", func() bool {
				return h2.sh(t, "kill -0 "+strconv.Itoa(pid.Local())).status != 0
			})
		}
	}
	for _, pid := range []names.Pid{names.MakePid(number, 32766), names.MakePid(number, 40000), names.MakePid(99, 1)} {
		if got := results(h1.must(t, "onehost run -q "+python+" /tmp/touch.py "+pid.String())); got != nobodyThat {
			t.Errorf("%v, which nobody has:\n got %s\nwant %s", pid, got, nobodyThat)
		}
	}
	// A host that has died is not one where nobody is.
	pid := sleeper("root")
	if err := h2.host.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r := h1.sh(t, "onehost run -q "+python+" -c 'import os; os.kill("+pid.String()+", 15)'")
	if !strings.Contains(r.err, "Host is down") || time.Since(began) > 15*time.Second {
		t.Errorf("a process of a dead host, after %v: %v", time.Since(began), r)
	}
}

// ask has a daemon do one operation.
func ask(t *testing.T, h *split.Host, op string, req, reply any) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	return control.Call(ctx, h.Control(), op, req, reply)
}

// TestJobElsewhere: a job that runs elsewhere, and what it has forked there, are found by their numbers from everywhere.
func TestJobElsewhere(t *testing.T) {
	c := cluster(t, 3)
	h1, h3 := job{host: c.Hosts()[0], dir: "/root"}, job{host: c.Hosts()[2]}
	for _, h := range []job{h1, h3} {
		h.must(t, touch)
	}
	h1.must(t, `cat > prog.py <<'P'
import os, signal, sys, time
def got(number, frame): os.write(1, b"%d got %d\n" % (os.getpid(), number))
for s in (signal.SIGUSR1, signal.SIGUSR2): signal.signal(s, got)
r, w = os.pipe()
child = os.fork()
if not child: os.write(w, b"x")
else: os.read(r, 1); os.write(1, b"job %d child %d at %s\n" % (os.getpid(), child, open("/proc/sys/kernel/hostname").read().strip().encode()))
while True: time.sleep(1000)
P
printf 'all:\n\t`+python+` prog.py\n' > Makefile`)
	cmd := h1.host.Command(t.Context(), "setsid", "-w", "bash", "-c", "exec > out 2>&1; exec onehost run -q --no-local --hosts h2 make")
	cmd.Dir = "/root"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	var pid, child int
	eventually(t, 20*time.Second, "the job", func() bool {
		for line := range strings.Lines(h1.sh(t, "cat out").out) {
			if n, _ := fmt.Sscanf(line, "job %d child %d", &pid, &child); n == 2 {
				return true
			}
		}
		return false
	})
	if pid > names.MaxNative || child < names.FirstLease {
		t.Fatalf("job %d, child %d", pid, child)
	}
	me := hosts(t, h1.host)["h1"].Number
	theJob, theChild := names.MakePid(me, pid), names.MakePid(me, child)
	for _, at := range []*split.Host{h1.host, c.Hosts()[1], h3.host} {
		for _, p := range []names.Pid{theJob, theChild} {
			var w control.WhereReply
			if err := ask(t, at, control.OpWhere, control.PidRequest{Pid: p}, &w); err != nil || w != (control.WhereReply{Pid: p, Home: "h1", Host: "h2"}) {
				t.Errorf("%v as %s sees it: %+v, %v", p, at.Name(), w, err)
			}
		}
	}
	// Once each, wherever it comes from.
	counts := func(word string, of int) func() bool {
		return func() bool { return strings.Count(h1.must(t, "cat out"), word) == of }
	}
	said := fmt.Sprintf("%d got ", pid)
	for i, from := range []*split.Host{h1.host, c.Hosts()[1], h3.host} {
		if err := ask(t, from, control.OpKill, control.KillRequest{Pid: theJob, Signal: int(syscall.SIGUSR1)}, &struct{}{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "the signal comes", counts(said+"10\n", i+1))
		if err := ask(t, from, control.OpKill, control.KillRequest{Pid: theChild, Signal: int(syscall.SIGUSR2)}, &struct{}{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "the child's signal comes", counts(fmt.Sprintf("%d got 12\n", child), i+1))
	}
	group, err := strconv.Atoi(strings.TrimSpace(h1.must(t, fmt.Sprintf("ps -o pgid= -p %d", pid))))
	if err != nil {
		t.Fatal(err)
	}
	// What is set there is set for the ghost, and its family is that of home.
	if got := results(h3.must(t, "onehost run -q "+python+" /tmp/touch.py "+theJob.String())); got != touched {
		t.Errorf("the job, from h3:\n got %s\nwant %s", got, touched)
	}
	if got := results(h3.must(t, "onehost run -q "+python+" /tmp/touch.py "+theChild.String())); got != touched {
		t.Errorf("its child, from h3:\n got %s\nwant %s", got, touched)
	}
	if nice := strings.TrimSpace(h1.must(t, fmt.Sprintf("ps -o ni= -p %d", pid))); nice != "5" {
		t.Errorf("the ghost's nice value is %s", nice)
	}
	for _, p := range []names.Pid{theJob, theChild} {
		out := h3.must(t, "onehost run -q "+python+" -c 'import os; print(os.getpgid("+p.String()+"), os.getsid("+p.String()+"))'")
		if want := fmt.Sprintf("%d %d\n", names.MakePid(me, group), names.MakePid(me, group)); out != want {
			t.Errorf("group and session of %v: %q, want %q", p, out, want)
		}
	}
	// To the group, from elsewhere: make would end by these, so only a question; then the end of all, which is waited for.
	if err := ask(t, h3.host, control.OpKill, control.KillRequest{Pid: names.MakePid(me, group), Group: true}, &struct{}{}); err != nil {
		t.Errorf("may the group be killed: %v", err)
	}
	ended := make(chan error, 2)
	for _, w := range []struct {
		at   *split.Host
		pid  names.Pid
		want control.WaitReply
	}{{h3.host, theJob, control.WaitReply{Known: true, Signal: 9}}, {h1.host, theChild, control.WaitReply{Known: true, Signal: 9}}} {
		go func() {
			var r control.WaitReply
			err := control.Call(t.Context(), w.at.Control(), control.OpWait, control.PidRequest{Pid: w.pid}, &r)
			if err == nil && r != w.want {
				err = fmt.Errorf("%v ended: %+v, want %+v", w.pid, r, w.want)
			}
			ended <- err
		}()
	}
	select {
	case err := <-ended:
		t.Fatalf("it waits for nothing: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	if err := ask(t, h3.host, control.OpKill, control.KillRequest{Pid: names.MakePid(me, group), Group: true, Signal: 9}, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the end is not told")
		}
	}
	eventually(t, 5*time.Second, "nobody has the numbers any more", func() bool {
		for _, p := range []names.Pid{theJob, theChild} {
			if err := ask(t, h3.host, control.OpWhere, control.PidRequest{Pid: p}, &control.WhereReply{}); !errors.Is(err, syscall.ESRCH) {
				return false
			}
		}
		return true
	})
}

// elsewhere checks that members of a test were forked on another host.
func elsewhere(t *testing.T, j job, members ...string) {
	t.Helper()
	for _, m := range members {
		out := strings.TrimSpace(j.must(t, "sed -n 's/^"+m+" is //p' out"))
		if n, err := strconv.Atoi(out); err != nil || n < names.FirstLease {
			t.Fatalf("%s has the number %q, one of home; all: %q", m, out, j.must(t, "cat out"))
		}
	}
}

// TestGroupElsewhere: a signal from another host to a process group reaches each of its members once: those at home, jobs that are elsewhere, and
// what they have started there; in whatever group.
func TestGroupElsewhere(t *testing.T) {
	c := cluster(t, 3)
	j := job{host: c.Hosts()[0], dir: "/root"}
	j.must(t, `cat > member <<'P'
import os, signal, subprocess, sys, time
name = sys.argv[1]
def got(number, frame): os.write(1, b"%s got %d\n" % (name.encode(), number))
for s in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP): signal.signal(s, got)
if len(name) < 3: p = subprocess.Popen(["`+python+`", sys.argv[0], name + "x"])
os.write(1, b"%s is %d\n" % (name.encode(), os.getpid()))
while True: time.sleep(1000)
P
cat > spawn <<'P'
import signal, subprocess, sys
for s in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP): signal.signal(s, lambda *a: None)
p = [subprocess.Popen(["`+python+`", "member", n], process_group=g) for n, g in (("a", None), ("b", 0), ("c", 0))]
for q in p: q.wait()
P
mkdir -p /root/.config/onehost; echo 'spread spawner' > /root/.config/onehost/place; ln -sf `+python+` spawner`)
	cmd := j.host.Command(t.Context(), "setsid", "-w", "bash", "-c", "exec > out 2>&1; echo $$ > group; exec onehost run -q --no-local ./spawner spawn")
	cmd.Dir = "/root"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = j.host.Command(t.Context(), "sh", "-c", "kill -9 -$(cat /root/group)").Run()
		_ = cmd.Wait()
	})
	eventually(t, 20*time.Second, "nine members", func() bool { return strings.Count(j.sh(t, "cat out").out, " is ") == 9 })
	elsewhere(t, j, "ax", "axx", "bx", "cxx")
	me := hosts(t, j.host)["h1"].Number
	pid := func(script string) names.Pid {
		n, err := strconv.Atoi(strings.TrimSpace(j.must(t, script)))
		if err != nil {
			t.Fatal(err)
		}
		return names.MakePid(me, n)
	}
	run, b := pid("cat group"), pid("sed -n 's/^b is //p' out")
	all := func(first string) []string { return []string{first, first + "x", first + "xx"} }
	for i, k := range []struct {
		group names.Pid
		sig   syscall.Signal
		want  []string
	}{
		{b, syscall.SIGUSR1, all("b")},
		{run, syscall.SIGUSR1, all("a")},
		{run, syscall.SIGUSR2, all("a")},
		{b, syscall.SIGUSR2, all("b")},
		{b, syscall.SIGUSR1, all("b")},
		{run, syscall.SIGHUP, all("a")},
	} {
		said := len(j.must(t, "cat out"))
		if err := ask(t, c.Hosts()[i%3], control.OpKill, control.KillRequest{Pid: k.group, Group: true, Signal: int(k.sig)}, &struct{}{}); err != nil {
			t.Fatal(err)
		}
		want := map[string]int{}
		for _, m := range k.want {
			want[fmt.Sprintf("%s got %d", m, k.sig)] = 1
		}
		got := map[string]int{}
		count := func() bool {
			clear(got)
			for line := range strings.Lines(j.must(t, "cat out")[said:]) {
				got[strings.TrimSpace(line)]++
			}
			return maps.Equal(got, want)
		}
		for end := time.Now().Add(5 * time.Second); !count() && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond) // longer than run waits before it passes a signal on that came to it alone
		if !count() {
			t.Errorf("%d: signal %d to group %v: %v, want %v", i, k.sig, k.group, got, want)
		}
	}
}

// TestAllElsewhere: kill(-1) reaches all processes of a user's home once each, wherever they run, when it is called there and when it is called
// for that home on another host; and no others.
func TestAllElsewhere(t *testing.T) {
	c := cluster(t, 2)
	for _, h := range c.Hosts() {
		job{host: h}.must(t, "useradd -u 4001 -m alice")
	}
	j := job{host: c.Hosts()[0], user: "alice", dir: "/home/alice", env: []string{"HOME=/home/alice"}}
	j.must(t, `cat > member <<'P'
import os, signal, subprocess, sys, time
name = sys.argv[1]
def got(number, frame): os.write(1, b"%s got %d\n" % (name.encode(), number))
for s in (signal.SIGUSR1, signal.SIGUSR2): signal.signal(s, got)
p = []
if name in ("a", "b"): p = [subprocess.Popen(["`+python+`", sys.argv[0], name + "x"]), subprocess.Popen(["`+python+`", sys.argv[0], name + "apart"], process_group=0)]
os.write(1, b"%s is %d\n" % (name.encode(), os.getpid()))
while True: time.sleep(1000)
P
cat > spawn <<'P'
import os, signal, subprocess, sys
for s in (signal.SIGUSR1, signal.SIGUSR2): signal.signal(s, lambda *a: None)
p = [subprocess.Popen(["`+python+`", "member", n], process_group=g) for n, g in (("a", None), ("b", 0))]
home = subprocess.Popen(["./local", "member", "home"])
for line in sys.stdin:
    try: os.kill(*map(int, line.split()))
    except OSError as e: print(e, flush=True)
for q in p: q.kill()
home.kill()
P
mkdir -p .config/onehost; printf 'spread spawner\nstay interactive local\n' > .config/onehost/place; ln -sf `+python+` spawner; ln -sf `+python+` local; mkfifo in`)
	cmd := j.host.Command(t.Context(), "bash", "-c", "exec > out 2>&1; (trap '' USR1 USR2; exec sleep 1000 > in) & exec onehost run -q --no-local ./spawner spawn < in")
	cmd.Dir, cmd.User = "/home/alice", "alice"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/home/alice", "LC_ALL=C.UTF-8"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = job{host: j.host}.host.Command(context.Background(), "pkill", "-KILL", "-u", "alice").Run()
		_ = cmd.Wait()
	})
	members := []string{"a", "ax", "aapart", "b", "bx", "bapart", "home"}
	eventually(t, 20*time.Second, "seven members", func() bool { return strings.Count(j.sh(t, "cat out").out, " is ") == len(members) })
	elsewhere(t, j, "ax", "aapart", "bx", "bapart")
	apart := job{host: c.Hosts()[1], user: "alice", dir: "/"}
	apart.must(t, `cat > /tmp/apart.py <<'P'
import os, signal, time
signal.signal(signal.SIGUSR1, lambda *a: os.write(1, b"hit"))
os.write(1, b"ready")
while True: time.sleep(1000)
P
setsid `+python+` /tmp/apart.py > /tmp/apart.out 2>&1 &
await 'grep -q ready /tmp/apart.out'`)
	me := hosts(t, j.host)["h1"].Number
	for i, k := range []struct {
		from func()
		sig  int
	}{
		{func() {
			apart.must(t, fmt.Sprintf("onehost run -q --local true; onehost run -q %s -c 'import os; os.kill(-%d, 10)'", python, names.MakePid(me, 1)))
		}, 10},
		{func() { job{host: j.host}.must(t, "echo -1 12 > /home/alice/in") }, 12},
		{func() {
			apart.must(t, fmt.Sprintf("onehost run -q %s -c 'import os; os.kill(-%d, 12)'", python, names.MakePid(me, 1)))
		}, 12},
	} {
		root := job{host: j.host, dir: j.dir} // alice would be hit herself
		said := len(root.must(t, "cat out"))
		k.from()
		want := map[string]int{}
		for _, m := range members {
			want[fmt.Sprintf("%s got %d", m, k.sig)] = 1
		}
		got := map[string]int{}
		count := func() bool {
			clear(got)
			for line := range strings.Lines(root.must(t, "cat out")[said:]) {
				got[strings.TrimSpace(line)]++
			}
			return maps.Equal(got, want)
		}
		for end := time.Now().Add(5 * time.Second); !count() && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond) // longer than run waits before it passes a signal on that came to it alone
		if !count() {
			t.Errorf("%d: signal %d to all: %v, want %v", i, k.sig, got, want)
		}
	}
	if out := apart.must(t, "cat /tmp/apart.out"); out != "ready" {
		t.Errorf("a process of another home: %q", out)
	}
}
