package place

import (
	"os"
	"strings"
	"testing"
)

func TestStay(t *testing.T) {
	r := DefaultRules()
	sh := func(text string) []string { return []string{"sh", "-c", text} }
	tests := []struct {
		image  string
		argv   []string
		reason string // "" goes
	}{
		{"/usr/bin/gcc", []string{"gcc", "-o", "make.o", "makefile.c"}, ""},
		{"/usr/bin/make", []string{"make", "-j8"}, "spreader"},
		{"/usr/bin/gmake", []string{"gmake"}, "spreader"},
		{"/usr/bin/xargs", []string{"xargs", "-0", "grep", "-P", "x"}, ""},
		{"/usr/bin/xargs", []string{"xargs", "-n", "1", "-P4", "gcc"}, "spreader"},
		{"/usr/local/bin/onehost", []string{"onehost", "run", "true"}, "spreader"},
		{"/usr/local/bin/onehost", []string{"onehost", "ps"}, "daemon"},
		{"/usr/bin/cmake", []string{"cmake", "--build", "b"}, "build"},
		{"/usr/bin/scons", []string{"scons", "-j8"}, "spreader"},
		{"/usr/bin/sudo", []string{"sudo", "gcc"}, "privilege"},
		{"/usr/bin/vi", []string{"vi", "x"}, "interactive"},
		{"/usr/bin/docker", []string{"docker", "ps"}, "container"},
		{"/bin/mkdir", []string{"mkdir", "-p", "x"}, "cheap"},
		{"/bin/busybox", []string{"mkdir", "-p", "x"}, "cheap"},
		{"/usr/bin/ar", []string{"ar", "rcs", "lib.a", "x.o"}, "archive"},
		{"/usr/bin/env", []string{"env", "-u", "X", "A=b", "make", "all"}, "spreader"},
		{"/usr/bin/env", []string{"env", "-i", "gcc", "-c", "x.c"}, ""},
		{"/usr/bin/env", []string{"env"}, "cheap"},
		{"/usr/bin/timeout", []string{"timeout", "-s", "KILL", "10", "make"}, "spreader"},
		{"/usr/bin/nice", []string{"nice", "-n", "5", "--", "ninja"}, "spreader"},
		{"/bin/sh", []string{"sh"}, "interactive"},
		{"/bin/bash", []string{"bash", "-i"}, "interactive"},
		{"/bin/bash", []string{"bash", "-s", "x"}, "interactive"},
		{"/bin/bash", []string{"bash", "./config.status"}, ""},
		{"/bin/bash", []string{"bash", "../install-sh", "-c", "a", "b"}, "cheap"},
		{"/bin/bash", []string{"bash", "-euo", "pipefail", "-c", "gcc -c x.c"}, ""},
		{"/bin/bash", []string{"bash", "-o", "pipefail", "-c", "make"}, "spreader"},
		{"/usr/bin/dash", []string{"/bin/sh", "-ec", "mkdir a; touch b"}, "cheap"},

		{"/bin/sh", sh("cd deps && make -j"), "spreader"},
		{"/bin/sh", sh("gcc -o make.o makefile.c"), ""},
		{"/bin/sh", sh("echo make; gcc -c ninja.c # make"), ""},
		{"/bin/sh", sh("echo 'a; make' \"b && make\"; cc x.c"), ""},
		{"/bin/sh", sh("for d in a b make; do (cd $d && ${MAKE} all) || exit 1; done"), "spreader"},
		{"/bin/sh", sh("for d in make; do cc $d.c; done"), ""},
		{"/bin/sh", sh("case make in make) cc x.c;; ninja|samu) :;; esac"), ""},
		{"/bin/sh", sh("case x in x) cc x.c;; esac; make"), "spreader"},
		{"/bin/sh", sh("if test -f x; then :; else make; fi"), "spreader"},
		{"/bin/sh", sh("x=`make -n`; cc x.c"), "spreader"},
		{"/bin/sh", sh("cc $(make --print) x.c"), "spreader"},
		{"/bin/sh", sh("echo \"$(cd x; make)\""), "spreader"},
		{"/bin/sh", sh("cc x.c -o $((1+2)).o"), ""},
		{"/bin/sh", sh("MAKEFLAGS= CC=make cc x.c"), ""},
		{"/bin/sh", sh("CC=gcc make x"), "spreader"},
		{"/bin/sh", sh("exec make"), "spreader"},
		{"/bin/sh", sh("command -v make >/dev/null && cc x.c"), ""},
		{"/bin/sh", sh("command -v make >/dev/null 2>&1"), "cheap"},
		{"/bin/sh", sh("\"make\" x"), "spreader"},
		{"/bin/sh", sh("eval \"cd x && make\""), "spreader"},
		{"/bin/sh", sh("$MAKE x"), "spreader"},
		{"/bin/sh", sh("sh -c 'cd x; make'"), "spreader"},
		{"/bin/sh", sh("$CC -c x.c"), ""},
		{"/bin/sh", sh("cc x.c > make 2>&1 < ninja"), ""},
		{"/bin/sh", sh("cat > x.h <<EOF\nmake\nEOF\ncc x.c"), ""},
		{"/bin/sh", sh("cat > x.h <<-'E'\n\tmake\n\tE\nmake"), "spreader"},
		{"/bin/sh", sh("ls | xargs -P 4 gcc"), "spreader"},
		{"/bin/sh", sh("ls | xargs gcc"), ""},
		{"/bin/sh", sh("mkdir -p a/b && rm -f a/b/c; touch x"), "cheap"},
		{"/bin/sh", sh("test -d x || mkdir x"), "cheap"},
		{"/bin/sh", sh("printf '%s\\n' x | sed s/x/y/ > z; mv -f z w"), "cheap"},
		{"/bin/sh", sh("mkdir -p x && gcc -c a.c"), ""},
		{"/bin/sh", sh("set -e; umask 022; cc x.c"), ""},
		{"/bin/sh", sh("x=1"), "cheap"},
		{"/bin/sh", sh(""), "cheap"},
		{"/bin/sh", sh("cc x.c && sudo cp x /usr"), "privilege"},
		{"/bin/sh", sh("make_it x"), ""},
		{"/bin/sh", sh("./make.sh"), ""},
		{"/bin/sh", sh("printf '    %b %b\\n' CC x.o 1>&2;cc -MMD -o x.o -c x.c"), ""},
		{"", nil, ""},
	}
	for _, tt := range tests {
		reason, stay := r.Stay(tt.image, tt.argv, nil)
		if reason != tt.reason || stay != (tt.reason != "") {
			t.Errorf("%s %q: got %q, %v; want %q", tt.image, tt.argv, reason, stay, tt.reason)
		}
	}
}

