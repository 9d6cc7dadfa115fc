package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// topAt is when the samples of these tests are.
var topAt = time.Date(2026, 3, 4, 12, 30, 15, 0, time.UTC)

func topHost(n int, state string, load float64, jobs int) control.Host {
	return control.Host{Name: names.HostName(fmt.Sprintf("h%d", n)), Number: names.Host(n), State: state, Load: load, Jobs: jobs, Slots: 4}
}

func topRow(pid int, host names.HostName, state, command string, cpu float64) *psRow {
	comm, _, _ := strings.Cut(command, " ")
	return &psRow{cpu: cpu, named: func(p names.Pid) string { return fmt.Sprintf("h%d:%d", p.Host(), p.Local()) }, Proc: control.Proc{
		Pid: names.MakePid(1, pid), Name: fmt.Sprintf("h1:%d", pid), Home: "h1", Host: host, User: "ada", State: state, Comm: comm, Command: command,
		CPU: time.Duration(cpu) * time.Second, RSS: int64(pid) << 20,
	}}
}

func topSampleOf(rows ...*psRow) *sample {
	return &sample{at: topAt, hosts: []control.Host{topHost(1, "alive", 0.25, 1), topHost(2, "alive", 0.95, 4), topHost(3, "failed", 0.5, 2)}, rows: rows}
}

// screen is a model with a terminal of 80 by 24 and the way to press its keys.
type screen struct {
	*topModel
	t    *testing.T
	sent []string
}

func newScreen(t *testing.T, s *sample) *screen {
	t.Helper()
	m, err := newTopModel(&topOptions{seconds: 1, order: "-pcpu"}, s)
	if err != nil {
		t.Fatal(err)
	}
	sc := &screen{topModel: m, t: t}
	m.send = func(signal int, row *psRow) string {
		sc.sent = append(sc.sent, fmt.Sprintf("%d to %s", signal, row.Name))
		return "sent"
	}
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	return sc
}

// press presses keys: names of keys in <>, all else as text. It carries out what they start.
func (s *screen) press(keys string) (quit bool) {
	s.t.Helper()
	special := map[string]tea.Key{
		"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown}, "end": {Code: tea.KeyEnd},
		"home": {Code: tea.KeyHome}, "pgdown": {Code: tea.KeyPgDown}, "back": {Code: tea.KeyBackspace}, "^c": {Code: 'c', Mod: tea.ModCtrl},
	}
	for len(keys) > 0 {
		k := tea.Key{Code: rune(keys[0]), Text: keys[:1]}
		if keys[0] == '<' {
			name, rest, _ := strings.Cut(keys[1:], ">")
			k, keys = special[name], rest
		} else {
			keys = keys[1:]
		}
		_, cmd := s.Update(tea.KeyPressMsg(k))
		if cmd != nil {
			msg := cmd()
			if _, quit := msg.(tea.QuitMsg); quit {
				return true
			}
			s.Update(msg)
		}
	}
	return false
}

func (s *screen) text() string {
	s.t.Helper()
	lines := s.lines()
	if len(lines) > s.height {
		s.t.Errorf("%d lines on a screen of %d", len(lines), s.height)
	}
	for i, l := range lines {
		if ansi.StringWidth(l) > s.width {
			s.t.Errorf("line %d is %d wide on a screen of %d", i, ansi.StringWidth(l), s.width)
		}
		lines[i] = strings.TrimRight(ansi.Strip(l), " ")
	}
	return strings.Join(lines, "\n")
}

func TestTopScreen(t *testing.T) {
	long := strings.Repeat("long ", 40)
	s := newScreen(t, topSampleOf(topRow(10, "h1", "S", "bash", 0), topRow(12, "h2", "R", "cc1 "+long, 99.5), topRow(13, "h3", "?", "evil\x1b[2J", 1)))
	want := `12:30:15  2 hosts up, 3 processes: 1 running, 2 away from home
h1   [||||            ]  25% 1/4 jobs   h3   failed
h2   [||||||||||||||| ]  95% 4/4 jobs
PID      HOST USER     S  NI  %CPU     TIME     RSS COMMAND
h1:12    h2   ada      R   0  99.5 00:01:39   12288 cc1 long long long long long
h1:13    h3   ada      ?   0   1.0 00:00:01   13312 evil?[2J
h1:10    h1   ada      S   0   0.0 00:00:00   10240 bash
` + strings.Repeat("\n", 16) + `q quit  / filter  k kill  P M T N U H C sort  R reverse  h help`
	if got := s.text(); got != want {
		t.Errorf("\n%s\nwant\n%s", got, want)
	}
	s.sample.failed = map[names.HostName]string{"h2": "no answer within 1.8s"}
	if got := s.text(); !strings.Contains(got, "h2   does not answer") || !strings.HasSuffix(got, "h2: no answer within 1.8s") {
		t.Errorf("\n%s", got)
	}
	for _, size := range [][2]int{{20, 5}, {1, 1}, {200, 60}, {40, 3}} {
		s.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		s.text()
	}
}

