package member

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/onehost/onehost/names"
)

var rewrite = flag.Bool("rewrite", false, "write the output of the scripts in testdata anew")

// world is a cluster of pure cores in which time passes by command: no clock, no goroutine. Beats arrive at once. Who stands
// for election as the registry's leader is elected at once if a majority of the voters runs and can be reached.
type world struct {
	now   time.Time
	begin time.Time
	reg   State
	cores map[names.Host]*Liveness
	down  map[names.Host]bool // crashed
	still map[names.Host]bool // paused: what comes in waits
	acks  map[names.Host]bool // of those: its kernel acknowledges what it is sent
	late  map[names.Host]bool // of those: a tick was due meanwhile
	next  map[names.Host]time.Time
	leads names.Host
	inbox map[names.Host][]Event
	cut   map[[2]names.Host]bool
	said  map[names.Host]string // the last accusations
	out   strings.Builder
}

func newWorld(n int) *world {
	w := &world{
		begin: time.Unix(1000, 0), cores: map[names.Host]*Liveness{}, down: map[names.Host]bool{}, still: map[names.Host]bool{},
		acks: map[names.Host]bool{}, late: map[names.Host]bool{}, next: map[names.Host]time.Time{}, leads: 1,
		inbox: map[names.Host][]Event{}, cut: map[[2]names.Host]bool{}, said: map[names.Host]string{},
	}
	w.now = w.begin
	w.apply(Command{Op: OpCreate, Cluster: "c", Name: "h1", CA: &CA{}, Token: &Secret{Expires: w.now.Add(time.Hour)}})
	for i := 2; i <= n; i++ {
		w.apply(Command{Op: OpJoin, Name: names.HostName(fmt.Sprintf("h%d", i)), Generation: 1})
	}
	for i := 2; i <= wantVoters(n); i++ {
		w.apply(Command{Op: OpPromote, Host: names.Host(i)})
	}
	w.out.Reset()
	return w
}

func (w *world) say(format string, args ...any) {
	fmt.Fprintf(&w.out, "%6.2fs  %s\n", w.now.Sub(w.begin).Seconds(), fmt.Sprintf(format, args...))
}

func (w *world) apply(c Command) {
	c.At = w.now
	h, changed, err := w.reg.Apply(c)
	if err != nil {
		w.say("refused: %v", err)
	}
	if !changed {
		return
	}
	if w.cores[h.Number] == nil {
		w.cores[h.Number] = NewLiveness(h.Number)
	}
	w.say("%s", show(w.reg.View))
	for n := range w.cores {
		if n == w.leads || w.reaches(w.leads, n) {
			w.deliver(n, Viewed{w.reg.View})
		}
	}
}

// elect makes a host the leader if a majority of the voters can vote for it.
func (w *world) elect(n names.Host) {
	votes, all := 0, 0
	for _, h := range w.reg.View.Hosts {
		if !h.Voter {
			continue
		}
		all++
		if h.Number == n || h.State != Left && w.reaches(n, h.Number) && !w.still[h.Number] {
			votes++
		}
	}
	won := 2*votes > all
	w.say("h%d stands for election: %d of %d", n, votes, all)
	if won {
		w.leads, w.next[n] = n, w.now
	}
}

func (w *world) reaches(a, b names.Host) bool {
	return !w.cut[[2]names.Host{a, b}] && !w.cut[[2]names.Host{b, a}] && !w.down[a] && !w.down[b]
}

func (w *world) deliver(n names.Host, e Event) {
	if w.still[n] {
		w.inbox[n] = append(w.inbox[n], e)
		return
	}
	if m := w.cores[n].Step(w.now, e); !m.Next.IsZero() {
		w.next[n] = m.Next
	}
}

// step lets a host tick, or look.
func (w *world) step(n names.Host, tick bool) {
	for _, d := range w.cores[n].Doubts(w.now) {
		if w.acks[d] && w.reaches(n, d) {
			w.cores[n].Step(w.now, Vouched{d})
		}
	}
	leads := n == w.leads
	var e Event = Look{leads}
	if tick {
		e = Tick{leads}
	}
	m := w.cores[n].Step(w.now, e)
	w.next[n] = m.Next
	if m.Paused {
		w.say("h%d stood still", n)
	}
	if said := fmt.Sprint(m.Accused); said != w.said[n] && !(w.said[n] == "" && len(m.Accused) == 0) {
		w.said[n] = said
		w.say("h%d accuses %v", n, m.Accused)
	}
	for _, to := range m.To {
		if w.reaches(n, to) {
			w.deliver(to, Heard{Beat{From: w.life(n), Accused: m.Accused, Leads: leads}})
		}
	}
	for _, v := range m.Lost {
		w.say("h%d gives %v up", n, v)
	}
	if m.Stand {
		w.elect(n)
	}
	if leads {
		for _, v := range m.Verdicts {
			w.say("verdict of h%d on %v", n, v)
			w.apply(Command{Op: OpFail, Host: v.Host, Incarnation: v.Incarnation})
		}
	}
}

func (w *world) life(n names.Host) Life {
	h, _ := w.reg.View.Host(n)
	return Life{n, h.Incarnation}
}

// run lets time pass in steps of 10 ms; the hosts tick at different moments.
func (w *world) run(d time.Duration) {
	const step = 10 * time.Millisecond
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(step) {
		for n := names.Host(1); n < w.reg.Next; n++ {
			phase := time.Duration(n) * 30 * time.Millisecond
			tick := (w.now.Sub(w.begin)+phase)%beatEvery == 0
			look := !w.next[n].IsZero() && !w.now.Before(w.next[n])
			if w.cores[n] == nil || w.down[n] || !tick && !look {
				continue
			}
			if w.still[n] {
				w.late[n] = w.late[n] || tick
				continue
			}
			w.step(n, tick)
		}
	}
}

