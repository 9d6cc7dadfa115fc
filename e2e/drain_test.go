package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/split"
)

// spread runs a make of many recipes without home, and counts those of each host.
func spread(t *testing.T, j job) map[string]int {
	t.Helper()
	r := j.sh(t, `printf 'all: %s\n%%:; @sleep 0.05\n' "$(seq -s ' ' 16)" > /home/talk/spread.mk && onehost run --explain --no-local make -s -j8 -f /home/talk/spread.mk`)
	if r.status != 0 {
		t.Fatalf("make: %v", r)
	}
	on := map[string]int{}
	for line := range strings.Lines(r.err) {
		if f := strings.Fields(line); len(f) > 2 && strings.Contains(line, " sleep ") {
			on[f[0]]++
		}
	}
	if n := on["h1"] + on["h2"] + on["h3"]; n < 16 {
		t.Fatalf("%d recipes were told of: %v", n, r)
	}
	return on
}

// waiting is an `onehost drain --wait`.
type waiting struct {
	cmd       *split.Cmd
	out, errs bytes.Buffer
	ended     chan struct{} // guards what follows, and the buffers
	err       error
}

func waitDrained(t *testing.T, h *split.Host, args string) *waiting {
	t.Helper()
	w := &waiting{cmd: h.Command(t.Context(), "sh", "-c", "exec onehost drain "+args+" >/tmp/drained"), ended: make(chan struct{})}
	job{host: h}.must(t, ": >/tmp/drained")
	w.cmd.Stdout, w.cmd.Stderr = &w.out, &w.errs
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(w.ended)
		w.err = w.cmd.Wait()
	}()
	eventually(t, 10*time.Second, "drain waits on "+string(h.Name()), func() bool {
		return strings.Contains(job{host: h}.must(t, "cat /tmp/drained"), "\n")
	})
	return w
}

// end waits for the end, and gives its status; -1 if there is none in time.
func (w *waiting) end(limit time.Duration) int {
	select {
	case <-w.ended:
	case <-time.After(limit):
		return -1
	}
	var exit *split.ExitError
	switch {
	case w.err == nil:
		return 0
	case errors.As(w.err, &exit):
		return exit.Status()
	}
	return -1
}