func TestSpreader(t *testing.T) {
	r := DefaultRules()
	tests := []struct {
		argv string
		want bool
	}{
		{"make -j8", true},
		{"make", true},
		{"samu", true},
		{"parallel gcc", true},
		{"cc make", false},
		{"xargs gcc", false},
		{"xargs -P 1 gcc", false},
		{"xargs -P1 gcc", false},
		{"xargs -P 0 gcc", true},
		{"xargs -0rP4 gcc", true},
		{"xargs -0 grep -P x", false},
		{"xargs -I {} -P 2 gcc {}", true},
		{"xargs -i -P2 gcc", true},
		{"xargs --max-procs=3 gcc", true},
		{"xargs --max-procs 3 gcc", true},
		{"xargs --max-args 3 -P2 gcc", true},
		{"xargs -- -P4", false},
		{"xargs -P", false},
		{"xargs", false},
		{"onehost run make", true},
		{"onehost hosts", false},
		{"onehost", false},
		{"onehost --no-color run x", true},
		{"onehost --control run hosts", false},
		{"onehost --control x run make", true},
	}
	for _, tt := range tests {
		argv := strings.Fields(tt.argv)
		if got := r.Spreader("/usr/bin/"+argv[0], argv); got != tt.want {
			t.Errorf("%s: got %v", tt.argv, got)
		}
	}
	for line, want := range map[string]bool{
		"onehost run make": true, "onehost run -q -- make": true, "onehost --control x run --hosts h2 gcc --local": true, "onehost run": true,
		"onehost run --local make": false, "onehost run --hosts h2 --slots 3 --local make": false, "onehost run -q --local=true make": false,
		"onehost hosts": false, "onehost": false, "onehost --control run hosts": false, "make run": false,
	} {
		argv := strings.Fields(line)
		if got := r.Joins("/usr/bin/"+argv[0], argv); got != want {
			t.Errorf("%s: joins %v", line, got)
		}
	}
	for image, want := range map[string]bool{"/usr/bin/make": true, "/x/ninja": true, "/usr/bin/xargs": false, "/usr/bin/parallel": false, "/usr/bin/onehost": false, "cc": false} {
		if got := r.Rerunnable(image); got != want {
			t.Errorf("Rerunnable(%s): got %v", image, got)
		}
	}
}

