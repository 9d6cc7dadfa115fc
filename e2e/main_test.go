// Package e2e_test holds onehost to its promises from outside: real hosts made by split, the real daemon in each of them, and
// real programs. What a program does through `onehost run` is compared with what it does without.
package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/split"
)

// programs is where TestMain built onehost and onehostd.
const programsEnv = "ONEHOST_E2E_PROGRAMS"

// prefixEnv, if set, keeps the hosts of this run apart from those of another that runs at the same time.
const prefixEnv = "ONEHOST_E2E_PREFIX"

func TestMain(m *testing.M) {
	if split.Reexec(os.Args) {
		return
	}
	if os.Getenv(rexecEnv) != "" {
		if err := rexecProgram(os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv(programsEnv) == "" {
		dir, err := os.MkdirTemp("", "onehost-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		build := exec.Command("go", "build", "-o", dir+"/", "../cmd/onehost", "../cmd/onehostd")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		if err := os.Setenv(programsEnv, dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// quota makes hosts slow enough that two cores carry four of them, as the demo's.
const quota split.Quota = 450

// cluster makes a split that ends with the test, and waits until all hosts know of each other's slots.
func cluster(t *testing.T, hosts int) *split.Cluster {
	t.Helper()
	return clusterOf(t, split.Config{Hosts: hosts, Quota: quota})
}

func clusterOf(t *testing.T, cfg split.Config) *split.Cluster {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("hosts on this machine need root")
	}
	dir := os.Getenv(programsEnv)
	cfg.Name = splitName(t)
	if cfg.Daemon == "" {
		cfg.Daemon = filepath.Join(dir, "onehostd")
	}
	cfg.Onehost = filepath.Join(dir, "onehost")
	_ = split.Down(t.Context(), cfg.Name) // of a run that was killed
	c, err := split.Up(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if t.Failed() {
			logs(ctx, t, c)
		}
		if err := c.Down(ctx); err != nil {
			t.Errorf("split down: %v", err)
		}
	})
	return c
}

// splitName makes a name of a private split from the test's.
func splitName(t *testing.T) string {
	name := strings.ToLower(strings.TrimPrefix(t.Name(), "Test"))
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, name)
	if len(name) > 18 {
		name = name[:18]
	}
	return cmp.Or(os.Getenv(prefixEnv), "e2e") + "-" + strings.Trim(name, "-")
}

// logs shows what the daemons said, and what runs.
func logs(ctx context.Context, t *testing.T, c *split.Cluster) {
	for _, h := range c.Hosts() {
		if out, err := h.Command(ctx, "ps", "-eo", "pid,ppid,pgid,stat,wchan:24,args").Output(); err == nil {
			t.Logf("%s: %s", h.Name(), out)
		}
		out, err := h.Command(ctx, "sh", "-c", "tail -n 30 /var/log/onehostd.log").Output()
		if err == nil && len(out) > 0 {
			t.Logf("%s: %s", h.Name(), out)
		}
	}
}

// result is how a program ended and what it said.
type result struct {
	out, err string
	status   int
}

func (r result) String() string {
	return fmt.Sprintf("status %d\nstdout: %q\nstderr: %q", r.status, brief(r.out), brief(r.err))
}

func brief(s string) string {
	if len(s) > 1500 {
		return s[:700] + " … " + s[len(s)-700:]
	}
	return s
}

// await, in a script, waits for a condition as long as a busy machine may need; then it shows a file and ends the script.
const await = `await() { local end=$((SECONDS + 30)); until eval "$1"; do [ $SECONDS -lt $end ] || ` +
	`{ echo "not within 30 s: $1"; [ -z "$2" ] || cat "$2"; exit 99; } >&2; sleep 0.02; done; }; `

// job is a program in a host.
type job struct {
	host  *split.Host
	user  string
	dir   string
	env   []string
	limit time.Duration // 0: a minute
}

// sh runs a script to its end. That the host or the limit ends it fails the test.
func (j job) sh(t *testing.T, script string) result {
	t.Helper()
	r, err := j.try(t.Context(), script)
	if err != nil {
		t.Fatalf("%s: %v\nstdout: %q\nstderr: %q", brief(script), err, brief(r.out), brief(r.err))
	}
	return r
}

func (j job) try(ctx context.Context, script string) (result, error) {
	limit := j.limit
	if limit == 0 {
		limit = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := j.host.Command(ctx, "bash", "-c", await+script)
	cmd.Dir, cmd.User = j.dir, j.user
	cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "ONEHOST_NO_COLOR=1"}, j.env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	r := result{out: out.String(), err: errs.String()}
	var exit *split.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		r.status, err = exit.Status(), nil
	}
	return r, err
}

// must runs a script that has to end well, and gives its output.
func (j job) must(t *testing.T, script string) string {
	t.Helper()
	r := j.sh(t, script)
	if r.status != 0 {
		t.Fatalf("%s: %v", brief(script), r)
	}
	return r.out
}

// eventually polls a condition until the limit.
func eventually(t *testing.T, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, limit)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// hosts asks a host's daemon who is in the cluster.
func hosts(t *testing.T, at *split.Host) map[names.HostName]control.Host {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := control.Dial(ctx, at.Control())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var reply control.HostsReply
	if err := c.Open(control.OpHosts, struct{}{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Receive(&reply); err != nil {
		t.Fatal(err)
	}
	m := map[names.HostName]control.Host{}
	for _, h := range reply.Hosts {
		m[h.Name] = h
	}
	return m
}
