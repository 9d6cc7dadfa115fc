package list

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const statLine = "4711 (a) b (c) S 4700 4699 4698 34819 4711 4194304 175 0 0 0 250 40 0 0 20 -5 1 0 123456 11296768 1317 18446744073709551615 0 0 0 0\n"

func TestParseStat(t *testing.T) {
	s, err := parseStat([]byte(statLine))
	if err != nil {
		t.Fatal(err)
	}
	if string(s.comm) != "a) b (c" {
		t.Errorf("comm %q", s.comm)
	}
	s.comm = nil
	want := stat{
		pid: 4711, state: 'S', ppid: 4700, pgid: 4699, session: 4698, tty: 34819, flags: 4194304, ticks: 290, nice: -5, start: 123456, pages: 1317,
	}
	if got := s; got.pid != want.pid || got.state != want.state || got.ppid != want.ppid || got.pgid != want.pgid || got.session != want.session ||
		got.tty != want.tty || got.flags != want.flags || got.ticks != want.ticks || got.nice != want.nice || got.start != want.start || got.pages != want.pages {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestParseStatRefuses(t *testing.T) {
	short := statLine[:strings.Index(statLine, " 1317")]
	for _, text := range []string{
		"", "(", "1 ()", "x (a) S 1", " (a) S 1 2 3", "-1 (a)" + statLine[14:], short,
		strings.Replace(statLine, " S ", " SS ", 1), strings.Replace(statLine, "4700", "47x0", 1), strings.Replace(statLine, "123456", "-1", 1),
	} {
		if s, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, s)
		}
	}
	if _, err := parseStat([]byte(strings.TrimSpace(statLine[:strings.Index(statLine, " 18446744073709551615")]))); err != nil {
		t.Errorf("what follows is not needed: %v", err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(statLine))
	f.Add([]byte("1 () R 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"))
	if own, err := os.ReadFile("/proc/self/stat"); err == nil {
		f.Add(own)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseStat(b)
		if err != nil {
			return
		}
		if s.pid < 1 || len(s.comm) > len(b) {
			t.Errorf("%q: %+v", b, s)
		}
		// What was understood says the same when the name is replaced by a plain one.
		open, end := strings.IndexByte(string(b), '('), strings.LastIndexByte(string(b), ')')
		again, err := parseStat([]byte(string(b[:open]) + "(x)" + string(b[end+1:])))
		if err != nil || string(again.comm) != "x" {
			t.Fatalf("%q: %v", b, err)
		}
		s.comm, again.comm = nil, nil
		if s.pid != again.pid || s.start != again.start || s.pages != again.pages || s.state != again.state {
			t.Errorf("%q: %+v, %+v", b, s, again)
		}
	})
}

func TestParseStatus(t *testing.T) {
	s, err := parseStatus([]byte("Name:\tUid:\t9\nUmask:\t0022\nUid:\t1000\t0\t0\t0\nGid:\t1\t1\t1\t1\nNStgid:\t7\t1\nNSpid:\t7\t32770\t1\nNSpgid:\t5\t34\t0\nNSsid:\t5\t0\t0\nVmPeak:\t9 kB"))
	if err != nil {
		t.Fatal(err)
	}
	if s.uids != [4]uint32{1000, 0, 0, 0} || !slices.Equal(s.pids, []int{7, 32770, 1}) || !slices.Equal(s.pgids, []int{5, 34, 0}) || !slices.Equal(s.sids, []int{5, 0, 0}) {
		t.Errorf("%+v", s)
	}
	if s, err = parseStatus([]byte("Uid:\t0\t0\t0\t0\nNSpid:\t7\n")); err != nil || s.pids != nil {
		t.Errorf("one name space: %+v, %v", s, err)
	}
	for _, text := range []string{"", "Uid:\t0\t0\t0\n", "Uid:\t0\t0\t0\t-1\n", "Uid:\t0\t0\t0\t0\t0\n", "NSpid:\t1\n"} {
		if s, err := parseStatus([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, s)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add([]byte("Uid:\t1\t2\t3\t4\nNSpid:\t1\t2\n"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseStatus(b) })
}

func TestHides(t *testing.T) {
	const shown = "22 1 0:21 / /proc rw,nosuid - proc proc rw\n"
	const hidden = "23 22 0:22 / /proc rw,nosuid shared:5 - proc proc rw,gid=4,hidepid=invisible\n"
	for text, want := range map[string]bool{
		shown: false, shown + hidden: true, hidden + shown: false, "": false,
		strings.ReplaceAll(hidden, "invisible", "0"): false, strings.ReplaceAll(hidden, "invisible", "2"): true,
		strings.ReplaceAll(hidden, " /proc ", " /mnt/proc "): false, strings.ReplaceAll(hidden, "- proc", "- tmpfs"): false,
	} {
		if hidesIn(text) != want {
			t.Errorf("%q: want %v", text, want)
		}
	}
}

func TestUsers(t *testing.T) {
	path := t.TempDir() + "/passwd"
	write := func(text string) {
		if err := os.WriteFile(path+"+", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+"+", path); err != nil {
			t.Fatal(err)
		}
	}
	u := users{path: path}
	if len(u.all()) != 0 {
		t.Error("names without a file")
	}
	write("root:x:0:0::/root:/bin/sh\n#x:x:5:\nbad\n:x:7:\nada:x:1000:1000::/:\nalso:x:1000:1::/:\nn:x:-1:\n")
	if all := u.all(); len(all) != 2 || all[0] != "root" || all[1000] != "ada" {
		t.Errorf("%v", all)
	}
	write("root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/:\n")
	if all := u.all(); all[1000] != "bob" {
		t.Errorf("the file was replaced: %v", all)
	}
}

func TestTTYName(t *testing.T) {
	for dev, want := range map[uint32]string{0: "", 136 << 8: "pts/0", 136<<8 | 7: "pts/7", 136<<8 | 0x34 | 1<<20: "pts/308", 4<<8 | 1: "tty1", 1<<8 | 3: "null", 0xfff << 8: strconv.Itoa(0xfff) + ":0"} {
		if got := ttyName(dev); got != want {
			t.Errorf("%#x: %q, want %q", dev, got, want)
		}
	}
}
