package nest

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func TestSpecOnTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.String(), 0, 5)
		s := Spec{
			Pid: rapid.IntRange(0, 65535).Draw(t, "pid"), Exe: rapid.String().Draw(t, "exe"), Cwd: rapid.String().Draw(t, "cwd"),
			Argv: list.Draw(t, "argv"), Env: list.Draw(t, "env"), Umask: rapid.Uint32().Draw(t, "umask"),
			Nice: rapid.IntRange(-20, 19).Draw(t, "nice"), SigMask: rapid.Uint64().Draw(t, "mask"), SigIgnored: rapid.Uint64().Draw(t, "ignored"),
			NoNewPrivs: rapid.Bool().Draw(t, "privs"),
			Groups:     rapid.SliceOfN(rapid.Uint32(), 1, 4).Draw(t, "groups"),
			Rlimits:    []Rlimit{{7, rapid.Uint64().Draw(t, "soft"), rapid.Uint64().Draw(t, "hard")}},
			FDs:        []FD{{N: 3, Path: rapid.String().Draw(t, "path"), Flags: rapid.IntRange(0, 1<<22).Draw(t, "flags"), Ino: rapid.Uint64().Draw(t, "ino")}},
			CwdIno:     rapid.Uint64().Draw(t, "cwd ino"), Scheduler: rapid.Uint32().Draw(t, "scheduler"), IOPriority: rapid.Uint32().Draw(t, "io priority"), TimerSlack: rapid.Uint64().Draw(t, "timer slack"),
		}
		for i := range 4 {
			s.UID[i], s.GID[i] = rapid.Uint32().Draw(t, "uid"), rapid.Uint32().Draw(t, "gid")
		}
		e := &encoder{}
		s.encode(e, map[int]int{0: -1})
		d := &decoder{b: e.b}
		got, slots := decodeSpec(d)
		if d.err != nil || len(d.b) != 0 {
			t.Fatalf("error %v, %d bytes left", d.err, len(d.b))
		}
		want := s
		want.FDs = nil
		if len(want.Argv) == 0 {
			want.Argv = nil
		}
		if len(want.Env) == 0 {
			want.Env = nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v has become %+v", want, got)
		}
		if f := s.FDs[0]; len(slots) != 1 || slots[0] != (slot{N: f.N, Index: -1, Path: f.Path, Flags: f.Flags, Ino: f.Ino}) {
			t.Fatalf("descriptors %+v have become %+v", s.FDs, slots)
		}
	})
}

func FuzzDecode(f *testing.F) {
	s := base("exit")
	e := &encoder{}
	s.encode(e, nil)
	f.Add(e.b)
	g := &encoder{}
	(&setup{Hostname: "h", Binds: []Bind{{"/a", "/b", true}}}).encode(g)
	f.Add(g.b)
	f.Fuzz(func(t *testing.T, b []byte) {
		d := &decoder{b: b}
		if spec, slots := decodeSpec(d); len(spec.Argv)+len(spec.Env)+len(spec.Groups)+len(slots) > 4*len(b)+4 {
			t.Fatalf("%d bytes have become a bigger spec", len(b))
		}
		decodeSetup(&decoder{b: b})
	})
}
