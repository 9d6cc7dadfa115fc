package e2e_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/split"
)

// TestOn: a command on another host is a process of that host, and to whoever started it a command like any other.
func TestOn(t *testing.T) {
	c := cluster(t, 3)
	h1 := job{host: c.Host("h1")}
	h1.must(t, `mkdir -p /srv/here && printf '#!/bin/sh\necho script of $(uname -n)\n' > /root/s && chmod 755 /root/s`)
	job{host: c.Host("h2")}.must(t, `mkdir -p /srv/there && printf 'echo no shebang $0 $1\n' > /usr/local/bin/plain && chmod 755 /usr/local/bin/plain`)
	h1.dir = "/root"
	for _, c := range []struct {
		name, script string
		status       int
		out, err     string // exactly
	}{
		{name: "by name", script: `onehost on h2 uname -n`, out: "h2\n"},
		{name: "by number", script: `onehost on 3 uname -n`, out: "h3\n"},
		{name: "this host", script: `onehost on h1 uname -n; onehost on 1 uname -n; onehost on 0 uname -n`, out: "h1\nh1\nh1\n"},
		{name: "words stay words", script: `onehost on h2 printf '<%s>' 'a b' '$HOME' '' "$(printf '\377')" '*'`, out: "<a b><$HOME><><\xff><*>"},
		{name: "flags of the command", script: `onehost on h2 -- echo -t; onehost on h2 echo -t --help; onehost on -- h2 echo`, out: "-t\n-t --help\n\n"},
		{name: "its own tree", script: `echo one > /etc/mark; onehost on h2 cat /etc/mark; echo $?; onehost on h2 sh -c 'echo two > /etc/mark'; cat /etc/mark; onehost on h2 cat /etc/mark`, out: "1\none\ntwo\n", err: "cat: /etc/mark: No such file or directory\n"},
		{name: "its own numbers", script: `onehost on h2 sh -c 'test -d /proc/$$ && test $(ps -o ppid= -p $$) = $(ps -o pid= -C onehostd) && ps -o sid= -p $$ | tr -d " " | grep -qx $$'`},
		{name: "out and err", script: `onehost on h2 sh -c 'echo out; echo err >&2; exit 7'`, status: 7, out: "out\n", err: "err\n"},
		{name: "out and err by name", script: `onehost on h2 sh -c 'echo out >/dev/stdout; echo err >/dev/stderr; cat /dev/stdin' < /etc/hostname`, out: "out\nh1\n", err: "err\n"},
		{name: "a shell on a pipe", script: `echo 'uname -n; exit 4' | onehost on h2`, status: 4, out: "h2\n"},
		{name: "no input", script: `onehost on h2 cat < /dev/null; onehost on h2 cat <&-`},
		{name: "input that nobody reads", script: `(yes; echo $? >&2) | onehost on h2 sh -c 'exec <&-; sleep 0.3'`, err: "141\n"},
		{name: "output that nobody reads", script: `set -o pipefail; onehost on h2 yes | head -n 1`, status: 141, out: "y\n"},
		{name: "output that is closed", script: `onehost on h2 sh -c 'echo out; exec >&-; sleep 1; echo late >&2' | { cat; echo end >&2; }`, out: "out\n", err: "end\nlate\n"},
		{name: "output of the background", script: `onehost on h2 sh -c '(sleep 0.3; echo late) & exit 3'`, status: 3, out: "late\n"},
		{name: "statuses", script: `for i in 0 1 2 124 125 126 127 128 255; do onehost on h2 sh -c "exit $i"; echo -n "$? "; done`, out: "0 1 2 124 125 126 127 128 255 "},
		{name: "deaths", script: `for s in 1 2 3 6 9 11 13 14 15 10 40; do sh -c "onehost on h2 sh -c 'kill -$s \$\$'; echo -n \"\$? \"" 2>/dev/null; done`, out: "129 130 131 134 137 139 141 142 143 138 168 "},
		{name: "not found", script: `onehost on h2 nosuch`, status: 127, err: "onehost: on h2: nosuch: no such file or directory\n"},
		{name: "not there", script: `onehost on h2 ./s`, status: 127, err: "onehost: on h2: ./s: no such file or directory\n"},
		{name: "not executable", script: `onehost on h2 /etc/passwd`, status: 126, err: "onehost: on h2: /etc/passwd: permission denied\n"},
		{name: "a directory", script: `onehost on h2 /etc`, status: 126, err: "onehost: on h2: /etc: permission denied\n"},
		{name: "a script without a first line", script: `onehost on h2 plain x`, out: "no shebang /usr/local/bin/plain x\n"},
		{name: "no such host", script: `onehost on h9 true`, status: 125, err: "onehost: on h9: no host \"h9\" in this cluster; there are h1, h2, h3\n"},
		{name: "no such number", script: `onehost on 9 true`, status: 125, err: "onehost: on 9: no host \"9\" in this cluster; there are h1, h2, h3\n"},
		{name: "many words", script: `seq 100000 | xargs -s 1500000 -n 100000 onehost on h2 sh -c 'echo $#' sh`, out: "100000\n"},
		{name: "too many words", script: `A=$(head -c 100000 /dev/zero | tr '\0' x); ulimit -s 65536; onehost on h2 echo $(for i in $(seq 22); do echo $A; done)`, status: 126, err: "onehost: on h2: the command: argument list too long\n"},
		{name: "a word too long", script: `onehost on h2 echo $(head -c 131072 /dev/zero | tr '\0' x)`, status: 126, err: "bash: line 1: /usr/local/bin/onehost: Argument list too long\n"},
		{name: "the directory", script: `cd /etc && onehost on h2 pwd; cd /srv/here && onehost on h2 pwd`, out: "/etc\n/root\n"},
		{name: "the environment", script: `env -i PATH=$PATH TERM=vt100 LANG=C LC_TIME=de_DE X=1 onehost on h2 env`, out: "USER=root\nLOGNAME=root\nHOME=/root\nSHELL=/bin/bash\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nTERM=vt100\nLANG=C\nLC_TIME=de_DE\n"},
		{name: "what goes along", script: `umask 027; ulimit -f 1000; ulimit -n 500; nice -n 5 onehost on h2 bash -c 'umask; ulimit -f; ulimit -n; nice; cat /proc/self/oom_score_adj'`, out: "0027\n1000\n500\n5\n0\n"},
		{name: "a terminal without a keyboard", script: `echo 'tty; exit 4' | onehost on -t h2 sh > o; echo $?; grep -c '/dev/pts/[0-9]' o; onehost on -t h2 sh -c 'cat; stty size' < /etc/hostname | tr -d '\r' | sort -u`, out: "4\n1\n24 80\nh1\n"},
		{name: "the daemon of another", script: `ONEHOST_CONTROL=/nowhere onehost on h2 true`, status: 125, err: "onehost: onehostd is not running (nobody listens at /nowhere): start it with 'systemctl start onehostd' or, as root, 'onehostd &'\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h1.sh(t, c.script)
			if r.status != c.status || r.out != c.out || r.err != c.err {
				t.Errorf("want status %d, out %q, err %q: %v", c.status, c.out, c.err, r)
			}
		})
	}
	t.Run("10 MB", func(t *testing.T) {
		h1.must(t, `head -c 10000000 /dev/urandom > r; onehost on h2 cat < r | cmp - r && cat r | onehost on h2 sh -c 'tee /dev/stderr' 2>e | cmp - r && cmp e r && onehost on h1 cat < r | cmp - r`)
	})
	t.Run("many at once", func(t *testing.T) {
		r := h1.sh(t, `for i in $(seq 64); do onehost on h$((i % 3 + 1)) sh -c 'read x; echo $x' <<< $i & done; wait`)
		if n := len(strings.Fields(r.out)); n != 64 || r.err != "" {
			t.Errorf("%d answers: %v", n, r)
		}
	})
	nothingLeft(t, c)
}

