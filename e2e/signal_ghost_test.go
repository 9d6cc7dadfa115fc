package e2e_test

import (
	"strings"
	"testing"
	"time"
)

// TestSignalsReachThere: signals sent to a process at home, from outside its session, reach the one that runs elsewhere under
// its number; wait and $? see how that ended.
func TestSignalsReachThere(t *testing.T) {
	c := cluster(t, 3)
	j := job{host: c.Hosts()[0], dir: "/root"}
	j.must(t, `cat > traps.mk <<'M'
all: ; @for s in TERM HUP USR1 USR2 TSTP CONT WINCH; do trap "echo got $$s" $$s; done; echo pid $$$$; while ! test -e over; do perl -e 'select(undef, undef, undef, 0.05)'; done; exit 7
die: ; @echo pid $$$$; perl -e 'sleep 1000'; true
M
sed -i '1iSHELL = /bin/bash' traps.mk`)
	// What it says is seen at once; files it writes are at home when it has said something after.
	const begin = `rm -f over out; touch out; onehost run -q --no-local make -s -f traps.mk $target > out 2>&1 &
await "grep -q '^pid .' out" out; pid=$(sed -n 's/^pid //p' out); `
	out := j.must(t, "target=all; "+begin+`
for s in TERM HUP USR1 USR2 TSTP CONT WINCH; do kill -$s $pid || exit; for i in $(seq 250); do grep -qx "got $s" out && break; sleep 0.02; done; done
touch over; wait $!; echo status $?; sed 1d out`)
	want := "status 2\ngot TERM\ngot HUP\ngot USR1\ngot USR2\ngot TSTP\ngot CONT\ngot WINCH\nmake: *** [traps.mk:2: all] Error 7\n"
	if out != want {
		t.Errorf("%q, want %q", out, want)
	}
	for _, sig := range []struct{ name, says string }{{"TERM", "Terminated"}, {"KILL", "Killed"}, {"ALRM", "Alarm clock"}, {"SEGV", "Segmentation fault"}} {
		out := j.must(t, "target=die; "+begin+"kill -"+sig.name+" $pid; wait $!; cat out")
		if !strings.Contains(out, "make: *** [traps.mk:3: die] "+sig.says) {
			t.Errorf("%s: make says %q", sig.name, out)
		}
		gone(t, 2*time.Second, func(process) bool { return true })
	}
}