func (w *world) command(line string) error {
	word := strings.Fields(line)
	host := func(i int) names.Host {
		if i >= len(word) {
			return 0
		}
		n, _ := names.ParseHost(strings.TrimPrefix(word[i], "h"))
		return n
	}
	switch word[0] {
	case "run":
		d, err := time.ParseDuration(word[1])
		if err != nil {
			return err
		}
		w.run(d)
	case "crash":
		w.down[host(1)] = true
	case "restart":
		n := host(1)
		w.down[n] = false
		w.cores[n] = NewLiveness(n)
		w.deliver(n, Viewed{w.reg.View})
		w.apply(Command{Op: OpRejoin, Host: n, Incarnation: w.life(n).Incarnation + 1})
		if n == w.leads {
			w.leads = 0
		}
	case "pause":
		w.still[host(1)] = true
	case "starve": // its programs stand still, its kernel does not
		w.still[host(1)], w.acks[host(1)] = true, true
	case "thaw":
		n := host(1)
		w.still[n], w.acks[n] = false, false
		for _, e := range w.inbox[n] {
			w.deliver(n, e)
		}
		w.inbox[n] = nil
		if w.late[n] {
			w.late[n] = false
			w.step(n, true)
		}
	case "cut":
		w.cut[[2]names.Host{host(1), host(2)}] = true
	case "heal":
		clear(w.cut)
	case "join":
		w.apply(Command{Op: OpJoin, Name: names.HostName(word[1]), Generation: 1})
	case "leave":
		w.apply(Command{Op: OpLeave, Host: host(1)})
	default:
		return fmt.Errorf("unknown command %q", line)
	}
	return nil
}

// TestScripts runs the scripts in testdata: a command on each line that starts with >, and what follows from it below.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/liveness/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var w *world
			var got strings.Builder
			for line := range strings.Lines(string(data)) {
				if strings.HasPrefix(line, "#") {
					got.WriteString(line)
				}
				cmd, ok := strings.CutPrefix(strings.TrimSpace(line), "> ")
				if !ok {
					continue
				}
				got.WriteString("> " + cmd + "\n")
				if n, ok := strings.CutPrefix(cmd, "hosts "); ok {
					n, err := strconv.Atoi(n)
					if err != nil {
						t.Fatal(err)
					}
					w = newWorld(n)
					continue
				}
				if err := w.command(cmd); err != nil {
					t.Fatal(err)
				}
				got.WriteString(w.out.String())
				w.out.Reset()
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got.String() != string(data) {
				t.Errorf("the run is not that of the script (-rewrite accepts it):\n%s", got.String())
			}
		})
	}
}

// Whatever stands still, a host that beats and is heard is never failed; and hosts that crash are, soon, as long as most of
// the others run.
func TestLivenessProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 20).Draw(t, "hosts")
		w := newWorld(n)
		w.run(firstBeat)
		hosts := rapid.Permutation(rangeOf(1, n)).Draw(t, "order")
		most := (n - 1) / 2
		if n > fullMesh {
			most = 2 // of five monitors; when more neighbours crash at once, new monitors must take over first
		}
		crashed := hosts[:rapid.IntRange(0, most).Draw(t, "crashed")]
		standing := hosts[len(crashed):]
		for range rapid.IntRange(0, 4).Draw(t, "pauses") {
			h := rapid.SampledFrom(standing).Draw(t, "who")
			w.still[h] = true
			w.run(time.Duration(rapid.IntRange(0, 45).Draw(t, "for")) * 10 * time.Millisecond) // under the deadline less a beat
			if err := w.command(fmt.Sprintf("thaw h%d", h)); err != nil {
				t.Fatal(err)
			}
			w.run(beatEvery)
		}
		for _, h := range crashed {
			w.down[h] = true
		}
		voting := slices.DeleteFunc(slices.Clone(standing), func(h names.Host) bool { v, _ := w.reg.View.Host(h); return !v.Voter })
		if 2*len(voting) > wantVoters(n) {
			w.run(deadline + beatEvery + 10*time.Millisecond)
			for _, h := range crashed {
				if v, _ := w.reg.View.Host(h); v.State != Failed {
					t.Fatalf("h%d crashed and is %s:\n%s", h, v.State, w.out.String())
				}
			}
		}
		w.run(2 * time.Second)
		for _, h := range standing {
			if v, _ := w.reg.View.Host(h); v.State != Alive {
				t.Fatalf("h%d runs and is %s:\n%s", h, v.State, w.out.String())
			}
			if w.said[h] != "" && w.said[h] != "[]" && len(crashed) == 0 {
				t.Fatalf("h%d accuses %s, who all run", h, w.said[h])
			}
		}
	})
}

func rangeOf(first, last int) []names.Host {
	var hs []names.Host
	for i := first; i <= last; i++ {
		hs = append(hs, names.Host(i))
	}
	return hs
}

// Beats grow with the number of hosts only up to a bound.
func TestTargetsBounded(t *testing.T) {
	for _, n := range []int{2, 4, fullMesh, fullMesh + 1, 100} {
		w := newWorld(n)
		bound := n - 1
		if n > fullMesh {
			bound = monitorsOf + wantVoters(n)
		}
		watched := map[names.Host]int{}
		for h := range w.cores {
			to := w.cores[h].Step(w.now, Tick{}).To
			if len(to) > bound || slices.Contains(to, h) {
				t.Errorf("%d hosts: h%d beats to %v", n, h, to)
			}
			for _, o := range to {
				watched[o]++
			}
		}
		for h := range w.cores {
			if watched[h] < min(n-1, monitorsOf) {
				t.Errorf("%d hosts: h%d hears %d", n, h, watched[h])
			}
		}
	}
}
