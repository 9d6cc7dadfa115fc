package names

import (
	"fmt"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Path
		out  string // "": as in
	}{
		{"/net/h2", Path{"h2", "/"}, ""},
		{"/net/h2/", Path{"h2", "/"}, "/net/h2"},
		{"/net/h2/etc/passwd", Path{"h2", "/etc/passwd"}, ""},
		{"/net/h2//a/./b/", Path{"h2", "/a/b"}, "/net/h2/a/b"},
		{"/net//h2/a", Path{"h2", "/a"}, "/net/h2/a"},
		{"/net/h2/net/h3/a", Path{"h2", "/net/h3/a"}, ""},
		{"/net/h2/a b\n\xff", Path{"h2", "/a b\n\xff"}, ""},
		{"/net/h2/...", Path{"h2", "/..."}, ""},
	} {
		got, err := ParsePath(c.in)
		if err != nil || got != c.want {
			t.Errorf("ParsePath(%q) is %+v, %v; want %+v", c.in, got, err, c.want)
			continue
		}
		if c.out == "" {
			c.out = c.in
		}
		if got.String() != c.out {
			t.Errorf("%q is written as %q, want %q", c.in, got, c.out)
		}
	}
	for in, rule := range map[string]string{
		"":              "want /net/HOST/FILE",
		"/":             "want /net/HOST/FILE",
		"/net":          "want /net/HOST/FILE",
		"/network/h2":   "want /net/HOST/FILE",
		"net/h2/a":      "want /net/HOST/FILE",
		"/net/":         "host name",
		"/net/2/a":      "host name",
		"/net/../a":     "host name",
		"/net/h2/../a":  `".."`,
		"/net/h2/a/..":  `".."`,
		"/net/h2/a\x00": "NUL",
	} {
		if got, err := ParsePath(in); err == nil || !strings.Contains(err.Error(), rule) || !strings.Contains(err.Error(), fmt.Sprintf("%q", in)) {
			t.Errorf("ParsePath(%q) is %+v, %v; want an error that shows it and says %s", in, got, err, rule)
		}
	}
}

func TestMakePath(t *testing.T) {
	if p, err := MakePath("h2", "/usr//bin/"); err != nil || p.String() != "/net/h2/usr/bin" {
		t.Errorf("%v, %v", p, err)
	}
	for _, bad := range []string{"", "a", "/a/../b"} {
		if p, err := MakePath("h2", bad); err == nil {
			t.Errorf("MakePath(%q) is %v", bad, p)
		}
	}
	if p, err := MakePath("2", "/a"); err == nil {
		t.Errorf("host name 2 was taken: %v", p)
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"/net/h2/etc/passwd", "/net/h2", "/net/h2/../x", "//net/h2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePath(s)
		if err != nil {
			return
		}
		if again, err := ParsePath(p.String()); err != nil || again != p {
			t.Fatalf("%q is %+v, read back as %+v, %v", s, p, again, err)
		}
		if made, err := MakePath(p.Host, p.File); err != nil || made != p {
			t.Fatalf("%q is %+v, made again as %+v, %v", s, p, made, err)
		}
	})
}
