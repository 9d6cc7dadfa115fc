package list

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

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
