package place

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// files is a Read of what is in a map.
func files(m map[string]string) Read {
	return func(name string) (string, bool) {
		text, ok := m[name]
		return text, ok
	}
}

func TestScripts(t *testing.T) {
	r := DefaultRules()
	read := files(map[string]string{
		"./build.sh":    "#!/bin/sh\nset -e\n./configure\nmake -j8\n",
		"./env.sh":      "#!/usr/bin/env -S bash -e\nif test -f x; then ${MAKE} x; fi\n",
		"./gen.sh":      "#!/bin/sh\n# make nothing\ncc -o gen gen.c && ./gen > \"$1\"\n",
		"./cheap.sh":    "#!/bin/sh\nmkdir -p x\ncp a x\n",
		"./outer.sh":    "#!/bin/bash\nbuild() {\n  sh ./inner \"$@\"\n}\nbuild\n",
		"./inner":       "ninja -C out\n",
		"./sourced.sh":  "#!/bin/sh\n. ./inner\n",
		"./self.sh":     "#!/bin/sh\n./self.sh again\n./cycle.sh\n",
		"./cycle.sh":    "#!/bin/sh\n./self.sh\ncc x.c\n",
		"./gen.py":      "#!/usr/bin/python3\nmake = 1\nmake\n",
		"./plain":       "make\n",
		"./binary":      "\x7fELF\x00make\n",
		"./half":        "#!/bin/sh\nmake\x00",
		"./push.sh":     "#!/bin/sh\ngit push\n",
		"/opt/build/go": "#!/bin/sh\nexec make \"$@\"\n",
		"./here.sh":     "#!/bin/sh\ncat <<E\nmake\nE\ncc x.c\n",
	})
	for _, tt := range []struct {
		argv   string
		reason string
	}{
		{"./build.sh", "spreader"},
		{"./env.sh", "spreader"},
		{"sh ./build.sh", "spreader"},
		{"bash -x ./inner", "spreader"},
		{"nice -n 5 ./build.sh all", "spreader"},
		{"env A=b sh -e ./build.sh", "spreader"},
		{"./outer.sh", "spreader"},
		{"./sourced.sh", "spreader"},
		{"/opt/build/go", "spreader"},
		{"./push.sh", "network"},
		{"./gen.sh out", ""},
		{"./cheap.sh", ""}, // it may be long in doing it
		{"./self.sh", ""},
		{"./gen.py", ""},
		{"./plain", ""}, // no shell will be asked to read it
		{"sh ./plain", "spreader"},
		{"./binary", ""},
		{"sh ./half", ""},
		{"./here.sh", ""},
		{"./none.sh", ""},
		{"build.sh", ""}, // found by PATH: which file that is is not known here
	} {
		argv := strings.Fields(tt.argv)
		if reason, stay := r.Stay(argv[0], argv, read); reason != tt.reason || stay != (tt.reason != "") {
			t.Errorf("%s: got %q, %v; want %q", tt.argv, reason, stay, tt.reason)
		}
		if reason, _ := r.Stay(argv[0], argv, nil); strings.Contains(argv[0], ".") && reason != "" {
			t.Errorf("%s, unread: got %q", tt.argv, reason)
		}
	}
	if reason, stay := mustParse(t, "shell sh\nspread make\ngo build.sh").Stay("./build.sh", []string{"./build.sh"}, read); stay {
		t.Errorf("a rule for the script's name does not win: %q", reason)
	}
	if reason, stay := r.Stay("/bin/sh", []string{"sh", "-c", "cc x.c; ./build.sh"}, read); reason != ReasonSpreader || !stay {
		t.Errorf("a script started by a text: got %q, %v", reason, stay)
	}
}

// TestScriptsAreBounded: however scripts start each other, few are read, and no text takes long.
func TestScriptsAreBounded(t *testing.T) {
	r := DefaultRules()
	var n int
	chain := func(string) (string, bool) {
		n++
		return fmt.Sprintf("#!/bin/sh\n./a%d\n./b%d\n", n, n), true
	}
	if reason, stay := r.Stay("./x", []string{"./x"}, chain); stay || n != maxScripts {
		t.Errorf("got %q, %d scripts read; want %d", reason, n, maxScripts)
	}
	for _, text := range []string{
		strings.Repeat("eval ", MaxScript/5),
		strings.Repeat("eval \"$(", MaxScript/8),
		strings.Repeat("sh -c ", MaxScript/6),
		strings.Repeat("nice ", MaxScript/5),
		strings.Repeat("$(", MaxScript/2),
	} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Stay("./x", []string{"./x"}, files(map[string]string{"./x": "#!/bin/sh\n" + text}))
		}()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Fatalf("%.20q… takes longer than 30 s", text)
		}
	}
}

func FuzzScript(f *testing.F) {
	r := DefaultRules()
	f.Add("#!/bin/sh\nmake")
	f.Add("#! /usr/bin/env -S sh\n. ./x")
	f.Fuzz(func(t *testing.T, text string) {
		read := 0
		reason, stay := r.Stay("./x", []string{"./x"}, func(string) (string, bool) {
			read++
			return text, true
		})
		if stay != (reason != "") || reason == ReasonCheap || read > maxScripts {
			t.Errorf("%q: stay %v for reason %q, %d scripts read", text, stay, reason, read)
		}
	})
}