// nothingLeft fails the test unless the groups of all commands are gone, and what ran in them.
func nothingLeft(t *testing.T, c *split.Cluster) {
	t.Helper()
	for _, h := range c.Hosts() {
		eventually(t, 5*time.Second, "the groups to be removed", func() bool {
			out, err := h.Command(t.Context(), "sh", "-c", `find $(awk '$3 == "cgroup2" {print $2}' /proc/mounts) -name 'onehost-on-*'`).Output()
			return err == nil && len(out) == 0
		})
	}
}

// there keeps what runs on h2 with a word in its command line.
func there(word string) func(process) bool {
	return func(p process) bool { return p.host == "h2" && strings.Contains(strings.Join(p.argv, " "), word) }
}

// tree is a command with a child, one that has left its session and one that ignores SIGHUP.
const tree = `sleep 2001 & (setsid sleep 2002 &) ; (trap '' HUP; exec sleep 2003) & sleep 2004`

// TestEndOfOn: however a command's caller, home, daemon or link ends, nothing of it lives 3 s later; at its own end what it put in the
// background does.
func TestEndOfOn(t *testing.T) {
	c := cluster(t, 2)
	h1, h2 := job{host: c.Host("h1")}, c.Host("h2")
	const limit = 3 * time.Second
	step := func(name string, do func()) { // not a subtest, whose name would be another split's
		t.Log(name)
		do()
	}
	begin := func(args ...string) *split.Cmd {
		t.Helper()
		cmd := h1.begin(t, append([]string{"onehost", "on"}, args...)...)
		eventually(t, 10*time.Second, "it to run there", func() bool { return len(only(processes(t), there("sleep 200"))) >= 4 })
		return cmd
	}
	front := func() int {
		t.Helper()
		all := only(processes(t), func(p process) bool { return p.host == "h1" && len(p.argv) > 1 && p.argv[1] == "on" })
		if len(all) != 1 {
			t.Fatalf("the fronts are %v", all)
		}
		return all[0].number(t)
	}
	step("SIGKILL of the caller", func() {
		cmd := begin("h2", "sh", "-c", tree)
		if err := unix.Kill(front(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		gone(t, limit, there("sleep 200"))
		_ = cmd.Wait()
	})
	step("signals", func() {
		for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2} {
			cmd := h1.begin(t, "onehost", "on", "h2", "sleep", "2005")
			eventually(t, 10*time.Second, "it to run there", func() bool { return len(only(processes(t), there("sleep 2005"))) == 1 })
			if err := unix.Kill(front(), sig); err != nil {
				t.Fatal(err)
			}
			var exit *split.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.Signal != sig {
				t.Errorf("%v: %v", sig, err)
			}
		}
		r := h1.sh(t, `onehost on h2 bash -c 'trap "echo usr1; exit 9" USR1; echo ready; while :; do sleep 0.05; done' > o & until grep -q ready o; do sleep 0.02; done; kill -USR1 $!; wait $!; echo $?; cat o`)
		if r.out != "9\nready\nusr1\n" {
			t.Errorf("a handler there: %v", r)
		}
	})
	step("stop and go on", func() {
		cmd := h1.begin(t, "onehost", "on", "h2", "sleep", "2005")
		state := func(want string) func() bool {
			return func() bool {
				all := only(processes(t), there("sleep 2005"))
				return len(all) == 1 && all[0].state == want
			}
		}
		eventually(t, 10*time.Second, "it to run there", state("S"))
		pid := front()
		if err := unix.Kill(pid, unix.SIGTSTP); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "it to stop", state("T"))
		eventually(t, 5*time.Second, "its front to stop", func() bool {
			return len(only(processes(t), func(p process) bool { return p.number(t) == pid && p.state == "T" })) == 1
		})
		if err := unix.Kill(pid, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "it to go on", state("S"))
		_ = unix.Kill(pid, unix.SIGTERM)
		_ = cmd.Wait()
	})
	step("what is left in the background", func() {
		r := h1.sh(t, `onehost on h2 sh -c 'nohup sleep 2001 >/dev/null 2>&1 & (setsid sleep 2002 >/dev/null 2>&1 </dev/null &); exit 5'`)
		if r.status != 5 {
			t.Errorf("it waits, or fails: %v", r)
		}
		if n := len(only(processes(t), there("sleep 200"))); n != 2 {
			t.Errorf("%d live on, want 2", n)
		}
		job{host: h2}.must(t, `pkill -f '[s]leep 200'`)
		gone(t, limit, there("sleep 200"))
		nothingLeft(t, c)
	})
	step("the link is cut", func() {
		done := make(chan result, 1)
		go func() {
			r, _ := h1.try(t.Context(), `onehost on h2 sh -c "`+strings.ReplaceAll(tree, `"`, `\"`)+`"`)
			done <- r
		}()
		eventually(t, 10*time.Second, "it to run there", func() bool { return len(only(processes(t), there("sleep 200"))) >= 4 })
		began := time.Now()
		if err := h2.Cut(t.Context()); err != nil {
			t.Fatal(err)
		}
		r := <-done
		t.Logf("ended after %v", time.Since(began))
		if time.Since(began) > 4*time.Second || r.status != 125 || r.err != "onehost: on h2: host h2 is lost: it crashed, or the way to it is cut; the command is ended there\n" {
			t.Errorf("after %v: %v", time.Since(began), r)
		}
		gone(t, 2*time.Second+limit, there("sleep 200"))
		began = time.Now()
		if r := h1.sh(t, `onehost on h2 true`); r.status != 125 || strings.Count(r.err, "\n") != 1 || time.Since(began) > 6*time.Second {
			t.Errorf("a host that is cut off: after %v: %v", time.Since(began), r)
		}
		if err := h2.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
		back(t, h1)
	})
	step("the daemon there is killed", func() {
		cmd := begin("h2", "sh", "-c", tree)
		job{host: h2}.must(t, `(setsid onehost on h2 sh -c 'sleep 3001 >/dev/null 2>&1 & exit' &) ; sleep 0.3; pgrep -f '[s]leep 3001'`)
		if err := killDaemon(t.Context(), h2); err != nil {
			t.Fatal(err)
		}
		var exit *split.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.Code != 125 {
			t.Errorf("%v, want status 125", err)
		}
		job{host: h2}.must(t, `(setsid onehostd >/dev/null 2>&1 </dev/null &); for i in $(seq 100); do onehost status >/dev/null 2>&1 && exit 0; sleep 0.05; done; exit 1`)
		gone(t, limit, there("sleep 200"))
		job{host: h2}.must(t, `pkill -f '[s]leep 3001'`)
		back(t, h1)
		nothingLeft(t, c)
	})
	step("the daemon at home is killed", func() {
		done := make(chan result, 1)
		go func() {
			r, _ := h1.try(t.Context(), `onehost on h2 sh -c 'sleep 2001'`)
			done <- r
		}()
		eventually(t, 10*time.Second, "it to run there", func() bool { return len(only(processes(t), there("sleep 2001"))) >= 1 })
		if err := killDaemon(t.Context(), c.Host("h1")); err != nil {
			t.Fatal(err)
		}
		if r := <-done; r.status != 125 || r.err != "onehost: on h2: onehostd of this host is gone, and the command with it\n" {
			t.Error(r)
		}
		gone(t, 2*time.Second+limit, there("sleep 200"))
		h1.must(t, `(setsid onehostd >/dev/null 2>&1 </dev/null &); for i in $(seq 100); do onehost status >/dev/null 2>&1 && exit 0; sleep 0.05; done; exit 1`)
		back(t, h1)
	})
	step("the home crashes", func() {
		_ = begin("h2", "sh", "-c", tree)
		if err := c.Host("h1").Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		gone(t, 2*time.Second+limit, there("sleep 200"))
	})
}

// back waits until commands run on h2 again.
func back(t *testing.T, j job) {
	t.Helper()
	eventually(t, 30*time.Second, "h2 is back", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		r, err := j.try(ctx, `onehost on h2 true`)
		return err == nil && r.status == 0
	})
}