// TestTopManyHosts: they take a third of the screen, and the rest is counted.
func TestTopManyHosts(t *testing.T) {
	sm := topSampleOf()
	sm.hosts = nil
	for i := range 40 {
		sm.hosts = append(sm.hosts, topHost(i+1, "alive", 0, 0))
	}
	s := newScreen(t, sm)
	if got := s.text(); !strings.Contains(got, "and 25 more") || strings.Count(got, "jobs") != 15 {
		t.Errorf("\n%s", got)
	}
}

func (s *screen) order() string {
	var all []string
	for _, r := range s.rows {
		all = append(all, strings.TrimPrefix(r.Name, "h1:"))
	}
	return strings.Join(all, " ")
}

func TestTopOrderAndFilter(t *testing.T) {
	s := newScreen(t, topSampleOf(topRow(10, "h1", "S", "bash", 5), topRow(12, "h2", "R", "cc1 a.c", 99), topRow(13, "h2", "S", "as a.s", 1)))
	for _, c := range []struct{ keys, want string }{
		{"", "12 10 13"},
		{"N", "10 12 13"},
		{"R", "13 12 10"},
		{"M", "13 12 10"},
		{"T", "12 10 13"},
		{"C", "13 10 12"},
		{"P", "12 10 13"},
		{"/h2<enter>", "12 13"},
		{"/<back><back>CC1<enter>", "12"},
		{"f<back><back><back>nothing<esc>", "12"},
		{"/x<enter>", ""},
		{"<esc>", "12 10 13"},
		{"/h1:13<enter>", "13"},
		{"<esc>h", "12 10 13"},
		{"q", "12 10 13"},
	} {
		if s.press(c.keys) {
			t.Fatalf("%q ended it", c.keys)
		}
		if got := s.order(); got != c.want {
			t.Errorf("after %q: %q, want %q", c.keys, got, c.want)
		}
		s.text()
	}
	if !s.press("q") || !s.press("/<^c>") {
		t.Error("it does not end")
	}
}

// TestTopKill: a signal is for the process that was chosen, wherever it stands by then, and is sent after a yes only.
func TestTopKill(t *testing.T) {
	a, b := topRow(10, "h1", "S", "bash", 5), topRow(12, "h2", "R", "cc1", 99)
	s := newScreen(t, topSampleOf(a, b))
	s.press("k")
	if !strings.Contains(s.text(), "choose a process first") {
		t.Errorf("\n%s", s.text())
	}
	s.press("<down><down>k")
	if got := s.text(); !strings.HasSuffix(got, "signal to send to h1:10 bash [TERM]: _") {
		t.Errorf("\n%s", got)
	}
	s.press("kill<enter>")
	if got := s.text(); !strings.HasSuffix(got, "send KILL to h1:10 bash of ada on h1? (y/n)") {
		t.Errorf("\n%s", got)
	}
	s.press("n")
	if s.press("k<enter>n"); len(s.sent) > 0 {
		t.Errorf("sent without a yes: %q", s.sent)
	}
	s.press("kusr1<enter>")
	s.Update(topSample{topSampleOf(topRow(14, "h1", "R", "new", 100), topRow(10, "h1", "S", "bash", 99.5), b)}) // in the middle of it
	s.press("y")
	if len(s.sent) != 1 || s.sent[0] != "10 to h1:10" || !strings.HasSuffix(s.text(), "sent") {
		t.Errorf("%q\n%s", s.sent, s.text())
	}
	s.press("knope<enter>")
	if got := s.text(); !strings.Contains(got, `no signal is called "nope"`) {
		t.Errorf("\n%s", got)
	}
	s.Update(topSample{topSampleOf(b)})
	s.press("k")
	if got := s.text(); !strings.Contains(got, "choose a process first") {
		t.Errorf("the chosen process is gone, and another one would be sent a signal:\n%s", got)
	}
}

