package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/onehost/onehost/control"
)

// TestProcessCommands: onehost where, kill and wait find a process by its name from any host, and the kernel that runs it says who may do what.
func TestProcessCommands(t *testing.T) {
	c := cluster(t, 3)
	h1, h2, h3 := c.Host("h1"), c.Host("h2"), c.Host("h3")
	for _, h := range c.Hosts() {
		job{host: h}.must(t, people)
	}
	alice := job{host: h1, user: "alice", dir: "/home/alice", env: []string{"HOME=/home/alice"}}
	root3 := job{host: h3}
	usable(t, job{host: h1}, "h2")
	go func() {
		_, _ = alice.try(t.Context(), `onehost run -q --no-local --hosts h2 sh -c 'sleep 1001 & sleep 1002 & exec sleep 1003'; sleep 1000`)
	}()
	go func() { _, _ = job{host: h2}.try(t.Context(), `exec sleep 1004`) }()
	first, lead := one(t, h1, "h2", "sleep 1001"), one(t, h1, "h2", "sleep 1003")
	native := one(t, h1, "h2", "sleep 1004")

	want := fmt.Sprintf("%s h2\n%s h2\nh1:1 h1\nh3:1 h3\n", first.Name, native.Name)
	if out := root3.must(t, fmt.Sprintf("onehost where %d %s h1:1 1", first.Pid, native.Name)); out != want {
		t.Errorf("where: %q, want %q", out, want)
	}
	if r := root3.sh(t, "onehost where h1:31999 h9:1"); r.status != 1 || r.err != "onehost: where: h1:31999: no such process\nonehost: where: h9:1: pid \"h9:1\": no host \"h9\" in this cluster: 'onehost hosts' lists them\n" {
		t.Errorf("where: %v", r)
	}

	// Who may do what.
	if r := alice.sh(t, fmt.Sprintf("onehost kill -0 %s %s %s", native.Name, first.Name, lead.Name)); r.status != 1 || r.err != "onehost: kill: "+native.Name+": operation not permitted\n" {
		t.Errorf("kill -0 of one's own and of another's: %v", r)
	}
	bob := job{host: h3, user: "bob", dir: "/home/bob", env: []string{"HOME=/home/bob"}}
	if r := bob.sh(t, "onehost kill "+first.Name+" "+lead.Name); r.status != 1 || strings.Count(r.err, "operation not permitted") != 2 {
		t.Errorf("kill of another's: %v", r)
	}

	// A wait for each, begun before they end; how they ended is known.
	type ending struct {
		name string
		r    result
	}
	ended := make(chan ending, 3)
	wait := func(j job, name string) {
		go func() {
			r, err := j.try(t.Context(), "onehost wait "+name)
			if err != nil {
				r.err += err.Error()
			}
			ended <- ending{name, r}
		}()
	}
	expect := func(name string, status int) {
		t.Helper()
		select {
		case e := <-ended:
			if e.name != name || e.r.status != status {
				t.Errorf("%s ended with %v, want %s with %d", e.name, e.r, name, status)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("wait for %s does not end", name)
		}
	}
	wait(root3, first.Name)
	wait(root3, native.Name)
	wait(alice, lead.Name)
	root3.must(t, fmt.Sprintf("onehost kill -STOP %s && onehost ps -p %s -o state=", first.Name, first.Name))
	eventually(t, 5*time.Second, "it is stopped", func() bool { return root3.must(t, "onehost ps -p "+first.Name+" -o state=") == "T\n" })
	root3.must(t, "onehost kill -CONT "+first.Name)
	eventually(t, 5*time.Second, "it goes on", func() bool { return root3.must(t, "onehost ps -p "+first.Name+" -o state=") == "S\n" })
	alice.must(t, "onehost kill -USR1 "+first.Name)
	expect(first.Name, 128+10)
	root3.must(t, "onehost kill -s KILL "+native.Name)
	expect(native.Name, 128+9)
	alice.must(t, fmt.Sprint("onehost kill -HUP ", lead.Pid))
	expect(lead.Name, 128+1)
	if r := root3.sh(t, "onehost wait "+native.Name); r.status != 127 || !strings.Contains(r.err, "no such process") {
		t.Errorf("wait for what has ended: %v", r)
	}
	// What the job left in the background ends with its session.
	eventually(t, 10*time.Second, "all have ended", func() bool { return len(with(procs(t, h3, control.ProcsRequest{}), "sleep 1002")) == 0 })
}
