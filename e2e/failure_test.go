package e2e_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/split"
)

// during runs a build, does something to a host in the middle of it, and checks that the build came to its end as if nothing had
// happened, in bounded time.
func (b *builder) during(t *testing.T, after time.Duration, flags string, harm func(ctx context.Context) error) {
	t.Helper()
	b.fresh(t)
	harmed := make(chan error, 1)
	timer := time.AfterFunc(after, func() { harmed <- harm(t.Context()) })
	begin := time.Now()
	r, err := b.job.try(t.Context(), `cd $dir && onehost run `+flags+` make -s -j8`)
	took := time.Since(begin)
	if timer.Stop() {
		t.Logf("the build was over after %v, before %v", took, after)
		harmed <- harm(t.Context())
	}
	if err := <-harmed; err != nil {
		t.Error(err)
	}
	if err != nil || r.status != 0 {
		t.Errorf("after %v of %v: %v: %v", after, took, err, r)
		return
	}
	t.Logf("after %v of %v: %s", after.Round(time.Millisecond), took.Round(time.Millisecond), parseSummary(t, r.err).line)
	b.check(t)
}

// usable waits until a host takes jobs again.
func usable(t *testing.T, j job, name names.HostName) {
	t.Helper()
	eventually(t, 30*time.Second, string(name)+" takes jobs", func() bool {
		r, err := j.try(t.Context(), `onehost run -q --no-local --hosts `+string(name)+` uname -n`)
		return err == nil && r.status == 0
	})
}

// stuck lists the processes of a split that wait in the kernel and do not come out of it.
func stuck(t *testing.T, c *split.Cluster) []string {
	t.Helper()
	waiting := func() map[string]string {
		m := map[string]string{}
		for _, stat := range glob(t, "/proc/[0-9]*/stat") {
			data, err := os.ReadFile(stat)
			_, rest, ok := strings.Cut(string(data), ") ")
			if err != nil || !ok || !strings.HasPrefix(rest, "D") {
				continue
			}
			group, err := os.ReadFile(filepath.Join(filepath.Dir(stat), "cgroup"))
			if err == nil && strings.Contains(string(group), "onehost-split-"+splitName(t)) {
				m[stat] = strings.Fields(string(data))[1]
			}
		}
		return m
	}
	deadline := time.Now().Add(10 * time.Second)
	for before := waiting(); len(before) > 0 && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
		now := waiting()
		for stat := range before {
			if _, still := now[stat]; !still {
				delete(before, stat)
			}
		}
		if len(before) == 0 {
			return nil
		}
		if time.Until(deadline) <= 100*time.Millisecond {
			var all []string
			for stat, name := range before {
				all = append(all, stat+" "+name)
			}
			return all
		}
	}
	return nil
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	all, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// killDaemon kills a host's onehostd alone.
func killDaemon(ctx context.Context, h *split.Host) error {
	return h.Command(ctx, "sh", "-c", `for p in /proc/[0-9]*; do
		[ "$(tr '\0' '\n' < $p/cmdline | head -n 1 | sed 's|.*/||')" != onehostd ] || kill -9 ${p#/proc/}; done`).Run()
}

// TestCrash crashes a helper at random moments of a build. ONEHOST_E2E_CRASHES says how often.
func TestCrash(t *testing.T) {
	times := 3
	if n, err := strconv.Atoi(os.Getenv("ONEHOST_E2E_CRASHES")); err == nil {
		times = n
	}
	c := cluster(t, 4)
	b := newBuilder(t, job{host: c.Host("h1")}, 20)
	usable(t, b.job, "h3")
	begin := time.Now()
	b.fresh(t)
	b.job.must(t, `cd $dir && onehost run -q make -s -j8`)
	whole := time.Since(begin)
	h3 := c.Host("h3")
	for range times {
		after := whole/20 + rand.N(whole*8/10) //nolint:gosec // any moment will do
		b.during(t, after, "", h3.Kill)
		if t.Failed() {
			return
		}
		if err := h3.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		usable(t, b.job, "h3")
	}
	if s := stuck(t, c); s != nil {
		t.Errorf("stuck: %q", s)
	}
}

// TestCrashAgain: a voter that crashes as soon as it is back is found, each time: while it is made a voter again, the others can still agree.
func TestCrashAgain(t *testing.T) {
	c := cluster(t, 3)
	h1, h2 := c.Host("h1"), c.Host("h2")
	state := func() string { return hosts(t, h1)["h2"].State }
	eventually(t, 20*time.Second, "three voters", func() bool {
		all := hosts(t, h1)
		return all["h1"].Voter && all["h2"].Voter && all["h3"].Voter
	})
	for range 5 {
		if err := h2.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "h2 to have failed", func() bool { return state() == "failed" })
		if err := h2.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "h2 to be back", func() bool { return state() == "alive" })
		time.Sleep(rand.N(500 * time.Millisecond)) //nolint:gosec // any moment will do
	}
}

// TestTrouble does to a helper, and to the daemon at home, what is less than a crash.
func TestTrouble(t *testing.T) {
	c := cluster(t, 3)
	b := newBuilder(t, job{host: c.Host("h1")}, 20)
	usable(t, b.job, "h2")
	usable(t, b.job, "h3")
	h3 := c.Host("h3")
	const after = 1500 * time.Millisecond
	t.Run("the daemon is killed", func(t *testing.T) {
		b.during(t, after, "", func(ctx context.Context) error { return killDaemon(ctx, h3) })
		if err := h3.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := h3.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		usable(t, b.job, "h3")
	})
	t.Run("it is frozen for a while", func(t *testing.T) {
		b.during(t, after, "", func(ctx context.Context) error {
			if err := h3.Freeze(ctx); err != nil {
				return err
			}
			time.Sleep(3 * time.Second)
			return h3.Thaw(ctx)
		})
		usable(t, b.job, "h3")
	})
	t.Run("its network is cut", func(t *testing.T) {
		b.during(t, after, "", h3.Cut)
		if err := h3.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
		usable(t, b.job, "h3")
	})
	if s := stuck(t, c); s != nil {
		t.Errorf("stuck: %q", s)
	}
	t.Run("the daemon of home is killed", func(t *testing.T) {
		b.during(t, after, "", func(ctx context.Context) error { return killDaemon(ctx, c.Host("h1")) })
	})
	eventually(t, 20*time.Second, "what home ran elsewhere is gone", func() bool {
		out, err := h3.Command(t.Context(), "sh", "-c", "cat /proc/[0-9]*/comm").Output()
		return err == nil && !strings.Contains(string(out), "cc1") && !strings.Contains(string(out), "onehost-nest")
	})
	if s := stuck(t, c); s != nil {
		t.Errorf("stuck: %q", s)
	}
}
