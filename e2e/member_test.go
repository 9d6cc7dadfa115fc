package e2e_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/split"
)

// crashTime is how soon a crash has to be known everywhere.
const crashTime = time.Second

// known waits until all of the hosts show one as failed, and says how long it took from begin.
func known(t *testing.T, at []*split.Host, of names.HostName, begin time.Time) time.Duration {
	t.Helper()
	eventually(t, 20*time.Second, string(of)+" is shown as failed", func() bool {
		for _, h := range at {
			if hosts(t, h)[of].State != "failed" {
				return false
			}
		}
		return true
	})
	return time.Since(begin)
}

// burn keeps the CPUs of hosts busy with a number of programs each, until the function it gives is called, or for a minute.
func burn(t *testing.T, hs []*split.Host, each int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	var wg sync.WaitGroup
	for _, h := range hs {
		for range each {
			wg.Go(func() { _ = h.Command(ctx, "timeout", "60", "sh", "-c", "while :; do :; done").Run() })
		}
	}
	return func() { cancel(); wg.Wait() }
}

// calm checks that nobody was ever taken for dead.
func calm(t *testing.T, hs []*split.Host) {
	t.Helper()
	for _, h := range hs {
		for name, row := range hosts(t, h) {
			if row.State != "alive" || row.Incarnation != 1 {
				t.Errorf("%s shows %s as %s, incarnation %d", h.Name(), name, row.State, row.Incarnation)
			}
		}
		out, err := h.Command(t.Context(), "sh", "-c", "grep -E 'a host failed|gave this host up' /var/log/onehostd.log || true").Output()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v %s", h.Name(), err, out)
		}
	}
}

// TestStarved gives the daemons of four hosts as little CPU time as a machine with ten times as many programs as CPUs does:
// nobody is taken for dead, and who dies is.
func TestStarved(t *testing.T) {
	c := cluster(t, 4)
	all := c.Hosts()
	stop := burn(t, all, 6)
	defer stop()
	for begin := time.Now(); time.Since(begin) < 15*time.Second && !t.Failed(); time.Sleep(time.Second) {
		calm(t, all)
	}
	begin := time.Now()
	if err := c.Host("h4").Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := known(t, all[:3], "h4", begin)
	t.Logf("under load, the crash of a host was known after %v", took)
	if took > 3*crashTime { // whoever asks is starved as well
		t.Errorf("that took longer than %v", 3*crashTime)
	}
	stop()
	begin = time.Now()
	if err := c.Host("h1").Cut(t.Context()); err != nil {
		t.Fatal(err)
	}
	took = known(t, all[1:3], "h1", begin)
	t.Logf("that the leader was cut off was known after %v", took)
	if took > crashTime {
		t.Errorf("that took longer than %v", crashTime)
	}
}

// TestLastVoter crashes the only voter of two hosts: the other can put nothing on record, but shows what it sees and acts by it.
func TestLastVoter(t *testing.T) {
	c := cluster(t, 2)
	h2 := c.Host("h2")
	j := job{host: h2}
	usable(t, j, "h1")
	running := make(chan result, 1)
	go func() {
		r, _ := j.try(t.Context(), `onehost run -q --no-local --hosts h1 --fallback=never sleep 50`)
		running <- r
	}()
	eventually(t, 10*time.Second, "the job runs", func() bool { return hosts(t, h2)["h1"].Jobs > 0 })
	begin := time.Now()
	if err := c.Host("h1").Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := known(t, []*split.Host{h2}, "h1", begin)
	t.Logf("the other shows it after %v", took)
	if took > crashTime {
		t.Errorf("that took longer than %v", crashTime)
	}
	r := j.sh(t, `onehost hosts`)
	if !strings.Contains(r.err, "stands still") || !strings.Contains(r.out, "failed") {
		t.Errorf("onehost hosts: %v", r)
	}
	if r := j.sh(t, `onehost run -q uname -n`); strings.TrimSpace(r.out) != "h2" {
		t.Errorf("a job went to %q", r.out)
	}
	select {
	case r := <-running:
		t.Logf("the job there ended after %v: %v", time.Since(begin), r)
		if r.status == 0 {
			t.Errorf("a job that crashed with its host ended well: %v", r)
		}
	case <-time.After(10 * time.Second):
		t.Error("what ran there has no end")
	}
	if err := c.Host("h1").Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "both are alive again", func() bool {
		rows := hosts(t, h2)
		return rows["h1"].State == "alive" && rows["h1"].Incarnation == 2 && rows["h2"].State == "alive"
	})
	if r := j.sh(t, `onehost hosts`); r.err != "" {
		t.Errorf("onehost hosts: %v", r)
	}
	usable(t, j, "h1")
}

// TestCalledWhileItStarts: a daemon that is started again is asked things by all others from the moment on that it listens, when it has hardly
// begun, and stands that.
func TestCalledWhileItStarts(t *testing.T) {
	c := cluster(t, 3)
	h1, h2 := c.Host("h1"), c.Host("h2")
	first := names.MakePid(hosts(t, h1)["h2"].Number, 1)
	ctx, end := context.WithCancel(t.Context())
	var (
		askers  sync.WaitGroup
		answers atomic.Int64
	)
	defer askers.Wait()
	defer end()
	for i := range 12 {
		asks := []struct {
			op    string
			what  any
			reply any
		}{
			{control.OpWhere, control.PidRequest{Pid: first}, new(control.WhereReply)},
			{control.OpKill, control.KillRequest{Pid: first}, new(struct{})},
		}
		at, ask := []*split.Host{h1, c.Host("h3")}[i%2], asks[i/2%2]
		askers.Go(func() {
			for ctx.Err() == nil {
				in, cancel := context.WithTimeout(ctx, 2*time.Second)
				if control.Call(in, at.Control(), ask.op, ask.what, ask.reply) == nil {
					answers.Add(1)
				} else {
					time.Sleep(time.Millisecond) // it is away
				}
				cancel()
			}
		})
	}
	back := backOf(t, h2, h1)
	for range 12 {
		back()
		was := answers.Load()
		if err := h2.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "it is asked and answers", func() bool { return answers.Load() > was+100 })
	}
	back()
}
