package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/split"
)

// procs asks a host's daemon for the processes of the cluster.
func procs(t *testing.T, at *split.Host, req control.ProcsRequest) control.ProcsReply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := control.Procs(ctx, at.Control(), req)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// with gives the processes whose command is this.
func with(r control.ProcsReply, command string) []control.Proc {
	return slices.DeleteFunc(slices.Clone(r.Procs), func(p control.Proc) bool { return p.Command != command })
}

// one waits until a process with this command is listed as running on the host, and gives it.
func one(t *testing.T, at *split.Host, host names.HostName, command string) control.Proc {
	t.Helper()
	var found []control.Proc
	eventually(t, 10*time.Second, command+" is listed on "+string(host), func() bool {
		found = with(procs(t, at, control.ProcsRequest{}), command)
		return len(found) == 1 && found[0].Host == host && found[0].State == "S"
	})
	return found[0]
}

// TestPs: each process of the cluster is listed once, by whichever host is asked, where it runs and as its home knows it.
func TestPs(t *testing.T) {
	c := cluster(t, 3)
	h1, h2, h3 := c.Host("h1"), c.Host("h2"), c.Host("h3")
	job{host: h1}.must(t, people)
	alice := job{host: h1, user: "alice", dir: "/home/alice", env: []string{"HOME=/home/alice"}}
	usable(t, job{host: h1}, "h2")

	ended := make(chan result, 1)
	go func() {
		r, err := alice.try(t.Context(), `onehost run -q --no-local --hosts h2 sh -c 'echo $$; sleep 1001 & (setsid sleep 1002 &); exec sleep 1003'`)
		if err != nil {
			r.err += err.Error()
		}
		ended <- r
	}()
	child, orphan, job1 := one(t, h1, "h2", "sleep 1001"), one(t, h1, "h2", "sleep 1002"), one(t, h1, "h2", "sleep 1003")
	ghost := strings.Fields(job{host: h1}.must(t, fmt.Sprintf("cut -d' ' -f 1,4,5,6 /proc/%d/stat", job1.Pid.Local()))) // a sleep has no blank in its name
	number := func(s string) names.Pid {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return names.MakePid(1, n)
	}
	if got, want := []names.Pid{job1.Pid, job1.PPid, job1.PGid, job1.Session}, []names.Pid{number(ghost[0]), number(ghost[1]), number(ghost[2]), number(ghost[3])}; !slices.Equal(got, want) {
		t.Errorf("the job is %v, its ghost %v", got, want)
	}
	if child.PPid != job1.Pid || child.PGid != job1.PGid || child.Session != job1.Session || child.Pid.Local() < names.FirstLease {
		t.Errorf("the child is %+v, the job %+v", child, job1)
	}
	if orphan.PPid != names.MakePid(1, 1) || orphan.Session != orphan.Pid {
		t.Errorf("the orphan is %+v", orphan)
	}
	for _, p := range []control.Proc{child, orphan, job1} {
		if p.User != "alice" || p.Home != "h1" || p.RSS <= 0 || p.Name != fmt.Sprintf("h1:%d", p.Pid.Local()) || time.Since(p.Started).Abs() > time.Minute || p.Comm != "sleep" {
			t.Errorf("%+v", p)
		}
	}

	t.Run("its name", func(t *testing.T) {
		// sh and awk may be links to other programs; a name that is too long for the kernel is cut.
		out := alice.must(t, `mkdir bin && ln -s /bin/sleep bin/name-of-twenty-bytes &&
			for run in "" "onehost run -q --no-local --hosts h2"; do
				for c in "sh -c 'cat /proc/self/comm /proc/\$\$/comm'" "/bin/sh -c 'read n < /proc/\$\$/comm; echo \$n'" "awk 'BEGIN { getline < \"/proc/self/comm\"; print }'" \
					"bash -c '(exec -a other ~/bin/name-of-twenty-bytes 1) & sleep 0.3; cat /proc/\$!/comm; wait'"; do
					eval "$run $c"
				done
			done`)
		lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if len(lines)%2 != 0 || !slices.Equal(lines[:len(lines)/2], lines[len(lines)/2:]) || lines[1] != "sh" {
			t.Errorf("at home, and elsewhere: %q", lines)
		}
	})

	t.Run("whoever is asked", func(t *testing.T) {
		for _, h := range c.Hosts() {
			r := procs(t, h, control.ProcsRequest{})
			if len(r.Failed) > 0 {
				t.Errorf("%s: %v", h.Name(), r.Failed)
			}
			seen := map[names.Pid]bool{}
			inits := 0
			for _, p := range r.Procs {
				if seen[p.Pid] || p.Pid.Host() == names.Here {
					t.Errorf("%s: twice, or without a home: %+v", h.Name(), p)
				}
				seen[p.Pid] = true
				if strings.Contains(p.Command, "onehost-nest") {
					t.Errorf("%s: %+v", h.Name(), p)
				}
				if p.Pid.Local() == 1 && p.Home == p.Host {
					inits++
				}
			}
			if inits != 3 {
				t.Errorf("%s: %d hosts have their first process", h.Name(), inits)
			}
			for _, p := range []control.Proc{child, orphan, job1} {
				if got := with(r, p.Command); len(got) != 1 || got[0].Pid != p.Pid || got[0].PPid != p.PPid || got[0].User != "alice" {
					t.Errorf("%s: %q is %+v", h.Name(), p.Command, got)
				}
			}
		}
		// Who runs something for h1 alone is asked, and h1 for what it alone knows.
		r := procs(t, h3, control.ProcsRequest{Hosts: []names.HostName{"h2"}})
		if got := with(r, "sleep 1003"); len(got) != 1 || got[0].PPid != job1.PPid || got[0].User != "alice" || len(r.Failed) > 0 {
			t.Errorf("of h2 only: %+v, %v", got, r.Failed)
		}
		for _, p := range r.Procs {
			if p.Host != "h2" {
				t.Errorf("of h2 only: %+v", p)
			}
		}
	})

	t.Run("all of a host", func(t *testing.T) {
		list := `cat /proc/[0-9]*/stat 2>/dev/null | sed 's/ .*//' | sort -n`
		before := strings.Fields(job{host: h1}.must(t, list))
		r := procs(t, h2, control.ProcsRequest{})
		after := strings.Fields(job{host: h1}.must(t, list))
		for _, pid := range before {
			if slices.Contains(after, pid) && !slices.ContainsFunc(r.Procs, func(p control.Proc) bool { return p.Pid == number(pid) }) {
				t.Errorf("process %s of h1 is not listed", pid)
			}
		}
	})

	t.Run("the command", func(t *testing.T) {
		line := fmt.Sprintf("h1:%d h2 alice sleep 1003\n", job1.Pid.Local())
		const columns = ` -o pid=,host=,user=,command= | tr -s ' '`
		if out := alice.must(t, `onehost ps -p `+job1.Pid.String()+columns); out != line {
			t.Errorf("%q, want %q", out, line)
		}
		if out := alice.must(t, `onehost ps --jobs -C sleep`+columns+` | grep -c sleep; onehost ps`+columns); !strings.HasPrefix(out, "3\n") || !strings.Contains(out, line) || strings.Contains(out, "root") {
			t.Errorf("%q", out)
		}
		if out := alice.must(t, `onehost top -b -d 0.3 -n 2 --jobs -u alice`); strings.Count(out, " sleep 1003\n") != 2 || !strings.Contains(out, " 3 away from home\n") {
			t.Errorf("%q", out)
		}
	})

	t.Run("what a user may see", func(t *testing.T) {
		const all = `onehost ps -e -o host=,user= | tr -s ' ' | sort -u`
		if out := alice.must(t, all); out != "h1 alice\nh1 root\nh2 alice\nh2 root\nh3 root\n" {
			t.Errorf("where everything is shown: %q", out)
		}
		job{host: h2}.must(t, "mount -o remount,hidepid=2 /proc")
		if out := alice.must(t, all); out != "h1 alice\nh1 root\nh2 alice\nh3 root\n" {
			t.Errorf("where h2 hides others': %q", out)
		}
		if out := (job{host: h3}).must(t, all); out != "h1 alice\nh1 root\nh2 alice\nh2 root\nh3 root\n" {
			t.Errorf("root sees %q", out)
		}
	})

	t.Run("a host that does not answer", func(t *testing.T) {
		if err := h3.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		r := alice.sh(t, `onehost ps -e -o host=,command=`)
		if took := time.Since(begin); took > 2500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		// On a slow machine it may be given up meanwhile.
		const silent, dead = "onehost: ps: h3: no answer within 1.8s\n", "onehost: ps: h3: it is not alive\n"
		if r.status != 1 || r.err != silent && r.err != dead || !strings.Contains(r.out, "sleep 1003\n") || strings.Contains(r.out, "h3 ") {
			t.Errorf("%v", r)
		}
		if err := h3.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
	})

	job{host: h1}.must(t, fmt.Sprint("kill ", job1.Pid.Local())) // its ghost, which was sh when it went
	select {
	case r := <-ended:
		if r.status != 128+15 {
			t.Errorf("the job ended with %v", r)
		}
	case <-time.After(10 * time.Second):
		t.Error("the job does not end")
	}
	eventually(t, 5*time.Second, "they are gone from the list", func() bool {
		r := procs(t, h1, control.ProcsRequest{})
		return len(with(r, "sleep 1001"))+len(with(r, "sleep 1002"))+len(with(r, "sleep 1003")) == 0
	})
}
