package e2e_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// TestSignalToGroup: a signal to the process group of a run reaches each process of it once, at home and elsewhere, those that remote
// processes have started too; one to a process reaches that one only.
func TestSignalToGroup(t *testing.T) {
	c := cluster(t, 3)
	j := job{host: c.Hosts()[0], dir: "/root"}
	// Two jobs of three processes each: a shell, its child and its grandchild, and one that has left the group.
	j.must(t, `cat > member <<'P'
import os, signal, subprocess, sys, time
name = sys.argv[1]
def got(number, frame):
    os.write(1, b"%s %d\n" % (name.encode(), number))
for s in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGWINCH, 40): signal.signal(s, got)
if len(name) < 3:
    p = subprocess.Popen([sys.executable, sys.argv[0], name + "x"])
    q = subprocess.Popen([sys.executable, sys.argv[0], name + "-apart"], process_group=0) if len(name) == 1 else None
os.write(1, b"%s is %d\n" % (name.encode(), os.getpid()))
while True: time.sleep(1000)
P
cat > spawn <<'P'
import signal, subprocess, sys
for s in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGWINCH, 40): signal.signal(s, lambda *a: None)
p = [subprocess.Popen([sys.executable, "member", n]) for n in "ab"]
for q in p: q.wait()
P
mkdir -p /root/.config/onehost; echo 'spread spawner' > /root/.config/onehost/place; ln -sf `+python+` spawner`)
	cmd := j.host.Command(t.Context(), "setsid", "-w", "bash", "-c", "exec > out 2>&1; echo $$ > group; exec onehost run -q --no-local ./spawner spawn")
	cmd.Dir = "/root"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = j.host.Command(t.Context(), "sh", "-c", "kill -9 -$(cat /root/group)").Run()
		_ = cmd.Wait()
	})
	eventually(t, 20*time.Second, "eight members", func() bool { return strings.Count(j.sh(t, "cat out").out, " is ") == 8 })
	leader := strings.Fields(j.must(t, "sed -n 's/^a is //p' out"))[0]
	members := []string{"a", "ax", "axx", "b", "bx", "bxx"}
	for i, k := range []struct {
		kill, number string
		want         []string
	}{
		{"-USR1 -- -$(cat group)", "10", members},
		{"-USR1 " + leader, "10", []string{"a"}},
		{"-USR2 -- -$(cat group)", "12", members},
		{"-HUP -- -$(cat group)", "1", members},
		{"-HUP " + leader, "1", []string{"a"}},
		{"-WINCH -- -$(cat group)", "28", members},
		{"-40 -- -$(cat group)", "40", members},
		{"-USR1 -- -$(cat group)", "10", members},
	} {
		want := map[string]int{}
		for _, m := range k.want {
			want[m+" "+k.number]++
		}
		said := len(j.must(t, "cat out"))
		j.must(t, "kill "+k.kill)
		got := map[string]int{}
		count := func() bool {
			clear(got)
			for line := range strings.Lines(j.must(t, "cat out")[said:]) {
				got[strings.TrimSpace(line)]++
			}
			return maps.Equal(got, want)
		}
		for end := time.Now().Add(5 * time.Second); !count() && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond) // longer than run waits before it passes a signal on that came to it alone
		if !count() {
			t.Fatalf("%d: kill %s: %v, want %v", i, k.kill, fmt.Sprint(got), want)
		}
	}
}
