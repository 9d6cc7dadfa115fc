package member

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/onehost/onehost/names"
)

func TestRegistry(t *testing.T) {
	at := time.Unix(1000, 0)
	create := Command{Op: OpCreate, At: at, Cluster: "c", Name: "h1", CA: &CA{}, Token: &Secret{Bytes: []byte{1}, Expires: at.Add(time.Hour)}}
	join := func(name string) Command {
		return Command{Op: OpJoin, At: at, Name: names.HostName(name), Generation: 1}
	}
	at2 := func(name string) Command { c := join(name); c.Addr = "10.0.0.2:1996"; return c }
	first, second, fourth := join("h2"), join("h2"), join("h4")
	first.Request, second.Request, fourth.Request = []byte{1}, []byte{2}, []byte{2}
	for _, test := range []struct {
		name     string
		commands []Command
		want     string // the last view
		err      string // of the last command
		kind     syscall.Errno
	}{
		{"create", []Command{create}, "view 1: h1=1.1*", "", 0},
		{"create twice", []Command{create, create}, "view 1: h1=1.1*", "exists already", syscall.EINVAL},
		{"join before create", []Command{join("h2")}, "view 0:", "create a cluster first", syscall.EINVAL},
		{"join", []Command{create, join("h2")}, "view 2: h1=1.1* h2=2.1", "", 0},
		{"asked again by the same", []Command{create, first, first}, "view 2: h1=1.1* h2=2.1", "", 0},
		{"asked again by another", []Command{create, first, second}, "view 2: h1=1.1* h2=2.1", "the name h2 is in use by host 2", syscall.EEXIST},
		{"asked again by the same when others came and left", []Command{
			create, join("h2"), {Op: OpJoin, At: at, Name: "h3", Generation: 1, Request: []byte{3}}, fourth, {Op: OpLeave, Host: 2}, fourth,
		}, "view 5: h1=1.1* h2=2.1(left) h3=3.1 h4=4.1", "", 0},
		{"name in use", []Command{create, join("h1")}, "view 1: h1=1.1*", "the name h1 is in use by host 1", syscall.EEXIST},
		{"address in use", []Command{create, at2("h2"), at2("h3")}, "view 2: h1=1.1* h2=2.1", "the address 10.0.0.2:1996 is that of host 2, h2", syscall.EEXIST},
		{"address of a host that left", []Command{create, at2("h2"), {Op: OpLeave, Host: 2}, at2("h3")}, "view 4: h1=1.1* h2=2.1(left) h3=3.1", "", 0},
		{"name in use by a drained host", []Command{create, join("h2"), {Op: OpDrain, Host: 2}, join("h2")}, "view 3: h1=1.1* h2=2.1(drained)", "in use", syscall.EEXIST},
		{"name of a failed host", []Command{create, join("h2"), {Op: OpFail, Host: 2, Incarnation: 1}, join("h2")}, "view 4: h1=1.1* h2=3.1", "", 0},
		{"name of a host that left", []Command{create, join("h2"), {Op: OpLeave, Host: 2}, join("h2")}, "view 4: h1=1.1* h2=3.1", "", 0},
		{"rotated token", []Command{create, {Op: OpToken, Token: &Secret{Bytes: []byte{2}, Expires: at.Add(time.Hour)}}, join("h2")}, "view 1: h1=1.1*", "replaced by a newer one", syscall.EACCES},
		{"expired token", []Command{create, {Op: OpJoin, At: at.Add(2 * time.Hour), Name: "h2", Generation: 1}}, "view 1: h1=1.1*", "expired at 1970-01-01T01:16:40Z", syscall.EACCES},
		{"fail an earlier life", []Command{create, join("h2"), {Op: OpRejoin, Host: 2, Incarnation: 2}, {Op: OpFail, Host: 2, Incarnation: 1}}, "view 3: h1=1.1* h2=2.2", "", 0},
		{"fail twice", []Command{create, join("h2"), {Op: OpFail, Host: 2, Incarnation: 1}, {Op: OpFail, Host: 2, Incarnation: 1}}, "view 3: h1=1.1* h2=2.1(failed)", "", 0},
		{"rejoin in a life that failed", []Command{create, join("h2"), {Op: OpFail, Host: 2, Incarnation: 1}, {Op: OpRejoin, Host: 2, Incarnation: 1}}, "view 3: h1=1.1* h2=2.1(failed)", "is over", syscall.ESTALE},
		{"rejoin", []Command{create, join("h2"), {Op: OpFail, Host: 2, Incarnation: 1}, {Op: OpRejoin, Host: 2, Incarnation: 2}}, "view 4: h1=1.1* h2=2.2", "", 0},
		{"a drained host restarts", []Command{create, join("h2"), {Op: OpDrain, Host: 2}, {Op: OpRejoin, Host: 2, Incarnation: 2}}, "view 4: h1=1.1* h2=2.2(drained)", "", 0},
		{"rejoin after leaving", []Command{create, join("h2"), {Op: OpLeave, Host: 2}, {Op: OpRejoin, Host: 2, Incarnation: 2}}, "view 3: h1=1.1* h2=2.1(left)", "not a member", syscall.ENXIO},
		{"drain and resume", []Command{create, {Op: OpDrain, Host: 1}, {Op: OpResume, Host: 1}}, "view 3: h1=1.1*", "", 0},
		{"drain a failed host", []Command{create, join("h2"), {Op: OpFail, Host: 2, Incarnation: 1}, {Op: OpDrain, Host: 2}}, "view 3: h1=1.1* h2=2.1(failed)", "takes no jobs", syscall.EINVAL},
		{"leaving ends the vote", []Command{create, join("h2"), {Op: OpPromote, Host: 2}, {Op: OpLeave, Host: 2}}, "view 4: h1=1.1* h2=2.1(left)", "", 0},
		{"no such host", []Command{create, {Op: OpDrain, Host: 9}}, "view 1: h1=1.1*", "host 9 is not a member", syscall.ENXIO},
		{"unknown command", []Command{create, {Op: "dance", Host: 1}}, "view 1: h1=1.1*", `unknown command "dance"`, syscall.EINVAL},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s State
			var err error
			for _, c := range test.commands {
				_, _, err = s.Apply(c)
			}
			if got := show(s.View); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err) || !errors.Is(err, test.kind)) {
				t.Errorf("got error %v, want %q of kind %v", err, test.err, test.kind)
			}
		})
	}
}

