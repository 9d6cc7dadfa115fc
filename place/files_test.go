package place

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestRuleFiles(t *testing.T) {
	for _, tt := range []struct{ xdg, home, user string }{
		{"", "/home/u", "/home/u/.config/onehost/place"}, {"/x", "/home/u", "/x/onehost/place"}, {"rel", "/home/u", "/home/u/.config/onehost/place"}, {"", "", ""},
	} {
		got := RuleFiles(func(k string) string {
			return map[string]string{"XDG_CONFIG_HOME": tt.xdg, "HOME": tt.home}[k]
		})
		want := []string{"/etc/onehost/place"}
		if tt.user != "" {
			want = append(want, tt.user)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: got %q", tt, got)
		}
	}
}

func TestReadRules(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	all := file("all", "stay big cc\nstay odd tool\n")
	mine := file("mine", "go cc\n")
	r, err := ReadRules(all, filepath.Join(dir, "none"), filepath.Join(mine, "below"), mine)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"cc": "", "tool": "odd", "make": ReasonSpreader, "rm": ReasonCheap} {
		if got, _ := r.Stay("/usr/bin/"+name, []string{name}, nil); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if _, err := ReadRules(all, file("bad", "\nfrob x")); err == nil || !strings.HasPrefix(err.Error(), dir+"/bad:2: ") {
		t.Errorf("a bad file: got %v", err)
	}
	if _, err := ReadRules(dir); err == nil {
		t.Error("a directory was read as rules")
	}
}

// TestClosedRules: what stands in a directory that its reader may not enter is not his; a file he may not read is a mistake.
func TestClosedRules(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be somebody else for a moment")
	}
	closed, open := filepath.Join(t.TempDir(), "closed"), t.TempDir()
	for _, dir := range []string{filepath.Dir(filepath.Dir(closed)), filepath.Dir(closed), filepath.Dir(open), open} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{closed, open} {
		if err := os.WriteFile(filepath.Join(dir, "place"), []byte("go cc\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	_, inClosed := ReadRules(filepath.Join(closed, "place"))
	_, inOpen := ReadRules(filepath.Join(open, "place"))
	if err := syscall.Setfsuid(0); err != nil {
		t.Fatal(err)
	}
	if inClosed != nil {
		t.Errorf("in a closed directory: %v", inClosed)
	}
	if !errors.Is(inOpen, fs.ErrPermission) {
		t.Errorf("a closed file: %v", inOpen)
	}
}
