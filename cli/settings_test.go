package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

func TestParseSettings(t *testing.T) {
	for _, tc := range []struct{ name, text, want, err string }{
		{"empty", "", "map[]", ""},
		{"comments and blanks", "\n  # x = y\n\t\n", "map[]", ""},
		{"values", "hosts = h1, h2\n slots=3 \nquiet =", "map[hosts:h1, h2 quiet: slots:3]", ""},
		{"equals in a value", "control = /run/a=b", "map[control:/run/a=b]", ""},
		{"carriage returns", "slots = 3\r\n", "map[slots:3]", ""},
		{"no equals", "slots 3", "", `f:1: "slots 3": want 'key = value'`},
		{"no key", "\n= 3", "", `f:2: "= 3": want 'key = value'`},
		{"unknown", "Slots = 3", "", `f:1: no setting is called "Slots"`},
		{"twice", "slots = 3\n\nslots = 3", "", "f:3: slots is set twice"},
		{"long line", "slots = " + strings.Repeat("3", 1<<17), "", "f: a line is longer than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseSettings(strings.NewReader(tc.text), "f")
			if tc.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tc.err) {
					t.Fatalf("error %v, want %s…", err, tc.err)
				}
				return
			}
			if err != nil || fmt.Sprint(got) != tc.want {
				t.Fatalf("got %v, %v; want %s", got, err, tc.want)
			}
		})
	}
}

// What is written in the file's form is read back, whatever blanks and comments stand around it.
func TestSettingsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.MapOf(rapid.SampledFrom(settingNames()), rapid.StringMatching(`([!-~]([ -~]*[!-~])?)?`)).Draw(t, "values")
		blank := rapid.SampledFrom([]string{"", " ", "\t "})
		var text strings.Builder
		for k, v := range want {
			fmt.Fprintf(&text, "%s%s%s=%s%s\n%s# c = d\n", blank.Draw(t, "a"), k, blank.Draw(t, "b"), blank.Draw(t, "c"), v, blank.Draw(t, "d"))
		}
		got, err := ParseSettings(strings.NewReader(text.String()), "f")
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%q: got %v, %v; want %v", text.String(), got, err, want)
		}
	})
}

// TestClosedSettings: what stands in a directory that its reader may not enter is not his; a file he may not read is a mistake.
func TestClosedSettings(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be somebody else for a moment")
	}
	top := t.TempDir()
	for dir, mode := range map[string]os.FileMode{filepath.Dir(top): 0o755, top: 0o755} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	closed, open := filepath.Join(top, "closed"), filepath.Join(top, "open")
	for dir, mode := range map[string]os.FileMode{closed: 0o700, open: 0o755} {
		if err := os.Mkdir(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config"), []byte("slots = 3\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	got, inClosed := readSettings(filepath.Join(closed, "config"))
	_, inOpen := readSettings(filepath.Join(open, "config"))
	if err := syscall.Setfsuid(0); err != nil {
		t.Fatal(err)
	}
	if inClosed != nil || len(got) != 0 {
		t.Errorf("in a closed directory: %v, %v", got, inClosed)
	}
	if !errors.Is(inOpen, fs.ErrPermission) {
		t.Errorf("a closed file: %v", inOpen)
	}
}

func FuzzParseSettings(f *testing.F) {
	for _, s := range []string{"", "slots = 3", "# x\nhosts=h1,h2\n", "a", "=\n", "slots=1\nslots=2", "quiet = \xff\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		values, err := ParseSettings(strings.NewReader(s), "f")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") || values != nil {
				t.Fatalf("%q: error %q does not name the file, or comes with values", s, err)
			}
			return
		}
		for k, v := range values {
			if !slices.Contains(settingNames(), k) || v != strings.TrimSpace(v) || strings.Contains(v, "\n") {
				t.Fatalf("%q: key %q, value %q", s, k, v)
			}
		}
	})
}

// Every setting is a flag of some command: one that is not could be set and would do nothing.
func TestSettingsAreFlags(t *testing.T) {
	root := New(Env{}, Parts{})
	for _, name := range settingNames() {
		found := root.PersistentFlags().Lookup(name) != nil
		for _, c := range root.Commands() {
			found = found || c.Flags().Lookup(name) != nil
		}
		if !found {
			t.Errorf("the setting %s is a flag of no command", name)
		}
	}
}
