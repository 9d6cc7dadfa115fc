package names

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseHost(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Host
	}{
		{"1", 1},
		{"16383", MaxHost},
		{"007", 7},
		{"0", 0},
		{"16384", 0},
		{"-1", 0},
		{"+1", 0},
		{"", 0},
		{"h1", 0},
		{"1 ", 0},
		{"0x1", 0},
		{"99999999999999999999", 0},
	} {
		got, err := ParseHost(c.in)
		if got != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("ParseHost(%q) is %v, %v; want %v", c.in, got, err, c.want)
		}
		if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("%q", c.in)) {
			t.Errorf("the error does not show %q: %v", c.in, err)
		}
		if c.want != 0 && !got.Valid() {
			t.Errorf("%v is not valid", got)
		}
	}
	if Here.Valid() || (MaxHost + 1).Valid() {
		t.Error("a host number outside of 1..MaxHost is valid")
	}
}

func TestLabels(t *testing.T) {
	for _, c := range []struct {
		in string
		ok bool
	}{
		{"h1", true},
		{"a", true},
		{"build-4", true},
		{"4a", true},
		{strings.Repeat("a", 63), true},
		{"a--b", true},
		{"", false},
		{"4", false},
		{"1-2", false},
		{"-a", false},
		{"a-", false},
		{"A", false},
		{"a.b", false},
		{"a_b", false},
		{"ä", false},
		{"a b", false},
		{"a\x00", false},
		{"a/b", false},
		{strings.Repeat("a", 64), false},
		{"-", false},
	} {
		h, err := ParseHostName(c.in)
		if (err == nil) != c.ok || c.ok && string(h) != c.in || !c.ok && h != "" {
			t.Errorf("ParseHostName(%q) is %q, %v", c.in, h, err)
		}
		n, cerr := ParseClusterName(c.in)
		if (cerr == nil) != c.ok || c.ok && string(n) != c.in || !c.ok && n != "" {
			t.Errorf("ParseClusterName(%q) is %q, %v", c.in, n, cerr)
		}
		for _, err := range []error{err, cerr} {
			if err != nil && (!strings.Contains(err.Error(), fmt.Sprintf("%q", c.in)) || !strings.Contains(err.Error(), "want 1 to 63")) {
				t.Errorf("the error shows not both input and rule: %v", err)
			}
		}
	}
}

func TestParsePid(t *testing.T) {
	known := func(n HostName) (Host, error) {
		if n == "h4" {
			return 4, nil
		}
		return 0, fmt.Errorf("host %s: %w", n, UnknownHost)
	}
	for _, c := range []struct {
		in     string
		lookup func(HostName) (Host, error)
		want   Pid // 0: an error
		rule   string
	}{
		{"1", nil, 1, ""},
		{"262153", nil, MakePid(4, 9), ""},
		{"4:9", nil, MakePid(4, 9), ""},
		{"h4:9", known, MakePid(4, 9), ""},
		{"16383:65535", nil, MakePid(MaxHost, MaxLease), ""},
		{"32768", nil, MakePid(Here, FirstLease), ""},
		{"0", nil, 0, "not 0"},
		{"65536", nil, 0, "not 0"},      // host 1, pid 0
		{"1073741825", nil, 0, "up to"}, // host 16384
		{"-1", nil, 0, "want a number"},
		{"4:0", nil, 0, "after"},
		{"4:65536", nil, 0, "after"},
		{"0:9", nil, 0, "host name"},
		{"16384:9", nil, 0, "host name"},
		{":9", nil, 0, "host name"},
		{"4:", nil, 0, "after"},
		{"4:9:1", nil, 0, "after"},
		{"h4:9", nil, 0, "looked up"},
		{"h5:9", known, 0, "no such host"},
		{"H4:9", known, 0, "host name"},
		{"", nil, 0, "want a number"},
	} {
		got, err := ParsePid(c.in, c.lookup)
		if got != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("ParsePid(%q) is %v, %v; want %v", c.in, got, err, c.want)
		}
		if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("%q", c.in)) {
			t.Errorf("the error does not show %q: %v", c.in, err)
		}
		if c.rule == "no such host" && !errors.Is(err, UnknownHost) {
			t.Errorf("ParsePid(%q) lost the lookup's error: %v", c.in, err)
		}
	}
}

// TestPidRoundTrip: every pid is read back from both of its spellings, and stays a positive pid_t whose top two bits
// are free for the futex.
func TestPidRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := Host(rapid.IntRange(0, int(MaxHost)).Draw(t, "host"))
		l := rapid.IntRange(1, MaxLease).Draw(t, "local")
		p := MakePid(h, l)
		if p.Host() != h || p.Local() != l || p>>30 != 0 {
			t.Fatalf("%v:%d is %d: %v:%d", h, l, uint32(p), p.Host(), p.Local())
		}
		if got, err := ParsePid(p.String(), nil); err != nil || got != p {
			t.Fatalf("%v is read as %v, %v", p, got, err)
		}
		if h == Here {
			return
		}
		if got, err := ParsePid(fmt.Sprintf("%v:%d", h, l), nil); err != nil || got != p {
			t.Fatalf("%v:%d is read as %v, %v", h, l, got, err)
		}
	})
}

func FuzzParsePid(f *testing.F) {
	for _, s := range []string{"1", "4:9", "h4:9", "1073741825", ":", "4:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePid(s, func(HostName) (Host, error) { return 3, nil })
		if err == nil && (p.Host() > MaxHost || p.Local() == 0) {
			t.Fatalf("%q is read as %v", s, p)
		}
	})
}