func TestMerge(t *testing.T) {
	first := mustParse(t, "rerun make\nstay interactive ed\ncheap cp\nshell sh")
	later := mustParse(t, "nospread make\ngo ed # here it reads a script\nstay big /opt/bin/cc\nspread tup\nshell fish")
	before, _ := first.Stay("/bin/ed", []string{"ed"}, nil)
	r := first.Merge(later)
	if after, _ := first.Stay("/bin/ed", []string{"ed"}, nil); after != before {
		t.Errorf("Merge changed its receiver: %q", after)
	}
	for _, tt := range []struct{ image, reason string }{
		{"/usr/bin/make", ""}, {"/bin/ed", ""}, {"/bin/cp", "cheap"}, {"/opt/bin/cc", "big"}, {"/usr/bin/cc", ""}, {"/usr/bin/tup", "spreader"}, {"fish", "interactive"},
	} {
		if reason, _ := r.Stay(tt.image, []string{base(tt.image)}, nil); reason != tt.reason {
			t.Errorf("%s: got %q, want %q", tt.image, reason, tt.reason)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"\n# x\nstay vi":         `f:3: "stay vi": want a reason and at least one program, as in "stay interactive vi nano"`,
		"spread":                 `f:1: "spread": want at least one program, as in "spread NAME"`,
		"frob x":                 `f:1: "frob x": unknown rule "frob": want spread, rerun, nospread, stay, cheap, go or shell`,
		"stay a_b vi":            `f:1: "stay a_b vi": reason "a_b": want letters, digits and - only`,
		"cheap bin/cp":           `f:1: "cheap bin/cp": program "bin/cp": want the last part of its path, or its whole path from /`,
		"go *-gcc":               `f:1: "go *-gcc": program "*-gcc": names are taken as they are, without patterns or quotes`,
		"go a\x01":               `f:1: "go a\x01": program "a\x01": a control character cannot be part of a name`,
		strings.Repeat("x", 1e5): `f:1: the line is longer than 65536 bytes`,
	} {
		if _, err := ParseRules(strings.NewReader(text), "f"); err == nil || err.Error() != want {
			t.Errorf("%.20q: got %v, want %s", text, err, want)
		}
	}
}

// The page shows the format: its examples must parse, and it must name every rule.
func TestManPage(t *testing.T) {
	page, err := os.ReadFile("../man/onehost-place.5")
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"spread", "rerun", "nospread", "stay", "cheap", "go", "shell"} {
		if !strings.Contains(string(page), ".It Ic "+verb) {
			t.Errorf("the page does not explain %q", verb)
		}
	}
	_, example, ok := strings.Cut(string(page), ".Bd -literal -offset indent\n")
	example, _, ok2 := strings.Cut(example, ".Ed\n")
	if !ok || !ok2 {
		t.Fatal("the page has no example")
	}
	mustParse(t, example)
	for name := range DefaultRules().spread {
		if !strings.Contains(string(page), name) {
			t.Errorf("the page does not name the spreader %s", name)
		}
	}
}

func FuzzParseRules(f *testing.F) {
	f.Add(DefaultText())
	f.Add("stay x y\ngo /a/b")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRules(strings.NewReader(text), "fuzz")
		if (r == nil) == (err == nil) {
			t.Fatalf("rules %v and error %v", r, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "fuzz:") {
			t.Errorf("no place in %v", err)
		}
	})
}

func FuzzStay(f *testing.F) {
	r := DefaultRules()
	f.Add("cd x && make", false)
	f.Add("case $x in a) b;; esac <<E\nx\nE\n$(a `b`) ${c} $((1", false)
	f.Add("if (a;b) & then \"$(c\" 2>&1", true)
	f.Fuzz(func(t *testing.T, text string, quoted bool) {
		if quoted { // what is quoted starts nothing
			if strings.Contains(text, "'") {
				t.Skip()
			}
			if reason, stay := r.Stay("/bin/sh", []string{"sh", "-c", "cc '" + text + "'"}, nil); stay {
				t.Errorf("%q stays: %s", text, reason)
			}
			return
		}
		reason, stay := r.Stay("/bin/sh", []string{"sh", "-c", text}, nil)
		if stay != (reason != "") {
			t.Errorf("%q: stay %v for reason %q", text, stay, reason)
		}
	})
}

func BenchmarkStay(b *testing.B) {
	r := DefaultRules()
	b.Run("cc", func(b *testing.B) {
		argv := []string{"cc", "-O2", "-c", "x.c"}
		b.ReportAllocs()
		for b.Loop() {
			r.Stay("/usr/bin/cc", argv, nil)
		}
	})
	b.Run("sh", func(b *testing.B) {
		argv := []string{"sh", "-c", "printf '    %b %b\\n' CC x.o 1>&2;cc -std=c11 -pedantic -Wall -W -O2 -MMD -o x.o -c x.c"}
		b.ReportAllocs()
		for b.Loop() {
			r.Stay("/bin/sh", argv, nil)
		}
	})
}

func mustParse(t *testing.T, text string) *Rules {
	t.Helper()
	r, err := ParseRules(strings.NewReader(text), "test")
	if err != nil {
		t.Fatal(err)
	}
	return r
}
