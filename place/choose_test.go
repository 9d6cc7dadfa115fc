package place

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/onehost/onehost/names"
)

func equal(n int) []Host {
	var hosts []Host
	for i := 1; i <= n; i++ {
		hosts = append(hosts, Host{Number: names.Host(i), Name: names.HostName("h" + names.Host(i).String()), Slots: 2, CPUs: 0.45, Alive: true, Local: i == 1})
	}
	return hosts
}

func TestChoose(t *testing.T) {
	type change func(h []Host, r *Request)
	all := func(running int) change {
		return func(h []Host, _ *Request) {
			for i := range h {
				h[i].Running = running
			}
		}
	}
	tests := []struct {
		name   string
		change change
		host   names.Host
		reason string
	}{
		{"nothing runs", func([]Host, *Request) {}, 1, ReasonIdle},
		{"nothing runs, home busy for long", func(h []Host, _ *Request) { h[0].Foreign, h[0].Lasting = 0.7, 0.7 }, 2, ""},
		{"nothing runs, home busy a moment ago", func(h []Host, _ *Request) { h[0].Foreign = 0.7 }, 1, ReasonIdle},
		{"nothing runs, home has no slots", func(_ []Host, r *Request) { r.HomeSlots = 0 }, 2, ""},
		{"nothing runs, home forbidden", func(_ []Host, r *Request) { r.NoLocal = true }, 2, ""},
		{"others first on equal terms", func(h []Host, _ *Request) { h[1].Running, h[2].Running, h[3].Running = 1, 1, 1 }, 2, ""},
		{"home's turn", func(h []Host, _ *Request) { h[1].Running, h[2].Running, h[3].Running = 2, 2, 2 }, 1, ReasonSlot},
		{"all full: the others take more", all(2), 2, ReasonNoSlot},
		{"home least full of all", func(h []Host, _ *Request) { all(5)(h, nil); h[0].Running = 1 }, 1, ReasonNoSlot},
		{"jobs of other homes count", func(h []Host, _ *Request) { h[2].Running = 1; h[1].Jobs = 2; h[3].Jobs = 1 }, 3, ""},
		{"a bigger host gets more", func(h []Host, _ *Request) { all(1)(h, nil); h[3].Slots, h[3].Running = 5, 3 }, 4, ""},
		{"warm before cold", func(h []Host, _ *Request) { h[0].Running = 1; h[3].Warm = 0.5 }, 4, ""},
		{"quiet before loaded", func(h []Host, _ *Request) { h[0].Running = 1; h[1].Load, h[2].Load = 0.4, 0.3; h[3].Load = 0.9 }, 3, ""},
		{"foreign load takes slots", func(h []Host, _ *Request) { h[0].Running = 1; h[1].Foreign, h[2].Foreign = 0.9, 0.9; h[3].Running = 1 }, 4, ""},
		{"only these", func(_ []Host, r *Request) { r.Hosts = []names.Host{3} }, 3, ""},
		{"none of these: home", func(h []Host, r *Request) { r.Hosts = []names.Host{3}; h[2].Alive = false }, 1, ReasonNoHost},
		{"none of these and not home", func(h []Host, r *Request) { r.Hosts = []names.Host{3}; h[2].Alive, r.NoLocal = false, true }, 0, ReasonNoHost},
		{"backoff: another", func(h []Host, _ *Request) { h[0].Running = 1; h[1].Backoff = true }, 3, ""},
		{"backoff everywhere: home", func(h []Host, _ *Request) {
			h[0].Running = 1
			h[1].Backoff, h[2].Backoff, h[3].Backoff = true, true, true
		}, 1, ReasonNoHost},
		{"backoff everywhere and not home", func(h []Host, r *Request) {
			h[1].Backoff, h[2].Backoff, h[3].Backoff = true, true, true
			r.NoLocal = true
		}, 2, ""},
		{"not where it was lost", func(h []Host, r *Request) { h[0].Running = 1; r.Avoid = []names.Host{2, 3} }, 4, ""},
	}
	for _, tt := range tests {
		hosts, r := equal(4), Request{HomeSlots: -1}
		tt.change(hosts, &r)
		d := Choose(hosts, r)
		if d.Host != tt.host || d.Reason != tt.reason || d.Local != (tt.host == 1) || d.Refused != (tt.host == 0) {
			t.Errorf("%s: got %+v; want host %d, %q", tt.name, d, tt.host, tt.reason)
		}
	}
	if d := Choose(nil, Request{HomeSlots: -1}); !d.Local || d.Refused {
		t.Errorf("an empty table: got %+v; want home", d)
	}
}

