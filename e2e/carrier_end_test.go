package e2e_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/onehost/onehost/split"
)

// TestHelperDaemonStaysAway: a daemon that does not come back leads to the end of what its host runs for others, in the time in which a crash does, and
// its jobs begin again elsewhere, once what was left of them has ended.
func TestHelperDaemonStaysAway(t *testing.T) {
	for _, how := range []struct {
		name string
		stop func(context.Context, *split.Host) error
	}{{"killed", killDaemon}, {"stopped", stopDaemon}} {
		t.Run(how.name, func(t *testing.T) {
			c := cluster(t, 3)
			h1, h2 := c.Host("h1"), c.Host("h2")
			j := job{host: h1}
			j.must(t, "mkdir -p /home/talk && : >/home/talk/log")
			usable(t, j, "h2")
			usable(t, j, "h3")
			again := h1.Command(t.Context(), "sh", "-c", `cd /home/talk && exec onehost run -q --no-local make -s -j8 -f -`)
			again.Stdin = strings.NewReader("all: $(patsubst %,%.x,1 2 3 4)\n%.x:\n\t@echo $@ $$(date +%s%N) >>begun; sleep 2.7; echo $@ $$(date +%s%N) >>over\n")
			if err := again.Start(); err != nil {
				t.Fatal(err)
			}
			sleepers := func(h *split.Host) int {
				n, err := strconv.Atoi(strings.TrimSpace(job{host: h}.must(t, "pgrep -c -x -f 'sleep 2[.]7'; :")))
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			eventually(t, 10*time.Second, "both helpers have some", func() bool { return sleepers(h2) > 0 && sleepers(c.Host("h3")) > 0 })
			begin := time.Now()
			if err := how.stop(t.Context(), h2); err != nil {
				t.Fatal(err)
			}
			for sleepers(h2) > 0 && time.Since(begin) < 10*time.Second {
				time.Sleep(20 * time.Millisecond)
			}
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("they ran on for %v", took)
			} else {
				t.Logf("they ended after %v", took)
			}
			nothingCarried(t, h2, 5*time.Second)
			if err := again.Wait(); err != nil {
				t.Errorf("the build: %v", err)
			}
			if out := j.must(t, "cut -d' ' -f1 /home/talk/over | sort"); out != "1.x\n2.x\n3.x\n4.x\n" {
				t.Errorf("what came to its end: %q", out)
			}
			if err := h2.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			usable(t, j, "h2")
		})
	}
}

// TestVotersDaemonStaysAway: nobody can declare the one voter of two hosts failed. What it ran for the other ends all the same, and begins again there.
func TestVotersDaemonStaysAway(t *testing.T) {
	c := cluster(t, 2)
	h1, h2 := c.Host("h1"), c.Host("h2")
	j := job{host: h2}
	j.must(t, "mkdir -p /home/talk && : >/home/talk/log")
	usable(t, j, "h1")
	talk := converse(t, h2, "h1")
	talk.say("one")
	talk.hear("1 one")
	if err := killDaemon(t.Context(), h1); err != nil {
		t.Fatal(err)
	}
	nothingCarried(t, h1, 6*time.Second)
	if _, err := talk.out.ReadString('\n'); !errors.Is(err, io.EOF) {
		t.Errorf("the job's output: %v", err)
	}
	var ended *split.ExitError
	if err := talk.cmd.Wait(); !errors.As(err, &ended) || ended.Code == 0 {
		t.Errorf("it ended with %v; want a failure", err)
	}
	if err := h1.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	usable(t, j, "h1")
}

// TestCarrierIsKilled: when what runs the jobs is killed they are lost, as in a crash, and begin again; the daemon clears up, and takes others.
func TestCarrierIsKilled(t *testing.T) {
	c := cluster(t, 3)
	h1, h2 := c.Host("h1"), c.Host("h2")
	b := newBuilder(t, job{host: h1}, 20)
	usable(t, b.job, "h2")
	usable(t, b.job, "h3")
	kill := func(ctx context.Context) error {
		return h2.Command(ctx, "sh", "-c", "pkill -KILL -x onehost-carrier").Run()
	}
	for range 2 {
		b.during(t, 500*time.Millisecond+rand.N(2*time.Second), "", kill) //nolint:gosec // any moment will do
		usable(t, b.job, "h2")
	}
	left := ""
	eventually(t, 10*time.Second, "one carrier is there, and what is its", func() bool {
		if now := (job{host: h2}).must(t, leftovers); now != left {
			left = now
			t.Logf("processes, mounts, directories, groups: %s", left)
		}
		return left == "2 2 2 1\n"
	})
	// Together with the daemon, which then finds its remains.
	if err := h2.Command(t.Context(), "sh", "-c", "pkill -KILL -x 'onehost-carrier|onehostd'").Run(); err != nil {
		t.Fatal(err)
	}
	if err := h2.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingCarried(t, h2, 5*time.Second)
	usable(t, b.job, "h2")
	if s := stuck(t, c); s != nil {
		t.Errorf("stuck: %q", s)
	}
}

// TestLeaveEndsCarriers: a host that leaves has nothing of the others any more, nor have they of it.
func TestLeaveEndsCarriers(t *testing.T) {
	c := cluster(t, 3)
	h1, h2 := c.Host("h1"), c.Host("h2")
	j := job{host: h1}
	j.must(t, "mkdir -p /home/talk && : >/home/talk/log")
	usable(t, j, "h2")
	usable(t, job{host: h2}, "h3")
	talk := converse(t, h1, "h2")
	restartOf(t, h2, h1)()
	usable(t, job{host: h2}, "h3")
	(job{host: h2}).must(t, "onehost leave")
	nothingCarried(t, h2, 10*time.Second)
	nothingCarried(t, c.Host("h3"), 10*time.Second)
	if _, err := talk.out.ReadString('\n'); !errors.Is(err, io.EOF) {
		t.Errorf("the job's output: %v", err)
	}
	var ended *split.ExitError
	if err := talk.cmd.Wait(); !errors.As(err, &ended) || ended.Code == 0 {
		t.Errorf("it ended with %v; want a failure", err)
	}
}

// TestHomeIsGone: carriers of a home that has crashed, or begun another life, end.
func TestHomeIsGone(t *testing.T) {
	c := cluster(t, 3)
	h1, h2 := c.Host("h1"), c.Host("h2")
	j := job{host: h1}
	j.must(t, "mkdir -p /home/talk && : >/home/talk/log")
	usable(t, j, "h2")
	_ = converse(t, h1, "h2")
	restartOf(t, h2, h1)()
	if err := h1.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingCarried(t, h2, 5*time.Second)
	// It goes unnoticed by a daemon that is not there: the next one finds it.
	if err := h1.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	usable(t, j, "h2")
}
