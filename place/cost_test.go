package place

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/onehost/onehost/names"
)

func TestCostsLearn(t *testing.T) {
	c := NewCosts()
	small, large := Work{Kind: "cc -c", Bytes: 10_000}, Work{Kind: "cc -c", Bytes: 400_000}
	if a, b := c.Estimate(small), c.Estimate(large); !(b > 5*a) {
		t.Fatalf("nothing learned yet: %.2f and %.2f s; want a large file to cost much more", a, b)
	}
	for i := range 60 { // a slower compiler: 1 s and 3 s per 100 kB
		bytes := int64(5000 + 3000*i)
		c.Learn(Work{Kind: "cc -c", Bytes: bytes}, 1+3*float64(bytes)/1e5)
	}
	for _, w := range []Work{small, large} {
		want := 1 + 3*float64(w.Bytes)/1e5
		if got := c.Estimate(w); math.Abs(got-want) > 0.15*want {
			t.Errorf("%d bytes: %.2f s; want about %.2f", w.Bytes, got, want)
		}
	}
	if got := c.Estimate(Work{Kind: "ld", Bytes: 0}); got > 1 {
		t.Errorf("another kind learned from the first: %.2f s", got)
	}
	for range 60 {
		c.Learn(Work{Kind: "ld"}, 7)
	}
	if got := c.Estimate(Work{Kind: "ld"}); math.Abs(got-7) > 0.5 {
		t.Errorf("all of one size: %.2f s; want 7", got)
	}
}

// Whatever commands cost, an estimate is a positive number, and the kinds remembered are bounded.
func TestCostsAreFinite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := NewCosts()
		work := rapid.Custom(func(t *rapid.T) Work {
			return Work{Kind: rapid.StringN(0, 2, 4).Draw(t, "kind"), Bytes: rapid.Int64().Draw(t, "bytes")}
		})
		for range rapid.IntRange(0, 50).Draw(t, "n") {
			c.Learn(work.Draw(t, "work"), rapid.Float64().Draw(t, "seconds"))
			if got := c.Estimate(work.Draw(t, "asked")); !(got > 0) || math.IsInf(got, 0) {
				t.Fatalf("estimate %v", got)
			}
		}
		if len(c.kinds) > maxKinds {
			t.Fatalf("%d kinds", len(c.kinds))
		}
	})
}

func TestDescribe(t *testing.T) {
	sizes := map[string]int64{"a.c": 1000, "src/b.cc": 2000, "/x/c.S": 3000, "dir.c": 0, "a.o": 4000, "lib/b.a": 5000}
	size := func(name string) int64 { return sizes[name] }
	for _, tt := range []struct {
		argv []string
		want Work
	}{
		{[]string{"gcc", "-O2", "-c", "-o", "a.o", "a.c"}, Work{Kind: "gcc -O2 -c", Bytes: 1000}},
		{[]string{"sh", "-c", `printf "CC a.o"; cc -O0 -c a.c`}, Work{Kind: "cc -O0 -c", Bytes: 1000}},
		{[]string{"/bin/sh", "-c", "cd src && c++ -c b.cc && mv b.o ../"}, Work{Kind: "c++ -c", Bytes: 2000}},
		{[]string{"env", "LC_ALL=C", "nice", "cc", "-c", "/x/c.S"}, Work{Kind: "cc -c", Bytes: 3000}},
		{[]string{"cc", "-MM", "a.c", "/x/c.S"}, Work{Kind: "cc -M", Bytes: 4000}},
		{[]string{"cc", "-o", "prog", "a.o", "lib/b.a", "-lm"}, Work{Kind: "cc", Moves: 9000}},
		{[]string{"cc", "-c", "missing.c", "dir.c"}, Work{Kind: "cc -c", Bytes: 0}},
		{[]string{"python3", "gen.py"}, Work{Kind: "python3", Bytes: 0}},
		{[]string{"sh", "-c", "true"}, Work{Kind: "sh", Bytes: 0}},
		{[]string{"sh", "-c", "if test -f a.c; then gcc -c a.c; gcc -c src/b.cc; fi"}, Work{Kind: "gcc -c", Bytes: 3000}},
	} {
		if got := DefaultRules().Describe(tt.argv[0], tt.argv, size); got != tt.want {
			t.Errorf("%q: got %+v, want %+v", tt.argv, got, tt.want)
		}
	}
}

// What would have to fetch much stays where that is, unless home is behind.
func TestLinkStaysAtHome(t *testing.T) {
	tab := four()
	tab.Take(start, Request{NoLocal: true}) // or any first job would stay
	link := Request{HomeSlots: -1, Cost: 0.25, Moves: 15e6}
	if d := take(tab, link); !d.Local {
		t.Errorf("a link went to %d although home has nothing to do", d.Host)
	}
	tab.Take(start, Request{HomeSlots: 9, Cost: 5, Hosts: []names.Host{1}})
	if d := take(tab, link); d.Local {
		t.Errorf("a link waits for a long job at home")
	}
}

// Two jobs that take long do not go to one host while others have little left.
func TestLongJobsApart(t *testing.T) {
	tab := four()
	long := Request{NoLocal: true, Cost: 4}
	first, _ := tab.Take(start, long)
	for range 3 { // all hosts have as many jobs as the first's
		tab.Take(start, Request{NoLocal: true, Cost: 0.3})
	}
	second, _ := tab.Take(start, long)
	if first.Host == second.Host {
		t.Errorf("both long jobs went to host %d", first.Host)
	}
	for range 4 { // short ones may go beside long ones
		tab.Take(start, Request{NoLocal: true, Cost: 0.3})
	}
	third, _ := tab.Take(start.Add(5*time.Second), long)
	if third.Host == first.Host || third.Host == second.Host {
		t.Errorf("the third long job went to host %d, beside another", third.Host)
	}
}

func TestEnds(t *testing.T) {
	of := func(costs ...float64) *work {
		w := &work{}
		for _, c := range costs {
			w.begin(c)
		}
		return w
	}
	for _, tt := range []struct {
		name   string
		w      *work
		cost   float64
		cpus   float64
		others int
		want   float64
	}{
		{"idle", of(), 2, 4, 0, 2},
		{"a CPU is free", of(9, 9, 9), 2, 4, 0, 2},
		{"four share three", of(9, 9, 9), 3, 3, 0, 4},
		{"half a CPU", of(), 1, 0.5, 0, 2},
		{"beside a long one", of(9), 1, 0.5, 0, 4},
		{"beside a short one", of(0.5), 1, 0.5, 0, 3},
		{"beside two, one of which ends first", of(9, 0.5), 1, 1, 0, 2.5},
		{"others' jobs are like this one", of(), 1, 0.5, 1, 4},
		{"no report yet", of(3), 1, 0, 0, 0},
	} {
		if got := tt.w.ends(tt.cost, tt.cpus, tt.others); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	w := of(2)
	w.advance(start, 0.5, 0)
	w.advance(start.Add(2*time.Second), 0.5, 0)
	if got := w.ends(9, 0.5, 0); math.Abs(got-20) > 1e-9 {
		t.Errorf("beside 1 s that is left on half a CPU: %v, want 20", got)
	}
	w.advance(start.Add(time.Hour), 0.5, 0)
	if got, want := w.jobs[0].left, 2*late; got != want {
		t.Errorf("late: %v left, want %v", got, want)
	}
}