func TestNumbersRunOut(t *testing.T) {
	s := State{}
	if _, _, err := s.Apply(Command{Op: OpCreate, CA: &CA{}, Token: &Secret{}}); err != nil {
		t.Fatal(err)
	}
	s.Next = names.MaxHost
	if h, _, err := s.Apply(Command{Op: OpJoin, Name: "last", Generation: 1}); err != nil || h.Number != names.MaxHost {
		t.Fatal(h, err)
	}
	if _, _, err := s.Apply(Command{Op: OpJoin, Name: "more", Generation: 1}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
}

// drawCommand makes a command that may or may not make sense.
func drawCommand(t *rapid.T, i int) Command {
	return Command{
		Op:          rapid.SampledFrom([]Op{OpJoin, OpJoin, OpRejoin, OpRejoin, OpDrain, OpResume, OpLeave, OpFail, OpFail, OpPromote, OpDemote, OpToken}).Draw(t, "op"),
		At:          time.Unix(int64(1000+i), 0).UTC(),
		Host:        names.Host(rapid.IntRange(1, 6).Draw(t, "host")),
		Incarnation: names.Incarnation(rapid.IntRange(0, 4).Draw(t, "incarnation")),
		Name:        names.HostName(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "name")),
		Generation:  uint64(rapid.IntRange(1, 3).Draw(t, "generation")),
		Token:       &Secret{Bytes: []byte{byte(i)}, Expires: time.Unix(1<<20, 0).UTC()},
	}
}

func TestRegistryProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s State
		first := Command{Op: OpCreate, Cluster: "c", Name: "a", CA: &CA{}, Token: &Secret{Expires: time.Unix(1<<20, 0).UTC()}}
		log := []Command{first}
		if _, _, err := s.Apply(first); err != nil {
			t.Fatal(err)
		}
		given := map[names.Host]names.HostName{1: "a"}
		for i := range rapid.IntRange(0, 60).Draw(t, "commands") {
			c := drawCommand(t, i)
			log = append(log, c)
			before, old := s, slices.Clone(s.View.Hosts)
			h, changed, err := s.Apply(c)
			if !slices.Equal(before.View.Hosts, old) {
				t.Fatalf("%+v wrote to a view that was given out", c)
			}
			if err != nil && !reflect.DeepEqual(before, s) {
				t.Fatalf("%+v was refused but changed something", c)
			}
			if changed != (s.View.Seq == before.View.Seq+1) || !changed && s.View.Seq != before.View.Seq {
				t.Fatalf("%+v: changed is %v from view %d to %d", c, changed, before.View.Seq, s.View.Seq)
			}
			if c.Op == OpJoin && err == nil {
				if owner, dup := given[h.Number]; dup {
					t.Fatalf("number %d of %s was given again", h.Number, owner)
				}
				given[h.Number] = h.Name
			}
			seen := map[names.HostName]bool{}
			for i, h := range s.View.Hosts {
				if seen[h.Name] {
					t.Fatalf("two hosts are called %s: %s", h.Name, show(s.View))
				}
				seen[h.Name] = true
				if i > 0 && s.View.Hosts[i-1].Number >= h.Number {
					t.Fatalf("not in order: %s", show(s.View))
				}
				was, known := before.View.Host(h.Number)
				if known && (h.Incarnation < was.Incarnation || was.State == Left && h.State != Left) {
					t.Fatalf("%+v brought back the dead: %s to %s", c, show(before.View), show(s.View))
				}
				if known && was.State == Failed && h.State.Up() && h.Incarnation == was.Incarnation {
					t.Fatalf("%+v revived a life that failed", c)
				}
			}
		}
		// Another copy, that was a snapshot in between, comes to the same.
		var copied State
		cut := rapid.IntRange(0, len(log)).Draw(t, "snapshot")
		for i, c := range log {
			if i == cut {
				data, err := json.Marshal(copied)
				if err != nil {
					t.Fatal(err)
				}
				copied = State{}
				if err := json.Unmarshal(data, &copied); err != nil {
					t.Fatal(err)
				}
			}
			_, _, _ = copied.Apply(c)
		}
		a, _ := json.Marshal(s)
		b, _ := json.Marshal(copied)
		if string(a) != string(b) {
			t.Fatalf("two copies differ:\n%s\n%s", a, b)
		}
	})
}

func TestLeftAreForgotten(t *testing.T) {
	var s State
	commands := []Command{{Op: OpCreate, Name: "h1", CA: &CA{}, Token: &Secret{Expires: time.Unix(1<<30, 0)}}}
	for i := 2; i < 2*maxLeft; i++ {
		n := names.Host(i)
		commands = append(commands, Command{Op: OpJoin, Name: names.HostName(fmt.Sprint("h", i)), Generation: 1},
			Command{Op: OpLeave, Host: n, At: time.Unix(int64(i), 0)})
	}
	for _, c := range commands {
		if _, _, err := s.Apply(c); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.View.Hosts); n != maxLeft+1 {
		t.Errorf("%d hosts are remembered, want %d", n, maxLeft+1)
	}
	if _, ok := s.View.Host(2*maxLeft - 1); !ok {
		t.Error("the latest to leave is forgotten")
	}
	if err := s.View.Admits(Life{2, 1}); !errors.Is(err, errLeft) {
		t.Errorf("a host that is forgotten: %v", err)
	}
}

