package e2e_test

import (
	"strings"
	"testing"

	"github.com/onehost/onehost/split"
)

// TestRun: what a person sees of `onehost run` besides the work itself.
func TestRun(t *testing.T) {
	c := cluster(t, 3)
	h1 := job{host: c.Host("h1")}
	h1.must(t, `mkdir -p /home/run`)
	h1.dir = "/home/run"

	// First, when no load report has come yet: the jobs wait for one.
	if r := h1.sh(t, `onehost run --no-local uname -n`); r.status != 0 || !strings.Contains(r.err, "1 job: 1 remote, 0 local") {
		t.Errorf("right after joining: %v", r)
	}
	for _, c := range []struct {
		name, script string
		status       int
		out, err     []string // each must be contained
	}{
		{name: "the name of the home", script: `onehost run --no-local -q uname -n`, out: []string{"h1\n"}},
		{
			name: "explain", script: `printf 'all: a b c\na: ; @gcc -E -xc /dev/null >/dev/null\nb: ; @echo b\nc: ; @$(MAKE) -v >/dev/null\n' > m; onehost run --no-local --explain make -f m`,
			err: []string{"gcc -E -xc /dev/null", "echo b", "spreader", "2 remote"},
		},
		{name: "one host only", script: `for i in 1 2 3 4; do onehost run --no-local --hosts h3 --explain true; done`, err: []string{"h3", "1 remote"}},
		{name: "a host that is not there", script: `onehost run --hosts h9 true`, status: 125, err: []string{"onehost: --hosts: no host \"h9\" in this cluster: 'onehost hosts' lists them\n"}},
		{name: "local", script: `onehost run --local --explain gcc -E -xc /dev/null`, err: []string{"--local", "0 remote, 1 local"}},
		{name: "both", script: `onehost run --local --no-local true`, status: 125, err: []string{"exclude"}},
		{name: "run inside run", script: `onehost run -q --slots 0 sh -c 'onehost run sh -c "exit 5"; echo $?; onehost run --no-local -q uname -n'`, out: []string{"5\n", "h1\n"}},
		{name: "run inside run, all elsewhere", script: `onehost run -q --no-local sh -c 'onehost run sh -c "exit 5"; echo $?; onehost run --no-local -q uname -n'`, out: []string{"5\n", "h1\n"}},
		{name: "run inside run goes elsewhere", script: `onehost run --no-local onehost run sh -c 'uname -n; exit 5'`, status: 5, out: []string{"h1\n"}, err: []string{"1 job: 1 remote, 0 local"}},
		{name: "run inside a script that stays", script: `onehost run --no-local sh -c 'onehost run sh -c "sleep 0.1; exit 5"; echo $?; make --version >/dev/null'`, out: []string{"5\n"}, err: []string{"2 jobs: 1 remote, 1 local (1 spreader)"}},
		{name: "run as a make's compiler", script: `printf 'all: 1 2 3\n1 2 3: ; $(CC) -E -xc /dev/null -o /dev/null\n' > m; onehost run --no-local make -s -j3 -f m CC='onehost run gcc'`, err: []string{"4 jobs: 3 remote, 1 local (1 spreader)"}},
		{name: "a script with a make in it", script: `printf 'all: 1 2 3\n1 2 3: ; gcc -E -xc /dev/null -o /dev/null\n' > m; printf '#!/bin/sh\nset -e\nmake -s -j3 -f m\n' > b.sh; chmod +x b.sh; onehost run --no-local ./b.sh`, err: []string{"4 jobs: 3 remote, 1 local (1 spreader)"}},
		{name: "a recipe that asks the daemon", script: `printf 'all: ; @onehost hosts\n' > m; onehost run --no-local make -f m`, out: []string{"h3"}, err: []string{"(1 daemon, 1 spreader)"}},
		{name: "a job elsewhere that asks it", script: `onehost run -q --no-local python3 -c 'import os; os.execlp("onehost", "onehost", "hosts")'`, status: 1, err: []string{"runs away from its home", "onehost run --local"}},
		{name: "run inside run, local", script: `onehost run --no-local onehost run --local gcc -E -xc /dev/null -o /dev/null`, err: []string{"1 job: 0 remote, 1 local (1 spreader)"}},
		{name: "no such command", script: `onehost run nosuchcommand`, status: 127, err: []string{"nosuchcommand"}},
		{name: "not executable", script: `onehost run /etc/passwd`, status: 126, err: []string{"permission denied"}},
		{name: "a directory", script: `onehost run /etc`, status: 126, err: []string{"/etc: is a directory"}},
		{name: "a jobserver that is a fifo", script: `mkfifo g; MAKEFLAGS=' -j3 --jobserver-auth=fifo:g' onehost run -q --no-local printenv MAKEFLAGS`, out: []string{" -j3 --jobserver-auth=-2,-2\n"}},
		{name: "the descriptors by name", script: `onehost run -q --no-local sh -c 'echo a; echo b >/dev/stdout; echo c >/dev/stderr; echo d >>/dev/fd/1' >named 2>&1; cat named`, out: []string{"a\nb\nc\nd\n"}},
		{name: "quiet", script: `onehost run -q --no-local sh -c 'echo out'`, out: []string{"out\n"}},
		{name: "death by a signal", script: `onehost run -q --no-local sh -c 'kill -TERM $$'`, status: 143},
		{name: "only a few slots", script: `printf 'all: 1 2 3 4\n1 2 3 4: ; @gcc -E -xc /dev/null >/dev/null\n' > m; onehost run --slots 1 make -s -j4 -f m`, err: []string{"5 jobs"}},
		{name: "the daemon of another", script: `ONEHOST_CONTROL=/nowhere onehost run true`, status: 125, err: []string{"onehostd", "--local"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h1.sh(t, c.script)
			if r.status != c.status {
				t.Errorf("want status %d: %v", c.status, r)
			}
			for _, want := range c.out {
				if !strings.Contains(r.out, want) {
					t.Errorf("no %q in stdout: %v", want, r)
				}
			}
			for _, want := range c.err {
				if !strings.Contains(r.err, want) {
					t.Errorf("no %q in stderr: %v", want, r)
				}
			}
			if c.err == nil && r.err != "" {
				t.Errorf("stderr is not empty: %v", r)
			}
		})
	}
	t.Run("fallback", func(t *testing.T) {
		victim := c.Host("h3")
		for _, c := range []struct {
			flags  string
			status int
			out    string
		}{
			{"--fallback=never", 1, ""},
			{"", 1, ""}, // not a recipe
			{"--fallback=retry", 0, "done\n"},
		} {
			h1.must(t, `rm -f began`)
			done := make(chan result, 1)
			go func() {
				r, _ := h1.try(t.Context(), `onehost run -q --slots 0 --hosts h3 `+c.flags+` sh -c 'gcc --version >&2; test -e began || { touch began; sleep 20; }; echo done'`)
				done <- r
			}()
			h1.must(t, `for i in $(seq 200); do test ! -e began || exit 0; sleep 0.05; done; exit 1`)
			if err := victim.Kill(t.Context()); err != nil {
				t.Fatal(err)
			}
			r := <-done
			if r.status != c.status || r.out != c.out {
				t.Errorf("%q: want status %d and %q: %v", c.flags, c.status, c.out, r)
			}
			if err := victim.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			usable(t, h1, "h3")
		}
	})
}

