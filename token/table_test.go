package token

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/onehost/onehost/names"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts gave as what they should give")

var kinds = map[string]Kind{"acquire": Acquire, "released": Released, "gone": Gone, "changed": Changed}

var modes = map[string]Mode{"names": NamesRead, "read": DataRead, "write": DataWrite, "": 0}

func modeName(m Mode) string { return [...]string{"", "names", "read", "write"}[m] }

func who(h Holder) string {
	if h == Home {
		return "home"
	}
	return fmt.Sprintf("h%d", h.Host)
}

func show(m Message) string {
	kind := map[Kind]string{Grant: "grant", Revoke: "revoke", Recall: "recall"}[m.Kind]
	s := fmt.Sprintf("  %s %s %s %s", kind, m.Object, who(m.Holder), modeName(m.Mode))
	if m.Kind == Grant {
		s += fmt.Sprintf(" #%d", m.Req)
	}
	return s
}

// TestScript runs the protocol as testdata/script tells it. A line is a step, indented lines are the messages it causes.
func TestScript(t *testing.T) {
	const file = "testdata/script"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	table := New()
	req := uint64(0)
	for in := bufio.NewScanner(strings.NewReader(string(text))); in.Scan(); {
		line := in.Text()
		if strings.HasPrefix(line, "  ") {
			continue
		}
		fmt.Fprintln(&got, line)
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(line, "#") {
			if strings.HasPrefix(line, "# new") {
				table, req = New(), 0
			}
			continue
		}
		if f[0] == "len" {
			fmt.Fprintln(&got, " ", table.Len())
			continue
		}
		m := Message{Kind: kinds[f[0]]}
		for _, w := range f[1:] {
			var n names.Host
			switch {
			case w == "home":
			case modes[w] != 0:
				m.Mode = modes[w]
			default:
				if _, err := fmt.Sscanf(w, "h%d", &n); err == nil {
					m.Holder = Holder{Host: n, Incarnation: 1}
				} else {
					m.Object = Object(w)
				}
			}
		}
		if m.Kind == Acquire {
			req++
			m.Req = req
		}
		for _, o := range table.Step(m) {
			fmt.Fprintln(&got, show(o))
		}
	}
	if got.String() == string(text) {
		return
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("got:\n%s\nwant:\n%s\nuse -rewrite if the new is right", got.String(), text)
}

// TestRules steps at random and checks after each step what must always hold.
func TestRules(t *testing.T) { rapid.Check(t, rules) }

func rules(t *rapid.T) {
	table := New()
	holders := []Holder{Home, {Host: 1, Incarnation: 1}, {Host: 2, Incarnation: 1}, {Host: 2, Incarnation: 1, Mount: 7}, {Host: 3, Incarnation: 9}}
	objects := []Object{"a", "b"}
	type key struct {
		o Object
		h Holder
	}
	keeps := map[key]Mode{}     // what a holder believes that it may keep of data
	lists := map[key]bool{}     // and of names
	waiting := map[uint64]key{} // wishes not granted yet
	recalled := map[key]bool{}  // recalls not answered
	order := map[Object][]uint64{}
	req := uint64(0)
	step := func(in Message) {
		for _, m := range table.Step(in) {
			k := key{m.Object, m.Holder}
			switch m.Kind {
			case Grant:
				w, ok := waiting[m.Req]
				if !ok || w != k {
					t.Fatalf("a grant of what nobody waits for: %+v", m)
				}
				delete(waiting, m.Req)
				if line := order[m.Object]; line[0] != m.Req {
					t.Fatalf("wish %d of %s was granted before %d", m.Req, m.Object, line[0])
				}
				order[m.Object] = order[m.Object][1:]
				switch {
				case m.Holder == Home:
				case m.Mode == NamesRead:
					lists[k] = true
				default:
					keeps[k] = max(keeps[k], m.Mode)
				}
			case Revoke:
				if m.Mode == NamesRead {
					delete(lists, k)
				} else {
					delete(keeps, k)
				}
			case Recall:
				if recalled[k] {
					t.Fatalf("%+v is recalled twice", k)
				}
				recalled[k] = true
			default:
				t.Fatalf("an unknown message: %+v", m)
			}
		}
	}
	check := func() {
		for _, o := range objects {
			writers, readers := 0, 0
			for _, h := range holders {
				switch keeps[key{o, h}] {
				case DataWrite:
					writers++
					if !table.Holds(o, h, DataWrite) {
						t.Fatalf("%v believes it writes %s, the table does not", h, o)
					}
				case DataRead:
					readers++
					if !table.Holds(o, h, DataRead) {
						t.Fatalf("%v keeps %s and would not be told of a change", h, o)
					}
				}
				if lists[key{o, h}] && !slices.Contains(table.Readers(o, NamesRead), h) {
					t.Fatalf("%v keeps names of %s and would not be told of a change", h, o)
				}
			}
			if writers > 1 || writers == 1 && readers > 0 {
				t.Fatalf("%s has %d writers and %d readers", o, writers, readers)
			}
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"acquire": func(t *rapid.T) {
			req++
			m := Message{
				Kind: Acquire, Object: rapid.SampledFrom(objects).Draw(t, "object"), Holder: rapid.SampledFrom(holders).Draw(t, "holder"),
				Mode: Mode(rapid.IntRange(1, 3).Draw(t, "mode")), Req: req,
			}
			waiting[req] = key{m.Object, m.Holder}
			order[m.Object] = append(order[m.Object], req)
			step(m)
		},
		"answer": func(t *rapid.T) {
			for k := range recalled {
				delete(recalled, k)
				keeps[k] = DataRead
				step(Message{Kind: Released, Object: k.o, Holder: k.h})
				return
			}
		},
		"release": func(t *rapid.T) {
			k := key{rapid.SampledFrom(objects).Draw(t, "object"), rapid.SampledFrom(holders[1:]).Draw(t, "holder")}
			if keeps[k] == DataWrite {
				keeps[k] = DataRead
				delete(recalled, k)
			}
			step(Message{Kind: Released, Object: k.o, Holder: k.h})
		},
		"gone": func(t *rapid.T) {
			h := rapid.SampledFrom(holders[1:]).Draw(t, "holder")
			for _, o := range objects {
				k := key{o, h}
				delete(keeps, k)
				delete(lists, k)
				delete(recalled, k)
				order[o] = slices.DeleteFunc(order[o], func(r uint64) bool { return waiting[r] == k })
			}
			for r, k := range waiting {
				if k.h == h {
					delete(waiting, r)
				}
			}
			step(Message{Kind: Gone, Holder: h})
		},
		"changed": func(t *rapid.T) {
			step(Message{
				Kind: Changed, Object: rapid.SampledFrom(objects).Draw(t, "object"), Holder: rapid.SampledFrom(holders).Draw(t, "holder"),
				Mode: rapid.SampledFrom([]Mode{NamesRead, DataRead}).Draw(t, "mode"),
			})
		},
		"nonsense": func(t *rapid.T) {
			if out := table.Step(Message{Kind: rapid.SampledFrom([]Kind{0, Grant, Revoke, Recall, 99}).Draw(t, "kind"), Object: "a"}); len(out) > 0 {
				t.Fatalf("nonsense causes %v", out)
			}
		},
		"": func(*rapid.T) { check() },
	})
	for len(recalled) > 0 { // whoever is asked answers, or dies
		for k := range recalled {
			delete(recalled, k)
			keeps[k] = DataRead
			step(Message{Kind: Released, Object: k.o, Holder: k.h})
			check()
		}
	}
	if len(waiting) > 0 {
		t.Fatalf("these wait for ever: %v", waiting)
	}
	for _, h := range holders[1:] {
		step(Message{Kind: Gone, Holder: h})
	}
	if n := table.Len(); n != 0 {
		t.Fatalf("nobody is left, and the table has %d objects", n)
	}
}
