package e2e_test

import (
	"strings"
	"testing"
)

// TestSelfThere: a process elsewhere sees of itself what the process table at home says of its ghost; and what it makes of itself, a
// group or a session, its ghost does too.
func TestSelfThere(t *testing.T) {
	c := cluster(t, 2)
	j := job{host: c.Hosts()[0], dir: "/root"}
	j.must(t, `cat > self.py <<'P'
import os, sys, time
if sys.argv[1] == 'setsid': os.setsid()
if sys.argv[1] == 'setpgid': os.setpgid(0, 0)
print('pid', os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0), open('/proc/1/comm').read().strip(), flush=True)
while not os.path.exists('over'): time.sleep(0.05)
if sys.argv[1] == 'orphan': # its parent at home has died
	was = int(sys.argv[2])
	while os.getppid() == was: time.sleep(0.05)
	print('then', os.getppid(), flush=True)
	while not os.path.exists('over2'): time.sleep(0.05)
P
printf 'all: ; @exec python3 self.py $(how) $$PPID\n' > self.mk`)
	const there = `rm -f over over2 out; touch out; onehost run -q $flags bash -c "make -s -f self.mk how=$how; until test -e over2; do sleep 0.05; done" > out 2>&1 & run=$!
await "grep -q '^pid .* .* .* .* .' out" out; set -- $(sed -n 's/^pid //p' out)
read -r _ _ _ ppid pgid sid _ < /proc/$1/stat; echo "$2 $3 $4"; echo "$ppid $pgid $sid"; [ $3 = $1 ] && echo leads; [ $4 = $1 ] && echo session; [ $5 = onehost-nest ] && echo away; `
	for _, x := range []struct{ how, want string }{{"plain", ""}, {"setpgid", "leads "}, {"setsid", "leads session "}} {
		for _, flags := range []string{"--no-local", "--local"} {
			want := x.want
			if flags == "--no-local" {
				want += "away" // in a nest, whose first process is onehost's own
			}
			lines := strings.SplitN(j.must(t, "flags="+flags+" how="+x.how+"; "+there+"touch over over2; wait $run"), "\n", 3)
			if len(lines) != 3 || lines[0] != lines[1] || strings.Join(strings.Fields(lines[2]), " ") != strings.TrimSpace(want) {
				t.Errorf("%s %s: it says %q; the process table says %q", flags, x.how, lines[:1], lines[1:])
			}
		}
	}
	for _, flags := range []string{"--no-local", "--local"} {
		out := j.must(t, "flags="+flags+` how=orphan; `+there+`touch over; kill -9 $ppid; await 'grep -q ^then out' out; then=$(sed -n 's/^then //p' out)
read -r _ _ _ ppid _ < /proc/$1/stat; echo "parent $then $ppid"; touch over2; wait $run`)
		var said, is string
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "parent" {
				said, is = f[1], f[2]
			}
		}
		if said == "" || said != is {
			t.Errorf("%s: another parent: %q", flags, out)
		}
	}
}

// TestManyThere: a job that has more processes at a time than the block of numbers which its host has borrowed gets numbers of another
// block; none of them is anybody else's.
func TestManyThere(t *testing.T) {
	c := cluster(t, 3)
	j := job{host: c.Hosts()[0], dir: "/root"}
	j.must(t, `cat > many.py <<'P'
import os, signal
pids = []
try:
	for i in range(1400):
		p = os.fork()
		if not p: signal.pause()
		pids.append(p)
finally:
	if p:
		for q in pids: os.kill(q, 9)
for p in pids: os.wait()
print(*pids)
P
printf 'all: a b\na b: ; @exec python3 many.py $(nothing)\n' > many.mk`)
	out := j.must(t, "onehost run -q --no-local make -s -j2 -f many.mk")
	seen := map[string]bool{}
	for pid := range strings.FieldsSeq(out) {
		if seen[pid] || len(pid) != 5 || pid < "32768" || pid > "65535" {
			t.Fatalf("number %s", pid)
		}
		seen[pid] = true
	}
	if len(seen) != 2800 {
		t.Errorf("%d numbers: %s", len(seen), brief(out))
	}
}
