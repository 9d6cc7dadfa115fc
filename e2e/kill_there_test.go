package e2e_test

import (
	"strings"
	"testing"
	"time"
)

// TestKillFromThere: what a process elsewhere does to others, by the numbers that it knows, it does to those of its home.
func TestKillFromThere(t *testing.T) {
	c := cluster(t, 3)
	j := job{host: c.Hosts()[0], dir: "/root"}
	j.must(t, `cat > kill.mk <<'M'
parent: ; @kill -0 $$PPID && echo alive
number: ; @kill -USR1 $$(cat catcher) && echo sent
written: ; @seq 1000 > numbers; kill -USR2 $$(cat catcher)
none: ; @kill -0 31999 || echo none
nice: ; @renice -n 7 -p $$(cat catcher) >/dev/null && echo reniced
limit: ; @prlimit --nofile=77:88 -p $$(cat catcher) && echo limited
init: ; @kill -0 1 && echo there
foreign: ; @kill -0 $$((5 << 16 | 7)) || echo none
away: ; @test $$(cat /proc/1/comm) = onehost-nest && echo away
M
cat > catcher.sh <<'S'
trap 'echo got USR1 >> catched' USR1
trap 'echo got USR2 $(wc -l < numbers) >> catched' USR2
echo $$ > catcher
while :; do sleep 0.05; done
S
useradd -m kathe`)
	run := func(target string) string {
		return strings.TrimSpace(j.must(t, "onehost run -q --no-local make -s -f kill.mk "+target+" 2>/dev/null"))
	}
	j.must(t, "rm -f catched catcher; bash catcher.sh > /dev/null 2>&1 & await 'test -s catcher'")
	for target, want := range map[string]string{
		"away": "away", "parent": "alive", "number": "sent", "written": "", "none": "none", "nice": "reniced", "limit": "limited", "init": "there", "foreign": "none",
	} {
		if got := run(target); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
	eventually(t, 5*time.Second, "two signals", func() bool { return strings.Count(j.sh(t, "cat catched").out, "got") == 2 })
	if got := j.must(t, "sort catched; cut -d ' ' -f 19 /proc/$(cat catcher)/stat; grep -o 'Max open files *[0-9]* *[0-9]*' /proc/$(cat catcher)/limits | tr -s ' '"); got != "got USR1\ngot USR2 1000\n7\nMax open files 77 88\n" {
		t.Errorf("the process at home: %q", got)
	}
	// A user may do from there what he may do at home.
	j.must(t, "install -m 755 -d /home/kathe/w; cp kill.mk catcher /home/kathe/w; chown -R kathe /home/kathe")
	kathe := job{host: j.host, user: "kathe", dir: "/home/kathe/w", env: []string{"HOME=/home/kathe"}}
	r := kathe.sh(t, "onehost run -q --no-local make -s -f kill.mk parent number; onehost run -q --no-local make -s -f kill.mk init")
	if !strings.HasPrefix(r.out, "alive\n") || strings.Contains(r.out, "sent") || strings.Contains(r.out, "there") || strings.Count(r.err, "ermitted") != 2 {
		t.Errorf("a user: %v", r)
	}
}

// TestKillOwnGroupFromThere: kill(0) reaches each process of the group once, at home and on every host, and the caller before it returns.
func TestKillOwnGroupFromThere(t *testing.T) {
	c := cluster(t, 3)
	j := job{host: c.Hosts()[0], dir: "/root"}
	j.must(t, `cat > member.py <<'P'
import os, signal, sys, time
name, got = sys.argv[1], 0
def count(*a):
	global got
	got += 1
	open('%s.%d' % (name, got), 'w').close()
def all_have(n):
	while not all(os.path.exists('%s.%d' % (m, n)) for m in os.environ['members'].split()): time.sleep(0.02)
signal.signal(signal.SIGURG, count)
print(name, 'is', os.getpid(), open('/proc/1/comm').read().strip() == 'onehost-nest', flush=True)
if name == 'kills':
	while not os.path.exists('begin'): time.sleep(0.02)
	os.kill(0, signal.SIGURG)
	now = got
	all_have(1) # two at once may count as one
	os.killpg(os.getpgrp(), signal.SIGURG)
	print('own', now, got, flush=True)
	all_have(2)
	open('gone', 'w').close()
while not os.path.exists('over'): time.sleep(0.02)
print(name, 'got', got, flush=True)
P
printf 'all: a b kills\na b kills: ; @exec python3 member.py $@ $(nothing)\n' > group.mk`)
	for _, how := range []string{"", "set -m; "} { // in the group of the run, and in one of its own
		members := "a b kills home beside"
		if how != "" {
			members = "a b kills" // the others have groups of their own
		}
		out := j.must(t, `rm -f begin gone over out *.1 *.2; touch out; export members="`+members+`"
setsid -w onehost run -q --no-local bash -c '`+how+`python3 member.py home & (set +m; python3 member.py beside) & make -s -j3 -f group.mk; wait' > out 2>&1 & run=$!
await "[ \$(grep -c ' is ' out) = 5 ]" out
touch begin; await 'test -e gone' out; sleep 0.3; touch over; wait $run; sort out`)
		for name := range strings.FieldsSeq("a b kills home beside") {
			want := " got 0\n"
			if strings.Contains(members, name) {
				want = " got 2\n"
			}
			if !strings.Contains(out, name+want) {
				t.Errorf("%q, %s: want%s: %q", how, name, want, out)
			}
		}
		if !strings.Contains(out, "own 1 2\n") {
			t.Errorf("%q: kill returned before its signal came: %q", how, out)
		}
	}
}
