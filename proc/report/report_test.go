package report

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/onehost/onehost/names"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

func TestMain(m *testing.M) {
	if os.Getenv("REPORT_TEST_CHILD") != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

// output runs f with a reporter that writes to a file, in fake time, and gives what was written.
func output(t *testing.T, o Options, f func(r *Reporter)) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "err"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	synctest.Test(t, func(*testing.T) {
		o.Out = file
		if o.HomeCPU == nil {
			o.HomeCPU = func() time.Duration { return 0 }
		}
		r := New(o)
		f(r)
		r.Finish()
		r.Finish() // a second time does nothing
	})
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// build is 142 jobs in 10 seconds on a home of 2 CPUs.
func build(r *Reporter) {
	id := uint64(0)
	local := func(n int, reason string) {
		for range n {
			id++
			r.JobLocal(id, "cc x.c", reason)
			r.JobDone(id, -1, 0, 10*time.Millisecond)
		}
	}
	remote := func(n int, host names.HostName) {
		for range n {
			id++
			r.JobRemote(id, "cc x.c", host)
			r.JobDone(id, 0, 375*time.Millisecond, time.Second)
		}
	}
	remote(44, "h2")
	local(5, "no slot")
	remote(43, "h10")
	local(9, "link")
	remote(41, "h9")
	time.Sleep(10 * time.Second) // in fake time
}

func TestSummary(t *testing.T) {
	home := func() time.Duration { return 14 * time.Second }
	tests := []struct {
		name string
		o    Options
		run  func(r *Reporter)
		want string
	}{
		{"a build", Options{CPUs: 2, HomeCPU: home}, build, "142 jobs: 128 remote, 14 local (9 link, 5 no slot); h2 44 h9 41 h10 43; 3.1x\n"},
		{"CPUs not known", Options{HomeCPU: home}, build, "142 jobs: 128 remote, 14 local (9 link, 5 no slot); h2 44 h9 41 h10 43\n"},
		{"quiet", Options{Quiet: true, CPUs: 2}, build, ""},
		{"nothing ran", Options{CPUs: 2}, func(*Reporter) {}, ""},
		{"one, at once", Options{CPUs: 2}, func(r *Reporter) {
			r.JobLocal(1, "true", "home idle")
			r.JobDone(1, 0, 0, 0)
		}, "1 job: 0 remote, 1 local (1 home idle)\n"},
		{"all at home", Options{CPUs: 2, HomeCPU: home}, func(r *Reporter) {
			r.JobLocal(1, "cc a.c", "no host")
			r.JobDone(1, 0, 0, 0)
			time.Sleep(10 * time.Second)
		}, "1 job: 0 remote, 1 local (1 no host)\n"},
		{"lost and begun again", Options{}, func(r *Reporter) {
			r.JobRemote(1, "a", "h3")
			r.JobRemote(2, "b", "h3")
			r.JobRemote(1, "a", "h2")
			r.JobRemote(1, "a", "h4")
			r.JobLocal(2, "b", "no host")
			r.JobDone(1, 0, 0, 0)
			r.JobDone(2, 0, 0, 0)
		}, "2 jobs: 1 remote, 1 local (1 no host), 2 begun again; h4 1\n"},
		{"no reason, never ended, never begun", Options{}, func(r *Reporter) {
			r.JobLocal(1, "a", "")
			r.JobDone(1, 0, 0, 0)
			r.JobRemote(2, "b", "h3")
			r.JobDone(3, 0, 0, 0)
		}, "1 job: 0 remote, 1 local (1 no reason given)\n"},
		{"said though quiet", Options{Quiet: true}, func(r *Reporter) { r.Say("h3 is\ngone\x1b[2J") }, "onehost: h3 is\\ngone\\x1b[2J\n"},
	}
	for _, tt := range tests {
		if got := output(t, tt.o, tt.run); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestExplain(t *testing.T) {
	got := output(t, Options{Explain: true, Quiet: true}, func(r *Reporter) {
		done := func(id uint64, status int, seconds float64) {
			r.JobDone(id, status, 0, time.Duration(seconds*1e9))
		}
		r.JobLocal(1, "mkdir -p x", "cheap")
		done(1, -1, 0.02)
		r.JobRemote(2, "cc -c foo.c", "h3")
		done(2, 0, 0.84)
		r.JobRemote(3, "cc -c bar.c", "build-17")
		done(3, 1, 123.456)
		r.JobRemote(4, "sh -c 'a\nb'\t\x1b]0;title\a \xff é 日本 \u202e", "h3")
		done(4, 0, 1)
		r.JobRemote(5, "cc -c lost.c", "h3")
		r.JobLocal(5, "cc -c lost.c", "no host")
		done(5, 139, 2)
		r.JobRemote(6, strings.Repeat("é", 600), "h3")
		done(6, 0, 0)
	})
	golden(t, "explain", got)
	if n := strings.Count(got, "\n"); n != 6 {
		t.Errorf("%d lines of 6 jobs", n)
	}
}

func TestExplainColor(t *testing.T) {
	want := "\x1b[32mh3  \x1b[0m   0.00s cc\n"
	if got := explain(&job{command: "cc", host: "h3"}, 0, 0, 4, true); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLiveLine(t *testing.T) {
	l := live{
		hosts: map[names.HostName]*tally{"h2": {running: 2}, "h10": {running: 1}, "h3": {}},
		home:  1, done: 57, rate: 4.21, elapsed: 73 * time.Second,
	}
	line := liveLine(l)
	for width, want := range map[int]string{
		80: "home 1  h2 2  h3 0  h10 1 | 57 done, 4.2/s, 1:13",
		45: "home 1  h2 2  h3 0 … | 57 done, 4.2/s, 1:13",
		33: "home 1 … | 57 done, 4.2/s, 1:13",
		20: "home 1  h2 2  h3 0  ",
		0:  "",
	} {
		if got := fit(line, width); got != want {
			t.Errorf("width %d: got %q, want %q", width, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0:00", 61e9: "1:01", 3723e9: "1:02:03"} {
		if got := clock(d); got != want {
			t.Errorf("%v: got %s", d, got)
		}
	}
}

func TestRate(t *testing.T) {
	var r rate
	at := func(s float64) time.Duration { return time.Duration(s * 1e9) }
	for i := range 100 {
		r.add(at(float64(i) / 10))
	}
	if got := r.at(at(9.99)); got < 9.5 || got > 10.5 {
		t.Errorf("ten a second: got %.2f", got)
	}
	if got := r.at(at(30)); got != 0 {
		t.Errorf("20 s later: got %.2f", got)
	}
	if got := (&rate{}).at(0); got != 0 {
		t.Errorf("at the start: got %.2f", got)
	}
}

// A reader that is gone, or never reads, costs nobody anything.
func TestBrokenOutput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	rep := New(Options{Out: w})
	rep.Say("x")
	rep.Finish()
	w.Close()
	New(Options{}).Finish()
}

// A terminal that takes nothing loses lines, and says so.
func TestDropped(t *testing.T) {
	r := &Reporter{wake: make(chan struct{}, 1)}
	for range 5 {
		r.Say(strings.Repeat("x", maxPending/4))
	}
	if r.dropped == 0 || len(r.pending) > maxPending {
		t.Errorf("%d bytes pending, %d lines dropped", len(r.pending), r.dropped)
	}
	if got := string(r.next().text); !strings.HasSuffix(got, " lines were dropped because the terminal did not take them\n") {
		t.Errorf("ends with %q", got[len(got)-80:])
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[2J\n\xff\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range printable(s) {
			if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 || c == 0x202e {
				t.Errorf("%q lets %q through", s, c)
			}
		}
	})
}