// TestDrain: a drained host takes no new jobs and goes on with those it has; drain --wait returns when it has none; it takes jobs again when it is
// resumed.
func TestDrain(t *testing.T) {
	c := cluster(t, 3)
	h1, h2 := c.Host("h1"), c.Host("h2")
	j := job{host: h1}
	j.must(t, "mkdir -p /home/talk && : >/home/talk/log && "+people)
	usable(t, j, "h2")
	usable(t, j, "h3")
	if on := spread(t, j); on["h2"] == 0 || on["h3"] == 0 {
		t.Fatalf("before, the recipes ran on %v", on)
	}
	says := func(at *split.Host, user, command string, status int, out, errs string) {
		t.Helper()
		if r := (job{host: at, user: user}).sh(t, "onehost "+command); r.status != status || r.out != out || r.err != errs {
			t.Errorf("onehost %s: %v; want status %d, %q, %q", command, r, status, out, errs)
		}
	}
	state := func() string { return hosts(t, h1)["h2"].State }
	const rootOnly = "only root may change the cluster: try again with sudo\n"
	says(h1, "alice", "drain h2", 1, "", "onehost: drain: "+rootOnly)
	says(h1, "alice", "resume h2", 1, "", "onehost: resume: "+rootOnly)
	says(h1, "", "drain h9", 1, "", "onehost: drain: no host \"h9\" in this cluster: 'onehost hosts' lists them\n")
	says(h1, "", "resume h2", 0, "h2 took jobs already\n", "")
	if s := state(); s != "alive" {
		t.Fatalf("h2 is %s", s)
	}

	talk := converse(t, h1, "h2")
	says(h1, "", "drain h2", 0, "h2 takes no new jobs; 1 job still runs there\n", "")
	says(h2, "", "drain", 0, "h2 took no new jobs already; 1 job still runs there\n", "")
	if s := state(); s != "drained" {
		t.Errorf("h2 is %s", s)
	}
	if on := spread(t, j); on["h2"] != 0 || on["h3"] < 16 {
		t.Errorf("while h2 is drained, the recipes ran on %v", on)
	}
	if r := j.sh(t, "onehost run --no-local --hosts h2 true"); r.status == 0 || !strings.Contains(r.err, "no host can take (no host): true") {
		t.Errorf("a command that only h2 may run: %v", r)
	}
	if r := (job{host: h2}).sh(t, "onehost run --explain perl -e 1"); r.status != 0 || !strings.Contains(r.err, "home idle") {
		t.Errorf("a lone command of the drained host's own: %v", r)
	}
	says(h1, "", "drain --wait 300ms h2", 1, "h2 took no new jobs already; 1 job still runs there\n",
		"onehost: drain: 1 job still runs on h2 after 300ms; it stays drained until 'onehost resume h2'\n")

	w := waitDrained(t, h1, "--wait 1m h2")
	if err := w.cmd.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if status := w.end(2 * time.Second); status != 130 {
		t.Errorf("^C ended the wait with %d", status)
	}
	all := []*waiting{waitDrained(t, h1, "--wait 1m h2"), waitDrained(t, h2, "--wait 1m")}
	talk.say("still")
	talk.hear("1 still")
	time.Sleep(500 * time.Millisecond) // several times what they ask in
	for i, w := range all {
		select {
		case <-w.ended:
			t.Fatalf("wait %d ended before the job: %v, %q", i, w.err, w.errs.String())
		default:
		}
	}
	talk.say("exit")
	talk.hear("after 2")
	var ended *split.ExitError
	if err := talk.cmd.Wait(); !errors.As(err, &ended) || ended.Code != 7 {
		t.Errorf("the job ended with %v; want status 7", err)
	}
	for i, w := range all {
		if status := w.end(5 * time.Second); status != 0 {
			t.Errorf("wait %d: status %d, %v, %q", i, status, w.err, w.errs.String())
		}
	}
	if out := j.must(t, "cat /tmp/drained"); !strings.HasSuffix(out, "\nno job of another host runs there any more\n") {
		t.Errorf("the wait said %q", out)
	}

	says(h1, "", "resume h2", 0, "h2 takes jobs again\n", "")
	says(h1, "", "resume h2", 0, "h2 took jobs already\n", "")
	usable(t, j, "h2")
	if on := spread(t, j); on["h2"] == 0 {
		t.Errorf("after it was resumed, the recipes ran on %v", on)
	}

	begin := time.Now()
	if err := c.Host("h3").Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	known(t, []*split.Host{h1}, "h3", begin)
	says(h1, "", "drain h3", 1, "", "onehost: drain: host h3 is failed: it takes no jobs anyway\n")
	says(h1, "", "resume h3", 1, "", "onehost: resume: host h3 is failed: it comes back when its onehostd does\n")
	says(h1, "", "leave h3", 0, "h3 left the cluster\n", "")
	for _, command := range []string{"drain", "resume"} {
		r := j.sh(t, "onehost "+command+" h3")
		if r.status != 1 || !strings.HasPrefix(r.err, "onehost: "+command+": host 3 is not a member of cluster ") || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%s of a host that left: %v", command, r)
		}
	}
}