func TestTopScrolls(t *testing.T) {
	var rows []*psRow
	for i := range 100 {
		rows = append(rows, topRow(100+i, "h1", "S", "x", float64(100-i)))
	}
	s := newScreen(t, topSampleOf(rows...))
	visible := func(pid int) bool { return strings.Contains(s.text(), fmt.Sprintf("h1:%d ", pid)) }
	for _, c := range []struct {
		keys     string
		yes, not int
	}{{"", 100, 130}, {"<end>", 199, 150}, {"<home>", 100, 130}, {"<pgdown>", 119, 100}, {"<pgdown><pgdown><down>", 158, 120}, {"<esc>", 100, 130}} {
		s.press(c.keys)
		if !visible(c.yes) || visible(c.not) {
			t.Errorf("after %q:\n%s", c.keys, s.text())
		}
	}
	s.press("<end>")
	s.Update(topSample{topSampleOf(rows[:5]...)})
	if !visible(100) {
		t.Errorf("of the few left:\n%s", s.text())
	}
	s.Update(topSample{&sample{err: control.ErrNoDaemon}})
	if !visible(100) || !strings.Contains(s.text(), "not running") {
		t.Errorf("without the daemon:\n%s", s.text())
	}
	s.Update(topSample{topSampleOf(rows[:5]...)})
	if strings.Contains(s.text(), "not running") {
		t.Errorf("with it again:\n%s", s.text())
	}
}

// TestWatcher: %CPU is since the sample before for the same process, and over its life for another.
func TestWatcher(t *testing.T) {
	w := &watcher{keep: func(*control.Proc) bool { return true }}
	begun := topAt.Add(-100 * time.Second)
	for i, c := range []struct {
		read    time.Duration // by the clock of h2
		host    names.HostName
		cpu     time.Duration
		started time.Time
		want    float64
	}{
		{0, "h2", 10 * time.Second, begun, 10},
		{2 * time.Second, "h2", 11 * time.Second, begun.Add(time.Millisecond), 50},
		{2 * time.Second, "h2", 11 * time.Second, begun, 50}, // the same reading, shared
		{4 * time.Second, "h2", 11 * time.Second, begun, 0},
		{6 * time.Second, "h2", 12 * time.Second, topAt.Add(-2 * time.Second), 600},  // another process of that number
		{8 * time.Second, "h3", 12 * time.Second, topAt.Add(-2 * time.Second), 600},  // on another host, which counts anew
		{10 * time.Second, "h3", 11 * time.Second, topAt.Add(-2 * time.Second), 550}, // less than before: it is another one
	} {
		reply := control.ProcsReply{
			Procs: []control.Proc{{Pid: 7, Host: c.host, CPU: c.cpu, Started: c.started}},
			Read:  map[names.HostName]time.Time{c.host: topAt.Add(time.Hour + c.read)},
		}
		if rows := w.rows(topAt, reply); len(rows) != 1 || rows[0].cpu < c.want-0.1 || rows[0].cpu > c.want+0.1 {
			t.Errorf("%d: %v, want %v", i, rows[0].cpu, c.want)
		}
	}
	if w.rows(topAt, control.ProcsReply{}); len(w.used) != 0 {
		t.Error("what is gone is remembered")
	}
}

// TestForestOfACircle: processes that are each other's parents are shown once all the same.
func TestForestOfACircle(t *testing.T) {
	a, b, c := topRow(1, "h1", "S", "a", 0), topRow(2, "h1", "S", "b", 0), topRow(3, "h1", "S", "c", 0)
	a.PPid, b.PPid, c.PPid = b.Pid, a.Pid, c.Pid
	var got []string
	for _, r := range forest([]*psRow{a, b, c}) {
		got = append(got, r.indent+r.Command)
	}
	if want := `c, a,  \_ b`; strings.Join(got, ", ") != want {
		t.Errorf("%q, want %q", strings.Join(got, ", "), want)
	}
}
