package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestProc: in a run with --proc unmodified programs see the processes of all hosts, while its jobs go elsewhere as always.
func TestProc(t *testing.T) {
	c := cluster(t, 3)
	h1, h3 := job{host: c.Host("h1")}, job{host: c.Host("h3")}
	h1.must(t, people)
	usable(t, h1, "h2")
	h3.must(t, `SECRET=1 setsid sleep 3001 > /dev/null 2>&1 &`)
	other := one(t, h1.host, "h3", "sleep 3001")
	h1.must(t, `mkdir -p /root/w; cd /root/w; printf 'all: a b\na:\n\tFOO=bar exec sleep 1001\nb:\n\tFOO=bar sh -c "sleep 1002 & wait"\n' > Makefile`)

	// One run has the jobs, and a second, which is over at once, looks at them: so no program is asked to stand still.
	ended := make(chan result, 1)
	go func() {
		r, err := job{host: h1.host, dir: "/root/w"}.try(t.Context(), `exec onehost run -q --explain --proc --no-local --hosts h2 make -j2`)
		if err != nil {
			r.err += err.Error()
		}
		ended <- r
	}()
	leads, child := one(t, h1.host, "h2", "sleep 1001"), one(t, h1.host, "h2", "sleep 1002")
	if leads.Home != "h1" || child.Home != "h1" {
		t.Fatalf("%+v, %+v", leads, child)
	}
	see := func(script string) string {
		t.Helper()
		r := strings.NewReplacer("JOB", fmt.Sprint(leads.Pid.Local()), "CHILD", fmt.Sprint(child.Pid.Local()), "OTHER", other.Pid.String()).Replace(script)
		return h1.must(t, `onehost run -q --proc --local bash -c '`+r+`'`)
	}
	ghost := strings.TrimSpace(h1.must(t, fmt.Sprintf("ps -o ppid=,pgid=,sid= -p %d | tr -s ' '", leads.Pid.Local())))
	for _, k := range []struct{ name, script, want string }{
		{"ps", `ps -ef | grep -c "[s]leep [13]00[0-9]$"`, "3\n"},
		{"ps of a job", `ps -o pid=,ppid=,pgid=,sid=,user=,comm=,args= -p JOB | tr -s " "`, " JOB " + ghost + " root sleep sleep 1001\n"},
		{"ps of a child", `ps -o pid=,args= -p CHILD | tr -s " "; ps -o pid= --ppid $(ps -o ppid= -p CHILD) | tr -d " "`, " CHILD sleep 1002\nCHILD\n"},
		{"ps of another host", `ps -o pid=,user=,stat=,args= -p OTHER | tr -s " "`, "OTHER root Ss sleep 3001\n"},
		{"pgrep", `pgrep -f "^sleep (1001|1002|3001)$" | sort -n`, "JOB\nCHILD\nOTHER\n"},
		{"pgrep by user", `pgrep -u alice -f "^sleep 3001$"; pgrep -u root -f "^sleep 3001$"`, "OTHER\n"},
		{"top", `top -b -n 1 | grep -c -E "^ *(JOB|CHILD|OTHER) root .* sleep"`, "3\n"},
		{"status", `sed -n "s/^Pid:.//p; s/^Tgid:.//p" /proc/OTHER/status`, "OTHER\nOTHER\n"},
		{"cmdline", `tr "\0" " " < /proc/CHILD/cmdline; cat /proc/OTHER/comm`, "sleep 1002 sleep\n"},
		{"environ", `tr "\0" "\n" < /proc/JOB/environ | grep FOO; tr "\0" "\n" < /proc/OTHER/environ | grep SECRET`, "FOO=bar\nSECRET=1\n"},
		{"maps", `grep -c -F "[stack]" /proc/JOB/maps; grep -c "^Rss" /proc/OTHER/smaps_rollup`, "1\n1\n"},
		{"limits", `grep -c "^Max" /proc/JOB/limits /proc/OTHER/limits | sed "s/.*://"`, "16\n16\n"},
		{"links", `readlink /proc/JOB/exe /proc/JOB/cwd /proc/OTHER/exe`, "/usr/bin/sleep\n/root/w\n/usr/bin/sleep\n"},
		{"descriptors", `ls -l /proc/OTHER/fd | sed -n "s/.*-> //p"; ls /proc/JOB/fd | head -3 | tr "\n" " "`, "/dev/null\n/dev/null\n/dev/null\n0 1 2 "},
		{"threads", `ls /proc/JOB/task; ls /proc/OTHER/task; sed -n "s/^Pid:.//p" /proc/OTHER/task/OTHER/status; sed -n "s/^Pid:.//p" /proc/CHILD/task/CHILD/status`, "JOB\nOTHER\nOTHER\nCHILD\n"},
		{"owners", `stat -c "%U %F" /proc/JOB /proc/OTHER /proc/OTHER/environ`, "root directory\nroot directory\nroot regular empty file\n"},
		{"nobody", `cat /proc/$((OTHER + 1000))/stat /proc/99999999/stat 2>&1 | sed "s/.*: //"`, "No such file or directory\nNo such file or directory\n"},
		{"writing", `(echo x > /proc/OTHER/comm) 2>&1 | sed "s/.*: //"`, "Read-only file system\n"},
		{"oneself", `cat /proc/self/comm /proc/thread-self/comm; cat <(echo x); readlink /proc/self/exe; cat /proc/$$/comm; ls -l /proc/$$/fd | grep -c -e " 0 -> "`, "cat\ncat\nx\n/usr/bin/readlink\nbash\n1\n"},
		{"this host", `cat /proc/1/comm; pidof -s onehostd > /dev/null && echo yes; sysctl -n kernel.hostname; ps -o pid= -p 1 | tr -d " "`, "onehost-init\nyes\nh1\n1\n"},
		{"a shorter way to write it", `cat /proc/$((65536 + $$))/comm; true`, "bash\n"},
		{"wide numbers", `cat /proc/sys/kernel/pid_max`, "262144\n"},
	} {
		want := strings.NewReplacer("JOB", fmt.Sprint(leads.Pid.Local()), "CHILD", fmt.Sprint(child.Pid.Local()), "OTHER", other.Pid.String()).Replace(k.want)
		if got := see(k.script); got != want {
			t.Errorf("%s: %q, want %q", k.name, got, want)
		}
	}

	t.Run("what another user sees", func(t *testing.T) {
		const denied = "Permission denied\n"
		got := see(`for f in environ maps io; do setpriv --reuid alice --regid alice --clear-groups cat /proc/OTHER/$f; done 2>&1 | sed "s/.*: //"
			setpriv --reuid alice --regid alice --clear-groups ls /proc/OTHER/fd 2>&1 | sed "s/.*: //"
			setpriv --reuid alice --regid alice --clear-groups cat /proc/JOB/environ /proc/1/environ 2>&1 | sed "s/.*: //"
			setpriv --reuid alice --regid alice --clear-groups readlink /proc/OTHER/exe /proc/JOB/cwd
			setpriv --reuid alice --regid alice --clear-groups cat /proc/OTHER/comm
			setpriv --reuid alice --regid alice --clear-groups sh -c "tr \"\\0\" \"\\n\" < /proc/\$\$/environ | grep -c ^HOME="`)
		if want := strings.Repeat(denied, 6) + "sleep\n1\n"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})

	t.Run("an ordinary user", func(t *testing.T) {
		alice := job{host: h1.host, user: "alice", dir: "/home/alice"}
		if r := alice.sh(t, `onehost run --proc true`); r.status != 125 || r.err != "onehost: --proc: only root may mount a /proc: try again with sudo\n" {
			t.Errorf("%v", r)
		}
		if r := alice.sh(t, `onehost proc mount /home/alice`); r.status != 1 || r.err != "onehost: proc mount: only root may mount a /proc: try again with sudo\n" {
			t.Errorf("%v", r)
		}
	})

	t.Run("a mount", func(t *testing.T) {
		h1.must(t, `onehost proc mount /mnt`)
		script := strings.ReplaceAll(`cat /mnt/OTHER/comm /mnt/self/comm; cat /mnt/OTHER/environ | tr '\0' '\n' | grep SECRET`, "OTHER", other.Pid.String())
		if out := h1.must(t, script); out != "sleep\ncat\nSECRET=1\n" {
			t.Errorf("%q", out)
		}
		alice := job{host: h1.host, user: "alice", dir: "/home/alice"}
		if r := alice.sh(t, strings.ReplaceAll(`cat /mnt/OTHER/comm; cat /mnt/OTHER/environ`, "OTHER", other.Pid.String())); r.out != "sleep\n" || !strings.Contains(r.err, "Permission denied") {
			t.Errorf("%v", r)
		}
		h1.must(t, `onehost proc umount /mnt`)
	})

	t.Run("inside of a run", func(t *testing.T) {
		if out := see(`onehost run --proc cat /proc/OTHER/comm; true`); out != "sleep\n" {
			t.Errorf("%q", out)
		}
		if r := h1.sh(t, `onehost run -q --local sh -c 'onehost run --proc true; exit'`); r.err != "onehost: --proc: this is inside of a run that was begun without it\n" {
			t.Errorf("%v", r)
		}
	})

	t.Run("no daemon", func(t *testing.T) {
		const here = `cat /proc/self/comm; ps -o pid= -p 1 | tr -d " "; cat /proc/131073/comm 2>&1 | sed "s/.*: //"`
		if out := h1.must(t, `onehost --control /none run -q --proc --local bash -c '`+here+`'`); out != "cat\n1\nHost is down\n" {
			t.Errorf("%q", out)
		}
	})

	t.Run("killed", func(t *testing.T) {
		h1.must(t, `onehost run -q --proc --local bash -c 'while ps -ef > /dev/null; do :; done' > /dev/null 2>&1 & run=$!
			await 'pgrep -x ps > /dev/null'; sleep 0.2; kill -9 $run`)
		// make's own, of the run that has the jobs, is all that is left.
		eventually(t, 10*time.Second, "nobody sees it any more", func() bool {
			return h1.must(t, `for p in $(grep -l onehost-proc /proc/[0-9]*/mountinfo 2>/dev/null); do cat ${p%mountinfo}comm; done | grep -v -x -e make -e sh -e sleep; true`) == ""
		})
	})

	t.Run("a host that does not answer", func(t *testing.T) {
		if err := h3.host.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		out := see(`cat /proc/OTHER/status > /dev/null 2>&1; echo $?; ps -ef | grep -c "[s]leep 100[12]$"`)
		if took := time.Since(begin); out != "1\n2\n" || took > 20*time.Second {
			t.Errorf("%q after %v", out, took)
		}
		if err := h3.host.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
	})

	h1.must(t, fmt.Sprintf("kill %d; pkill -x make", leads.Pid.Local()))
	select {
	case r := <-ended:
		if strings.Count(r.err, "h2 ") < 2 {
			t.Errorf("its jobs were elsewhere: %v", r)
		}
	case <-time.After(20 * time.Second):
		t.Error("the run does not end")
	}
	h3.must(t, `pkill -x sleep`)
	eventually(t, 5*time.Second, "nothing is mounted and nobody stays", func() bool {
		return h1.must(t, `cat /proc/[0-9]*/mountinfo 2>/dev/null | grep -c onehost-proc; pgrep -c onehost-proc; true`) == "0\n0\n"
	})
	nothingLeft(t, c)
}