// TestDrainWaitsForWhatJobsLeave: what a job has left in the background counts until its session ends.
func TestDrainWaitsForWhatJobsLeave(t *testing.T) {
	c := cluster(t, 2)
	h1 := c.Host("h1")
	j := job{host: h1}
	j.must(t, "mkdir -p /home/talk")
	usable(t, j, "h2")
	cmd := j.begin(t, "onehost", "run", "-q", "--no-local", "make", "-s", "-f", "/dev/null", "--eval",
		"all: ; @setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $$! >/home/talk/left\nlast: all ; @while ! [ -e /home/talk/end ]; do sleep 0.02; done", "last")
	eventually(t, 20*time.Second, "the recipe has left something", func() bool { return j.sh(t, "test -s /home/talk/left").status == 0 })
	eventually(t, 20*time.Second, "both count", func() bool {
		return j.must(t, "onehost drain h2 | grep -o '[0-9][0-9]* job.*'; :") == "2 jobs still run there\n"
	})
	w := waitDrained(t, h1, "--wait 1m h2")
	j.must(t, ": >/home/talk/end")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if status := w.end(10 * time.Second); status != 0 {
		t.Errorf("status %d, %v, %q", status, w.err, w.errs.String())
	}
}

// TestDrainedDaemonIsReplaced: jobs come all the time, which must not begin a second time, while the daemon of a helper is drained, started again
// and resumed. None is lost.
func TestDrainedDaemonIsReplaced(t *testing.T) {
	c := cluster(t, 3)
	h1, h2 := c.Host("h1"), c.Host("h2")
	j := job{host: h1}
	usable(t, j, "h2")
	usable(t, j, "h3")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var stop atomic.Bool
	var ran, there atomic.Int32
	var workers sync.WaitGroup
	var once strings.Builder
	for n := range 40 {
		fmt.Fprintln(&once, n+1)
	}
	j.must(t, `printf 'all: %s\nall: ; @:\n%%:; @sleep 0.0$$(($@ %% 9)); echo $@ >>$(LOG)\n' "$(seq -s ' ' 40)" > /root/many.mk`)
	for i := range 2 {
		workers.Go(func() {
			for n := 0; !stop.Load(); n++ {
				log := fmt.Sprintf("/root/log.%d.%d", i, n)
				r, err := j.try(ctx, "onehost run --explain --no-local --fallback=never make -s -k -j6 -f /root/many.mk LOG="+log+" && sort -n "+log)
				if err != nil || r.status != 0 || r.out != once.String() {
					t.Errorf("make %d of worker %d: %v, %v", n, i, err, r)
					return
				}
				ran.Add(40)
				there.Add(int32(strings.Count(r.err, "h2 ")))
			}
		})
	}
	used := func() {
		t.Helper()
		was := there.Load()
		eventually(t, 30*time.Second, "h2 runs jobs", func() bool { return there.Load() > was+2 || t.Failed() })
	}
	for round := range 6 {
		used()
		if round%2 > 0 { // all of it there, as fast as it goes
			out := job{host: h2}.must(t, "onehost drain --wait 30s")
			if err := h2.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			out += job{host: h2}.must(t, "onehost resume")
			if !strings.Contains(out, "no job of another host runs there") || !strings.Contains(out, "h2 takes jobs again") && !strings.Contains(out, "h2 took jobs already") {
				t.Errorf("drain --wait and resume: %q", out)
			}
			continue
		}
		if out := j.must(t, "onehost drain --wait 30s h2"); !strings.Contains(out, "no job of another host runs there") {
			t.Errorf("drain --wait: %q", out)
		}
		was := hosts(t, h1)["h2"].Incarnation
		if err := h2.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "the new daemon is known", func() bool {
			row := hosts(t, h1)["h2"]
			return row.Incarnation > was && row.State != "failed"
		})
		failed := j.must(t, `grep -c 'a host failed.*h2' /var/log/onehostd.log; :`)
		if s := hosts(t, h1)["h2"].State; s != "drained" && failed == "0\n" {
			t.Errorf("after the restart h2 is %s", s)
		}
		j.must(t, "onehost resume h2")
		if t.Failed() {
			break
		}
	}
	used()
	stop.Store(true)
	workers.Wait()
	t.Logf("%d jobs, %d of them on h2", ran.Load(), there.Load())
	if row := hosts(t, h2)[names.HostName("h2")]; row.State != "alive" {
		t.Errorf("in the end h2 is %s", row.State)
	}
}
