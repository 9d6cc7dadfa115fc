package e2e_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/split"
)

// holdings says what a host's daemon, carriers and nests hold: descriptors, processes, mounts, name spaces, cgroups. Lines that are only sometimes
// there in a quiet host must not be in it.
const holdings = `d=$(pgrep -x onehostd)
echo "descriptors $(ls /proc/$d/fd | wc -l)"
for n in $(pgrep -x onehost-carrier); do echo "carrier's descriptors $(ls /proc/$n/fd | wc -l)"; done
for n in $(pgrep -x onehost-nest); do echo "nest's descriptors $(ls /proc/$n/fd | wc -l)"; echo "nest's mounts $(wc -l < /proc/$n/mountinfo)"; done
echo "mounts $(wc -l < /proc/$d/mountinfo)"
echo "processes" $(ps -eo comm= | grep -vx -e ps -e bash -e grep -e sort | sort)
echo "pid spaces $(readlink /proc/[0-9]*/ns/pid | sort -u | wc -l)"
echo "mount spaces $(readlink /proc/[0-9]*/ns/mnt | sort -u | wc -l)"
echo "groups $(find /sys/fs/cgroup -name 'onehost-nest-*' | wc -l)"`

// held reads the holdings of the hosts.
func held(t *testing.T, c *split.Cluster) map[string][]string {
	t.Helper()
	m := map[string][]string{}
	for _, h := range c.Hosts() {
		m[string(h.Name())] = strings.Split(strings.TrimSpace(job{host: h}.must(t, holdings)), "\n")
	}
	return m
}

// TestNothingLeftOfJobs: two hundred jobs, some killed, some of sessions that were killed, leave nothing on any host.
func TestNothingLeftOfJobs(t *testing.T) {
	c := cluster(t, 3)
	j := job{host: c.Hosts()[0], dir: "/root", limit: 2 * time.Minute}
	j.must(t, lasting+`cat > many.mk <<'M'
all: $(shell seq 40)
%: ; @case $$(($@ % 10)) in 0) perl -e 'kill 9, getppid';; 1) exit 3;; 2) (setsid perl -e "sleep 300" >/dev/null 2>&1 &);; 3) awk 'BEGIN { print > "/root/file$@" }';; 4) /no/such/program;; *) echo $@;; esac
M`)
	load := func(times int) {
		for range times {
			j.sh(t, "onehost run -q --no-local make -k -j8 -f many.mk >/dev/null 2>&1; echo x | onehost run -q --no-local xargs perl -e 1")
		}
		for range 3 {
			cmd := j.begin(t, "onehost", "run", "-q", "--no-local", "make", "-j8", "-f", "lasting.mk")
			inMidBuild(t)
			if err := unix.Kill(runner(t, false), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			gone(t, endLimit, func(process) bool { return true })
			_ = cmd.Wait() // killed
		}
	}
	load(2) // what is kept for the next job is there from now on
	before := held(t, c)
	load(5)
	var after map[string][]string
	deadline := time.Now().Add(15 * time.Second)
	for same := false; !same; {
		after, same = held(t, c), true
		for host := range before {
			same = same && slices.Equal(before[host], after[host])
		}
		if time.Now().After(deadline) {
			t.Errorf("before:\n%v\nafter:\n%v", table(before), table(after))
			break
		}
	}
	// The goroutines of daemons and carriers are in the traces of SIGQUIT.
	for _, h := range c.Hosts() {
		trace := job{host: h}.must(t, `pkill -QUIT -x 'onehostd|onehost-carrier'; await '! pgrep -x "onehostd|onehost-carrier" >/dev/null'; sed -n '/^SIGQUIT/,$p' /var/log/onehostd.log`)
		for g := range strings.SplitSeq(trace, "\n\n") {
			for _, of := range []string{"/proc/jobs.(*Helper).run", "/proc/jobs.(*Home).", "/onehost/dev.", "/proc/jobs.(*Broker)."} {
				if strings.HasPrefix(g, "goroutine ") && strings.Contains(g, of) {
					t.Errorf("%s: a goroutine is left:\n%s", h.Name(), brief(g))
				}
			}
		}
	}
}

func table(m map[string][]string) string {
	var b strings.Builder
	for _, host := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%s\n\t%s\n", host, strings.Join(m[host], "\n\t"))
	}
	return b.String()
}

// ofDaemon lists all that a daemon of the host has made and that must not stay when it does not come back.
const ofDaemon = `pgrep -l onehostd; pgrep -l onehost-carrier; pgrep -l onehost-nest; grep -e 'fuse[. ]' -e onehost/home /proc/self/mountinfo; find /sys/fs/cgroup -name 'onehost-nest-*'; ls -d /run/onehost/control.sock /run/onehost/home/* /run/onehost/carrier 2>/dev/null; true`

// TestStoppedDaemonLeavesNothing: all that a daemon has made ends soon after it, if no other one takes it on.
func TestStoppedDaemonLeavesNothing(t *testing.T) {
	c := cluster(t, 3)
	j := job{host: c.Hosts()[0], dir: "/root"}
	h2 := job{host: c.Hosts()[1]}
	j.must(t, lasting)
	command := h2.must(t, `tr '\0' ' ' < /proc/$(pgrep -x onehostd)/cmdline`)
	groups := func() string { return h2.must(t, `find /sys/fs/cgroup -name 'onehost-nest-*'; true`) }
	build := func() *split.Cmd {
		cmd := j.begin(t, "onehost", "run", "-q", "--no-local", "make", "-j8", "-f", "lasting.mk")
		inMidBuild(t)
		return cmd
	}

	cmd := build()
	h2.must(t, "pkill -KILL -x onehostd")
	gone(t, 2*time.Second, func(p process) bool { return p.host == "h2" })
	nothingCarried(t, h2.host, 5*time.Second)
	_ = cmd.Signal(unix.SIGTERM)
	_ = cmd.Wait()
	h2.must(t, "setsid "+command+" </dev/null >>/var/log/onehostd.log 2>&1 &")
	eventually(t, 20*time.Second, "the daemon to be back", func() bool {
		return h2.sh(t, "onehost hosts | grep -c alive").out == "3\n"
	})
	cmd = build()
	if g := groups(); strings.Count(g, "onehost-nest-") != 1 {
		t.Errorf("cgroups after a crash and a restart:\n%s", g)
	}
	h2.must(t, "pkill -TERM -x onehostd; for i in $(seq 500); do pgrep -x onehostd >/dev/null || exit 0; sleep 0.02; done; exit 1")
	gone(t, 2*time.Second, func(p process) bool { return p.host == "h2" })
	nothingCarried(t, h2.host, 5*time.Second)
	if left := h2.must(t, ofDaemon); left != "" {
		t.Errorf("left:\n%s", left)
	}
	_ = cmd.Signal(unix.SIGTERM)
	_ = cmd.Wait()
}