// TestAlone: without a cluster, and without a daemon, run says what to do.
func TestAlone(t *testing.T) {
	c := clusterOf(t, split.Config{Hosts: 1, Quota: quota})
	h1 := job{host: c.Host("h1")}
	if r := h1.sh(t, `onehost run --no-local true`); r.status == 0 || !strings.Contains(r.err, "no host") {
		t.Errorf("no other host: %v", r)
	}
	if r := h1.sh(t, `onehost run sh -c 'exit 3'`); r.status != 3 {
		t.Errorf("no other host: %v", r)
	}
	if err := killDaemon(t.Context(), c.Host("h1")); err != nil {
		t.Fatal(err)
	}
	if r := h1.sh(t, `onehost run true`); r.status != 125 || !strings.Contains(r.err, "onehostd") || !strings.Contains(r.err, "--local") || strings.Count(r.err, "\n") != 1 {
		t.Errorf("no daemon: %v", r)
	}
	if r := h1.sh(t, `onehost run -q --local sh -c 'exit 4'`); r.status != 4 || r.err != "" {
		t.Errorf("no daemon, --local: %v", r)
	}
	h1.must(t, `rm -rf /var/lib/onehost; (setsid onehostd >/dev/null 2>&1 </dev/null &); for i in $(seq 100); do onehost status >/dev/null 2>&1 && exit 0; sleep 0.05; done; onehost status; exit 0`)
	if r := h1.sh(t, `onehost run true`); r.status != 125 || !strings.Contains(r.err, "in no cluster") || !strings.Contains(r.err, "onehost init") {
		t.Errorf("no cluster: %v", r)
	}
}
