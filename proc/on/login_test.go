package on

import (
	"reflect"
	"strconv"
	"testing"
)

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAccount(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/bash\nbad line\nshort:x:7:7\nalice:x:1000:1000:Alice,,,:/home/alice:/bin/zsh\nbare:x:1001:1001:::\nodd:x:1002:1:o:home:sh\ntwin:x:1000:1:t:/twin:/bin/twin"
	for _, k := range []struct {
		uid  uint32
		want account
	}{
		{0, account{"root", "/root", "/bin/bash"}},
		{1000, account{"alice", "/home/alice", "/bin/zsh"}},
		{1001, account{"bare", "/", "/bin/sh"}},
		{1002, account{"odd", "/", "/bin/sh"}},
		{7, account{"7", "/", "/bin/sh"}},
		{4294967294, account{"4294967294", "/", "/bin/sh"}},
	} {
		if got := accountOf(passwd, k.uid); got != k.want {
			t.Errorf("%d: %+v, want %+v", k.uid, got, k.want)
		}
	}
}

func TestPath(t *testing.T) {
	const defs = "# ENV_PATH PATH=/no\nENV_SUPATH\tPATH=/sbin:/bin\nENV_PATH   /bin:/games\n"
	for _, k := range []struct {
		defs string
		uid  uint32
		want string
	}{
		{defs, 0, "/sbin:/bin"},
		{defs, 5, "/bin:/games"},
		{"", 0, rootPath},
		{"ENV_PATH\n", 5, userPath},
	} {
		if got := pathOf(k.defs, k.uid); got != k.want {
			t.Errorf("%q for %d: %q, want %q", k.defs, k.uid, got, k.want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	env := overlay([]string{"A=1", "HOME=/", "B", "A=2", "C=", "HOME=/x"})
	if want := []string{"A=2", "HOME=/x", "B", "C="}; !reflect.DeepEqual(env, want) {
		t.Errorf("%q, want %q", env, want)
	}
	if v := valueOf(env, "HOME"); v != "/x" {
		t.Errorf("HOME is %q", v)
	}
	for _, k := range []struct {
		env  []string
		want bool
	}{
		{nil, false},
		{[]string{"LANG=C.UTF-8"}, true},
		{[]string{"LANG=C.UTF-8", "LC_ALL=C"}, false},
		{[]string{"LANG=C", "LC_CTYPE=de_DE.utf8"}, true},
	} {
		if got := speaksUTF8(k.env); got != k.want {
			t.Errorf("%q: %v", k.env, got)
		}
	}
	for _, k := range []struct {
		name, path string
		want       []string
	}{
		{"ls", "/usr/bin:/bin", []string{"/usr/bin/ls", "/bin/ls"}},
		{"ls", "/bin::sub", []string{"/bin/ls", "./ls", "./sub/ls"}},
		{"./ls", "/bin", []string{"./ls"}},
		{"a/b", "/bin", []string{"a/b"}},
	} {
		if got := candidates(k.name, k.path); !reflect.DeepEqual(got, k.want) {
			t.Errorf("%s in %s: %q, want %q", k.name, k.path, got, k.want)
		}
	}
}
