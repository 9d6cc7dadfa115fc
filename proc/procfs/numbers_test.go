package procfs

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

const (
	statLine   = "33797 (a) b (c) S 33796 140 1 34816 140 4194304 93 0 6 0 1 2 0 0 20 0 1 0 1583985 2990080 417 18446744073709551615 1 1 0 0 0 0 0 6 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
	statusText = "Name:\ta:b\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t33797\nNgid:\t0\nPid:\t33797\nPPid:\t33796\nTracerPid:\t0\nUid:\t5\t5\t5\t5\nNStgid:\t33797\t7\nNSpid:\t33797\t7\nNSpgid:\t140\t0\nNSsid:\t1\t0\nThreads:\t1\n"
)

func TestTranslate(t *testing.T) {
	boot := time.Unix(1000, 0)
	row := &control.Proc{PPid: names.MakePid(1, 33796), PGid: names.MakePid(1, 124), Session: names.MakePid(1, 99), TTY: "pts/3", Started: boot.Add(12340 * time.Millisecond)}
	for _, c := range []struct {
		name, file string
		v          view
		in, want   string
	}{
		{"of this home", "stat", view{host: names.Here, self: 1, row: row, boot: boot}, statLine, "33797 (a) b (c) S 33796 124 99 34819 140 4194304 93 0 6 0 1 2 0 0 20 0 1 0 1234 2990080"},
		{"of another home", "stat", view{host: 1, self: 2, row: row, boot: boot}, statLine, "99333 (a) b (c) S 99332 65660 65635 34819 65676 4194304 93 0 6 0 1 2 0 0 20 0 1 0 1234 2990080"},
		{"of nobody on the list", "stat", view{host: 1, self: 2, boot: boot}, statLine, "99333 (a) b (c) S 99332 65676 65537 34816 65676 4194304 93 0 6 0 1 2 0 0 20 0 1 0 1583985 2990080"},
		{"a thread", "task/33797/stat", view{host: names.Here, self: 1, row: row, boot: boot}, statLine, "33797 (a) b (c) S 33796 124 99 34819 140 4194304 93 0 6 0 1 2 0 0 20 0 1 0 1583985 2990080"},
		{"of no terminal", "stat", view{self: 1, row: &control.Proc{}, boot: boot}, strings.Replace(statLine, " 140 4194304", " -1 4194304", 1), "33797 (a) b (c) S 0 0 0 0 -1 4194304 93 0 6 0 1 2 0 0 20 0 1 0 0 2990080"},
		{
			"of another home", "status",
			view{host: 1, self: 2, row: row},
			statusText,
			"Name:\ta:b\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t99333\nNgid:\t0\nPid:\t99333\nPPid:\t99332\nTracerPid:\t0\nUid:\t5\t5\t5\t5\nNStgid:\t99333\t65543\nNSpid:\t99333\t65543\nNSpgid:\t65660\t0\nNSsid:\t65635\t0\nThreads:\t1\n",
		},
		{"of this home", "status", view{self: 1, row: row}, statusText, strings.NewReplacer("NSpgid:\t140", "NSpgid:\t124", "NSsid:\t1\t", "NSsid:\t99\t").Replace(statusText)},
		{"of nobody on the list", "status", view{self: 1}, statusText, statusText},
		{"children", "task/7/children", view{host: 3, self: 1}, "7 8 ", "196615 196616 "},
	} {
		got := string(c.v.translate(c.file, []byte(c.in)))
		if c.file == "status" && got != c.want || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s of a process %s:\n%q, want\n%q", c.file, c.name, got, c.want)
		}
		if strings.HasSuffix(c.file, "stat") && len(strings.Fields(got)) != len(strings.Fields(c.in)) {
			t.Errorf("%s of a process %s has other fields: %q", c.file, c.name, got)
		}
	}
	for file, want := range map[string]bool{"stat": true, "status": true, "task/7/stat": true, "task/7/children": true, "statm": false, "net/stat": false, "fdinfo/stat": false, "": false} {
		if translated(file) != want {
			t.Errorf("%q is translated: %v", file, !want)
		}
	}
}

func TestTTYNumber(t *testing.T) {
	for name, want := range map[string]int32{
		"": 0, "pts/0": 136 << 8, "pts/255": 136<<8 | 255, "pts/256": 137 << 8, "tty1": 4<<8 | 1, "tty63": 4<<8 | 63, "ttyS0": 0, "4:64": 0, "pts/x": 0,
	} {
		if got := ttyNumber(name); got != want {
			t.Errorf("%q: %#x, want %#x", name, got, want)
		}
	}
}

// FuzzTranslate: another host may send anything. What is not understood stays as it is, and nothing but numbers is changed.
func FuzzTranslate(f *testing.F) {
	f.Add([]byte(statLine))
	f.Add([]byte(statusText))
	f.Add([]byte("1 () R 0 0 0 0 0 0"))
	f.Add([]byte(") ("))
	f.Add([]byte("NSpgid:"))
	if own, err := os.ReadFile("/proc/self/status"); err == nil {
		f.Add(own)
	}
	row := &control.Proc{PPid: names.MakePid(1, 5), TTY: "pts/300", Started: time.Unix(-1, 0)}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := bytes.Clone(b)
		for file := range numberedFiles {
			for _, v := range []view{{host: names.MaxHost, self: 2, row: row}, {host: names.Here, self: 2, row: row}} {
				v.translate(file, b)
				v.translate("task/1/"+file, b)
			}
			plain := view{host: names.Here, self: 2}
			if got := plain.translate(file, b); file != "stat" && !bytes.Equal(got, b) && !written.Match(b) {
				t.Errorf("%s: %q became %q", file, b, got)
			}
		}
		if !bytes.Equal(b, whole) {
			t.Errorf("the text itself was changed: %q, %q", whole, b)
		}
	})
}

// written matches numbers that the kernel does not write like that.
var written = regexp.MustCompile(`(^|[^0-9])0[0-9]`)