func TestAdmits(t *testing.T) {
	v := View{Seq: 1, Hosts: []Host{{Number: 1, Incarnation: 3, State: Alive}, {Number: 2, Incarnation: 3, State: Failed}, {Number: 3, Incarnation: 3, State: Left}}}
	for l, want := range map[Life]error{
		{1, 2}: errStale, {1, 3}: nil, {1, 4}: nil,
		{2, 3}: errStale, {2, 4}: nil,
		{3, 3}: errLeft, {3, 4}: errLeft,
		{4, 1}: errLeft,
	} {
		if err := v.Admits(l); !errors.Is(err, want) {
			t.Errorf("%v: got %v, want %v", l, err, want)
		}
	}
}

// Between one voter and three there are two, of which neither may die: a host that has just come back is not to be the second.
func TestNewcomersVoteLast(t *testing.T) {
	began := time.Now()
	v := View{Seq: 1, Hosts: []Host{
		{Number: 1, State: Alive, Since: began}, {Number: 2, State: Alive, Since: began.Add(time.Minute)}, {Number: 3, State: Alive, Since: began},
	}}
	voters := []names.Host{1}
	for _, want := range []names.Host{3, 2} {
		step, any := nextVoterChange(v, voters, 1)
		if !any || !step.Add || step.Host != want {
			t.Fatalf("voters %v: %v, %v; want %d to be added", voters, step, any, want)
		}
		voters = append(voters, want)
	}
}

// From any voters, whatever is up, single steps lead to the voters that are wanted, never without a quorum of the living.
func TestVoterChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := View{Seq: 1}
		n := rapid.IntRange(1, 12).Draw(t, "hosts")
		for i := 1; i <= n; i++ {
			state := rapid.SampledFrom([]HostState{Alive, Alive, Alive, Drained, Failed, Left}).Draw(t, "state")
			v.Hosts = append(v.Hosts, Host{Number: names.Host(i), State: state})
		}
		up := v.Up()
		if len(up) == 0 {
			return
		}
		leader := rapid.SampledFrom(up).Draw(t, "leader").Number
		voters := []names.Host{leader}
		for _, h := range rapid.SliceOfNDistinct(rapid.IntRange(1, n), 0, min(n, 4), rapid.ID).Draw(t, "voters") {
			if !slices.Contains(voters, names.Host(h)) {
				voters = append(voters, names.Host(h))
			}
		}
		alive := 0
		for _, h := range up {
			if h.State == Alive {
				alive++
			}
		}
		for steps := 0; ; steps++ {
			step, any := nextVoterChange(v, voters, leader)
			if !any {
				break
			}
			if steps > 3*n {
				t.Fatalf("no end: %v of voters %v in %s", step, voters, show(v))
			}
			if step.Add == slices.Contains(voters, step.Host) {
				t.Fatalf("%v of voters %v", step, voters)
			}
			if step.Add {
				voters = append(voters, step.Host)
			} else {
				voters = slices.DeleteFunc(voters, func(n names.Host) bool { return n == step.Host })
			}
			if len(voters) == 0 {
				t.Fatal("no voter is left")
			}
			if step.Host == leader && !step.Add { // another takes over
				leader = voters[0]
				for _, n := range voters {
					if h, _ := v.Host(n); h.State.Up() {
						leader = n
					}
				}
			}
		}
		pool := alive
		if pool == 0 {
			pool = len(up)
		}
		want := min(wantVoters(pool), pool)
		if len(voters) != want {
			t.Fatalf("%d voters %v, want %d: %s", len(voters), voters, want, show(v))
		}
		for _, n := range voters {
			if h, _ := v.Host(n); !h.State.Up() || alive > 0 && h.State != Alive {
				t.Fatalf("voter %d is %s", n, h.State)
			}
		}
	})
}
