package soak

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// holdings says what a host's daemon, carriers, nests and processes hold, a line for each kind: its name and a number.
const holdings = `d=$(pgrep -o -x onehostd); e=0
for p in $d $(pgrep -x 'onehost-carrier|onehost-nest'); do
	for f in /proc/$p/fd/*; do readlink $f; done 2>/dev/null | sed -E 's/[0-9]+//g; s|^/.*cgroup.*|cgroup|; s|^/proc/.*|proc|; s|^/opt/?.*|file|; s|^/var/lib/onehost/.*|file|' | sort | uniq -c | sed "s|^|$(cat /proc/$p/comm) |"
	echo "$(cat /proc/$p/comm) 0 mounts $(wc -l < /proc/$p/mountinfo)"
done | awk '{ c = $1; n = $2; $1 = $2 = ""; if ($3 == "mounts") { n = $4; $4 = "" } sum[c $0] += n } END { for (k in sum) print k, sum[k] }'
echo "threads of the daemon $(ls /proc/$d/task | wc -l)"
echo "kB of the daemon $(awk '/VmRSS/ { print $2 }' /proc/$d/status)"
ps -eo comm= | grep -vx -e ps -e bash -e grep -e sort -e sh -e awk -e uniq -e sed | sort | uniq -c | awk '{ print "process " $2, $1 }'
echo "pid spaces $(readlink /proc/[0-9]*/ns/pid | sort -u | wc -l)"
echo "mount spaces $(readlink /proc/[0-9]*/ns/mnt | sort -u | wc -l)"
echo "groups $(find /sys/fs/cgroup -name 'onehost-nest-*' 2>/dev/null | wc -l)"`

// hold reads what all hosts hold.
func (r *rig) hold(ctx context.Context, t *testing.T) map[string]int {
	t.Helper()
	m := map[string]int{}
	for _, h := range r.cluster.Hosts() {
		out, err := h.Command(ctx, "bash", "-c", holdings).Output()
		if err != nil {
			t.Fatalf("%s: %v", h.Name(), err)
		}
		for line := range strings.Lines(string(out)) {
			i := strings.LastIndexByte(strings.TrimSpace(line), ' ')
			n, err := strconv.Atoi(strings.TrimSpace(line[i+1:]))
			if err != nil {
				t.Fatalf("%s: %q", h.Name(), line)
			}
			m[fmt.Sprintf("%s: %s", h.Name(), line[:i])] += n
		}
	}
	return m
}

// allowed is how much more there may be of some things than at the beginning: who called whom at which link is not always the same, threads and
// memory are never given back, groups of jobs are kept for the next ones.
var allowed = []struct {
	what *regexp.Regexp
	more int
}{
	{regexp.MustCompile(`threads of the daemon`), 40},
	{regexp.MustCompile(`kB of the daemon`), 80_000},
	{regexp.MustCompile(`(onehostd|onehost-carrier) +socket`), 4},
	{regexp.MustCompile(`(onehostd|onehost-carrier) +file`), 10},
	{regexp.MustCompile(`groups|cgroup`), 80},
}

// compare waits until no host holds more than at the beginning; what is left after the limit is a finding.
func (r *rig) compare(ctx context.Context, t *testing.T, before map[string]int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; pause(ctx, 200*time.Millisecond) {
		var more []string
		for k, n := range r.hold(ctx, t) {
			room := 0
			for _, a := range allowed {
				if a.what.MatchString(k) {
					room = a.more
				}
			}
			if n > before[k]+room {
				more = append(more, fmt.Sprintf("%s: %d, at the beginning %d", k, n, before[k]))
			}
		}
		if len(more) == 0 {
			return
		}
		if time.Now().After(end) {
			slices.Sort(more)
			r.book.finding(nil, "when it is quiet there is left:\n\t%s", strings.Join(more, "\n\t"))
			return
		}
	}
}

// working is what no daemon or carrier does when it is quiet.
var working = []string{"/proc/jobs.(*Helper).run", "/proc/jobs.(*Home).", "/onehost/dev.", "/proc/jobs.(*Broker).", "/proc/space.", "/proc/on.(*Server)", "/proc/calls."}

// idle ends the daemons in such a way that they say what their goroutines do, and looks for those that nothing needs any more.
func (r *rig) idle(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, h := range r.cluster.Hosts() {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		out, err := h.Command(ctx, "sh", "-c", `pkill -QUIT -x 'onehostd|onehost-carrier'; while pgrep -x 'onehostd|onehost-carrier' >/dev/null; do sleep 0.02; done; sed -n '/^SIGQUIT/,$p' /var/log/onehostd.log`).Output()
		cancel()
		if err != nil {
			r.book.finding(nil, "%s: %v", h.Name(), err)
			continue
		}
		all := strings.Split(string(out), "\n\n")
		all = slices.DeleteFunc(all, func(g string) bool { return !strings.HasPrefix(g, "goroutine ") })
		t.Logf("%s: %d goroutines", h.Name(), len(all))
		made := map[string]int{}
		for _, g := range all {
			for _, of := range working {
				if strings.Contains(g, of) {
					r.book.finding(nil, "%s: a goroutine is left:\n%s", h.Name(), g)
				}
			}
			_, by, _ := strings.Cut(g, "created by ")
			by, _, _ = strings.Cut(by, " ")
			made[by]++
		}
		for by, n := range made {
			if n > 40 {
				r.book.finding(nil, "%s: %d goroutines were made by %s", h.Name(), n, by)
			}
		}
		if len(all) == 0 {
			r.book.finding(nil, "%s: no goroutines are told", h.Name())
		}
	}
}
