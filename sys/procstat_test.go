package sys

import (
	"os"
	"strings"
	"testing"
)

const statLine = "4711 (a) b (c) S 4700 4699 4698 34819 4711 4194304 175 0 0 0 250 40 0 0 20 -5 1 0 123456 11296768 1317 18446744073709551615 0 0 0 0\n"

func TestParseProcStat(t *testing.T) {
	s, err := ParseProcStat([]byte(statLine))
	if err != nil {
		t.Fatal(err)
	}
	if string(s.Comm) != "a) b (c" {
		t.Errorf("comm %q", s.Comm)
	}
	s.Comm = nil
	want := ProcStat{
		Pid: 4711, State: 'S', Ppid: 4700, Pgid: 4699, Session: 4698, TTY: 34819, Flags: 4194304, Ticks: 290, Nice: -5, Start: 123456, Pages: 1317,
	}
	if got := s; got.Pid != want.Pid || got.State != want.State || got.Ppid != want.Ppid || got.Pgid != want.Pgid || got.Session != want.Session ||
		got.TTY != want.TTY || got.Flags != want.Flags || got.Ticks != want.Ticks || got.Nice != want.Nice || got.Start != want.Start || got.Pages != want.Pages {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestParseProcStatRefuses(t *testing.T) {
	short := statLine[:strings.Index(statLine, " 1317")]
	for _, text := range []string{
		"", "(", "1 ()", "x (a) S 1", " (a) S 1 2 3", "-1 (a)" + statLine[14:], short,
		strings.Replace(statLine, " S ", " SS ", 1), strings.Replace(statLine, "4700", "47x0", 1), strings.Replace(statLine, "123456", "-1", 1),
	} {
		if s, err := ParseProcStat([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, s)
		}
	}
	if _, err := ParseProcStat([]byte(strings.TrimSpace(statLine[:strings.Index(statLine, " 18446744073709551615")]))); err != nil {
		t.Errorf("what follows is not needed: %v", err)
	}
}

func FuzzParseProcStat(f *testing.F) {
	f.Add([]byte(statLine))
	f.Add([]byte("1 () R 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"))
	if own, err := os.ReadFile("/proc/self/stat"); err == nil {
		f.Add(own)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseProcStat(b)
		if err != nil {
			return
		}
		if s.Pid < 1 || len(s.Comm) > len(b) {
			t.Errorf("%q: %+v", b, s)
		}
		// What was understood says the same when the name is replaced by a plain one.
		open, end := strings.IndexByte(string(b), '('), strings.LastIndexByte(string(b), ')')
		again, err := ParseProcStat([]byte(string(b[:open]) + "(x)" + string(b[end+1:])))
		if err != nil || string(again.Comm) != "x" {
			t.Fatalf("%q: %v", b, err)
		}
		s.Comm, again.Comm = nil, nil
		if s.Pid != again.Pid || s.Start != again.Start || s.Pages != again.Pages || s.State != again.State {
			t.Errorf("%q: %+v, %+v", b, s, again)
		}
	})
}
