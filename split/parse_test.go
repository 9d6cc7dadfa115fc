package split

import (
	"testing"

	"pgregory.net/rapid"
)

func TestParseQuota(t *testing.T) {
	for in, want := range map[string]string{"0.45": "0.45", "2": "2", "0.01": "0.01", "4096": "4096", "1e0": "1"} {
		q, err := ParseQuota(in)
		if err != nil || q.String() != want {
			t.Errorf("ParseQuota(%q) = %v, %v; want %s", in, q, err, want)
		}
	}
	for _, in := range []string{"", "0", "-1", "0.001", "4097", "half", "45%", "NaN", "Inf"} {
		if q, err := ParseQuota(in); err == nil {
			t.Errorf("ParseQuota(%q) = %v; want an error", in, q)
		}
	}
}

func TestParseRate(t *testing.T) {
	for in, want := range map[string]Rate{"100mbit": 100e6, "1gbit": 1e9, "512kbit": 512e3, "1.5Mbit": 15e5, "20000bit": 20000} {
		r, err := ParseRate(in)
		if err != nil || r != want {
			t.Errorf("ParseRate(%q) = %v, %v; want %v", in, r, err, want)
		}
	}
	for _, in := range []string{"", "100", "mbit", "-1mbit", "0mbit", "11kbit", "401gbit", "100mbyte", "1tbit", "NaNmbit"} {
		if r, err := ParseRate(in); err == nil {
			t.Errorf("ParseRate(%q) = %v; want an error", in, r)
		}
	}
}

func TestParseBind(t *testing.T) {
	for in, want := range map[string]Bind{
		"/data": {Dir: "/data"}, "/data:h2": {Dir: "/data", Host: "h2"}, "src": {Dir: "src"}, "/a:b:h1": {Dir: "/a:b", Host: "h1"},
	} {
		b, err := ParseBind(in)
		if err != nil || b != want {
			t.Errorf("ParseBind(%q) = %v, %v; want %v", in, b, err, want)
		}
	}
	for _, in := range []string{"", ":", ":h1", "/data:", "/data:H_2", "/a\x00b"} {
		if b, err := ParseBind(in); err == nil {
			t.Errorf("ParseBind(%q) = %v; want an error", in, b)
		}
	}
}

// The kernel takes slices from 1 ms and periods from 1 ms to 1 s; the two must give what was asked, to a per cent.
func TestBandwidth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := Quota(rapid.IntRange(minQuota, maxQuota).Draw(t, "quota"))
		slice, period := q.bandwidth()
		if slice.Milliseconds() < 1 || period.Milliseconds() < 1 || period.Seconds() > 1 {
			t.Fatalf("%v: %v of %v is out of bounds", q, slice, period)
		}
		if got, want := float64(slice)/float64(period), float64(q)/1000; got < want*0.99 || got > want*1.01 {
			t.Fatalf("%v: %v of %v is %v", q, slice, period, got)
		}
	})
}

func TestRateRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rate(rapid.Uint64Range(minRate, maxRate).Draw(t, "rate"))
		if again, err := ParseRate(r.String()); err != nil || again != r {
			t.Fatalf("%d -> %s -> %d, %v", r, r, again, err)
		}
	})
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		name        string
		cfg         Config
		allowed     int
		hosts, cpus int
		notes       int
	}{
		{"a small machine", Config{}, 2, 2, 1, 0},
		{"one CPU", Config{}, 1, 2, 0, 0},
		{"16 CPUs", Config{}, 16, 4, 4, 0},
		{"10 CPUs", Config{}, 10, 2, 4, 0},
		{"by 2", Config{CPUs: 2}, 16, 8, 2, 0},
		{"3 hosts of 8 CPUs", Config{Hosts: 3}, 8, 3, 2, 0},
		{"4 hosts by quota", Config{Hosts: 4, Quota: 450}, 8, 4, 0, 0},
		{"too many asked", Config{Hosts: 4, CPUs: 4}, 8, 4, 0, 1},
	} {
		c.cfg.Init = "/bin/sh"
		notes, err := c.cfg.resolve(c.allowed)
		if err != nil || c.cfg.Hosts != c.hosts || c.cfg.CPUs != c.cpus || len(notes) != c.notes {
			t.Errorf("%s: %d hosts of %d CPUs, notes %q, %v; want %d of %d, %d notes", c.name, c.cfg.Hosts, c.cfg.CPUs, notes, err, c.hosts, c.cpus, c.notes)
		}
	}
	for name, cfg := range map[string]Config{
		"name": {Name: "Big_One"}, "hosts": {Hosts: MaxHosts + 1}, "cpus": {CPUs: -1}, "daemon": {Daemon: "/nonexistent"}, "cluster": {Cluster: "-"},
		"bind of /": {Hosts: 1, Binds: []Bind{{Dir: "/"}}}, "bind to h3": {Hosts: 2, Binds: []Bind{{Dir: "/etc", Host: "h3"}}}, "bind of nothing": {Binds: []Bind{{Dir: "/nonexistent"}}},
	} {
		if _, err := cfg.resolve(4); err == nil {
			t.Errorf("a bad %s is accepted", name)
		}
	}
}

func TestParseMount(t *testing.T) {
	m, ok := parseMount(`31 23 0:28 / /sys/fs/a\040b rw,relatime shared:2 - cgroup cgroup rw,cpu,cpuacct`)
	if want := (mountEntry{minor: 28, point: "/sys/fs/a b", kind: "cgroup", super: "rw,cpu,cpuacct", subtree: "/"}); !ok || m != want {
		t.Errorf("got %+v, %v; want %+v", m, ok, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"0.45", "100mbit", "/data:h2", `31 23 0:28 / /a\040b rw - tmpfs t rw`, "6.18.44-x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if q, err := ParseQuota(s); err == nil && (q < minQuota || q > maxQuota) {
			t.Errorf("quota %q is %d", s, q)
		}
		if r, err := ParseRate(s); err == nil && (r < minRate || r > maxRate) {
			t.Errorf("rate %q is %d", s, r)
		}
		if b, err := ParseBind(s); err == nil && b.Dir == "" {
			t.Errorf("bind %q has no directory", s)
		}
		if m, ok := parseMount(s); ok && m.kind == "" {
			t.Errorf("mount %q has no kind", s)
		}
		parseRelease(s)
	})
}