func drawHosts(t *rapid.T) []Host {
	n := rapid.IntRange(0, 8).Draw(t, "n")
	hosts := make([]Host, n)
	home := rapid.IntRange(-1, 7).Draw(t, "home")
	share := rapid.Float64Range(0, 1)
	for i := range hosts {
		running := rapid.IntRange(0, 9).Draw(t, "running")
		hosts[i] = Host{
			Number:  names.Host(i + 1),
			Slots:   rapid.IntRange(0, 9).Draw(t, "slots"),
			Running: running,
			Jobs:    running + rapid.IntRange(0, 4).Draw(t, "others"),
			Load:    share.Draw(t, "load"),
			Foreign: rapid.SampledFrom([]float64{0, 0, 0.6, 1}).Draw(t, "foreign"),
			Warm:    share.Draw(t, "warm"),
			Local:   i == home,
			Alive:   rapid.IntRange(0, 4).Draw(t, "dead") > 0,
			Drained: rapid.IntRange(0, 4).Draw(t, "drained") == 0,
			Backoff: rapid.IntRange(0, 4).Draw(t, "backoff") == 0,
		}
	}
	return hosts
}

func TestChooseProperties(t *testing.T) {
	number := rapid.Custom(func(t *rapid.T) names.Host { return names.Host(rapid.IntRange(1, 8).Draw(t, "host")) })
	rapid.Check(t, func(t *rapid.T) {
		hosts := drawHosts(t)
		r := Request{
			Hosts:     rapid.SliceOfN(number, 0, 4).Draw(t, "hosts"),
			Avoid:     rapid.SliceOfN(number, 0, 4).Draw(t, "avoid"),
			NoLocal:   rapid.Bool().Draw(t, "noLocal"),
			HomeSlots: rapid.IntRange(-1, 4).Draw(t, "homeSlots"),
		}
		d := Choose(hosts, r)
		shuffled := slices.Clone(hosts)
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if again := Choose(shuffled, r); again != d {
			t.Fatalf("the order of the hosts changed %+v to %+v", d, again)
		}
		if d.Local && (r.NoLocal || d.Refused) {
			t.Fatalf("home though it is forbidden: %+v", d)
		}
		if d.Local && d.Reason == "" {
			t.Fatalf("home without a reason: %+v", d)
		}
		if d.Refused && !r.NoLocal && !slices.ContainsFunc(hosts, func(h Host) bool { return h.Local && slices.Contains(r.Avoid, h.Number) }) {
			t.Fatalf("refused though home could take it: %+v", d)
		}
		for _, h := range hosts {
			if h.Number != d.Host || d.Refused {
				continue
			}
			if slices.Contains(r.Avoid, h.Number) {
				t.Fatalf("picked %d, to be avoided", d.Host)
			}
			if d.Local {
				continue
			}
			if !h.Alive || h.Drained || h.Slots < 1 {
				t.Fatalf("picked a host that cannot take jobs: %+v", h)
			}
			if len(r.Hosts) > 0 && !slices.Contains(r.Hosts, h.Number) {
				t.Fatalf("picked %d, not among %v", d.Host, r.Hosts)
			}
		}
	})
}

// Whatever the slots of the hosts, jobs fill them evenly: no host is ever a whole job ahead of one that could have taken it.
func TestChooseBalances(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 8).Draw(t, "n")
		hosts := equal(n)
		slots := 0
		for i := range hosts {
			hosts[i].Slots = rapid.IntRange(1, 12).Draw(t, "slots")
			slots += hosts[i].Slots
		}
		r := Request{HomeSlots: hosts[0].Slots}
		jobs := rapid.IntRange(2, 3*slots).Draw(t, "jobs")
		for range jobs {
			d := Choose(hosts, r)
			hosts[d.Host-1].Running++
			hosts[d.Host-1].Jobs++
		}
		for i, a := range hosts {
			if jobs <= slots && a.Running > a.Slots {
				t.Fatalf("%d jobs on %d slots of host %d while others are free", a.Running, a.Slots, i+1)
			}
			for j, b := range hosts {
				before := float64(a.Running) / float64(a.Slots)
				after := float64(b.Running+1) / float64(b.Slots)
				if before > after && !(i == 0 && a.Running == 1) { // the first job of all goes home
					t.Fatalf("host %d has %d of %d, host %d only %d of %d", i+1, a.Running, a.Slots, j+1, b.Running, b.Slots)
				}
			}
		}
	})
}

func TestSlots(t *testing.T) {
	for _, tt := range []struct {
		cpus float64
		want int
	}{{0.1, 2}, {0.45, 2}, {1, 2}, {1.5, 3}, {2, 3}, {4, 5}, {8, 10}, {16, 20}, {0, 1}, {-1, 1}, {1e9, 40959}} {
		if got := DefaultSlots(tt.cpus); got != tt.want {
			t.Errorf("DefaultSlots(%v): got %d, want %d", tt.cpus, got, tt.want)
		}
	}
	for _, tt := range []struct {
		slots    int
		own      float64
		previous int
		want     int
	}{
		{2, 0.15, -1, 1},
		{2, 0.7, 1, 1},
		{2, 0.9, 1, 0},
		{2, 0.7, 0, 0},
		{2, 0.59, 0, 1},
		{1, 0, -1, 1},
		{0, 0, -1, 0},
		{10, 0, 5, 5},
		{10, 0.7, 5, 2},
		{10, 0.89, 2, 1},
		{10, 0.95, 1, 0},
	} {
		if got := HomeSlots(tt.slots, tt.own, tt.previous); got != tt.want {
			t.Errorf("HomeSlots(%d, %v, %d): got %d, want %d", tt.slots, tt.own, tt.previous, got, tt.want)
		}
	}
}
