package token

import (
	"slices"

	"github.com/onehost/onehost/names"
)

// Object is the identity of a file or directory at its home.
type Object string

// Mode is what a holder may keep of an object.
type Mode uint8

// The modes, weakest first.
const (
	NamesRead Mode = iota + 1
	DataRead
	DataWrite
)

// Holder is one view of the tree by one life of a host. The zero Holder is the home itself.
type Holder struct {
	Host        names.Host
	Incarnation names.Incarnation
	Mount       uint64 // one of several views of the tree that the host has
}

// Home is the holder that stands for the home's own processes.
var Home = Holder{}

// Kind says what a Message is.
type Kind uint8

// Kinds of messages; in are Acquire, Released, Gone and Changed, out are Grant, Revoke and Recall.
const (
	Acquire  Kind = iota + 1 // Holder wishes Mode on Object; Req pairs it with its Grant
	Released                 // Holder answers a Recall: nothing is held back any more
	Gone                     // Holder is dead: all it held is free
	Changed                  // somebody outside the protocol changed Object: Mode's readers must forget it
	Grant                    // the wish Req of Holder is granted
	Revoke                   // Holder must forget what Mode let it keep of Object
	Recall                   // Holder must hand over what it holds back of Object, and say Released
)

// Message is a step in or out.
type Message struct {
	Kind   Kind
	Object Object
	Holder Holder
	Mode   Mode
	Req    uint64
}

// wish is an Acquire in line.
type wish struct {
	holder Holder
	mode   Mode
	req    uint64
}

// state is what is known of one object; it is dropped when nobody holds or wishes anything.
type state struct {
	names, data []Holder // few hosts: a slice is smaller and faster than a set
	writer      Holder
	written     bool // writer is valid
	recalled    bool // and has been asked to hand over
	line        []wish
}

// Table is who holds what. It is not safe for concurrent use.
type Table struct {
	objects map[Object]*state
}

// New gives an empty table.
func New() *Table { return &Table{objects: make(map[Object]*state)} }

// Len gives the number of objects somebody holds or wishes something of.
func (t *Table) Len() int { return len(t.objects) }

// Writer gives the holder of DataWrite on o, if there is one.
func (t *Table) Writer(o Object) (Holder, bool) {
	s := t.objects[o]
	if s == nil || !s.written {
		return Holder{}, false
	}
	return s.writer, true
}

// Holds reports whether h may keep mode of o.
func (t *Table) Holds(o Object, h Holder, m Mode) bool {
	s := t.objects[o]
	if s == nil {
		return false
	}
	switch m {
	case NamesRead:
		return slices.Contains(s.names, h)
	case DataRead:
		return slices.Contains(s.data, h) || s.written && s.writer == h
	default:
		return s.written && s.writer == h
	}
}

// Readers gives the holders of mode (NamesRead or DataRead) on o; the slice must not be changed.
func (t *Table) Readers(o Object, m Mode) []Holder {
	s := t.objects[o]
	switch {
	case s == nil:
		return nil
	case m == NamesRead:
		return s.names
	default:
		return s.data
	}
}

// Step takes one message in and gives the messages it causes, in the order they must be sent. A message that makes no
// sense (a release of what is not held, an unknown kind) causes none.
func (t *Table) Step(in Message) []Message {
	switch in.Kind {
	case Acquire:
		return t.acquire(in)
	case Released:
		s := t.objects[in.Object]
		if s == nil || !s.written || s.writer != in.Holder {
			return nil
		}
		s.written, s.recalled = false, false
		s.data = add(s.data, in.Holder)
		return t.advance(in.Object, s, nil)
	case Gone:
		return t.gone(in.Holder)
	case Changed:
		return t.changed(in)
	}
	return nil
}

func (t *Table) acquire(in Message) []Message {
	if in.Mode < NamesRead || in.Mode > DataWrite {
		return nil
	}
	s := t.objects[in.Object]
	if s == nil {
		s = &state{}
		t.objects[in.Object] = s
	}
	s.line = append(s.line, wish{in.Holder, in.Mode, in.Req})
	return t.advance(in.Object, s, nil)
}

// advance grants from the head of the line as far as it can, so that nobody waits for ever behind later wishes.
func (t *Table) advance(o Object, s *state, out []Message) []Message {
	for len(s.line) > 0 {
		w := s.line[0]
		if w.mode != NamesRead && s.written && s.writer != w.holder {
			if !s.recalled {
				s.recalled = true
				out = append(out, Message{Kind: Recall, Object: o, Holder: s.writer, Mode: DataWrite})
			}
			break
		}
		s.line = s.line[1:]
		switch {
		case w.mode == NamesRead && w.holder != Home:
			s.names = add(s.names, w.holder)
		case w.mode == DataRead && w.holder != Home && !s.written:
			s.data = add(s.data, w.holder)
		case w.mode == DataWrite && !s.recalled:
			for _, r := range s.data {
				if r != w.holder {
					out = append(out, Message{Kind: Revoke, Object: o, Holder: r, Mode: DataRead})
				}
			}
			s.data = nil
			s.writer, s.written = w.holder, w.holder != Home
		}
		out = append(out, Message{Kind: Grant, Object: o, Holder: w.holder, Mode: w.mode, Req: w.req})
	}
	t.tidy(o, s)
	return out
}

func (t *Table) gone(h Holder) []Message {
	var out []Message
	var hit []Object
	for o, s := range t.objects {
		if slices.Contains(s.names, h) || slices.Contains(s.data, h) || s.written && s.writer == h ||
			slices.ContainsFunc(s.line, func(w wish) bool { return w.holder == h }) {
			hit = append(hit, o)
		}
	}
	slices.Sort(hit) // the same step gives the same messages
	for _, o := range hit {
		s := t.objects[o]
		s.names, s.data = del(s.names, h), del(s.data, h)
		s.line = slices.DeleteFunc(s.line, func(w wish) bool { return w.holder == h })
		if s.written && s.writer == h {
			s.written, s.recalled = false, false
		}
		out = t.advance(o, s, out)
	}
	return out
}

// changed makes the readers forget. A writer keeps his token: two writers outside and inside the protocol at once have no
// order that either could expect.
func (t *Table) changed(in Message) []Message {
	s := t.objects[in.Object]
	if s == nil {
		return nil
	}
	var out []Message
	list := &s.data
	if in.Mode == NamesRead {
		list = &s.names
	}
	for _, h := range *list {
		if h != in.Holder {
			out = append(out, Message{Kind: Revoke, Object: in.Object, Holder: h, Mode: in.Mode})
		}
	}
	if slices.Contains(*list, in.Holder) {
		*list = []Holder{in.Holder}
	} else {
		*list = nil
	}
	t.tidy(in.Object, s)
	return out
}

func (t *Table) tidy(o Object, s *state) {
	if len(s.names) == 0 && len(s.data) == 0 && len(s.line) == 0 && !s.written {
		delete(t.objects, o)
	}
}

func add(l []Holder, h Holder) []Holder {
	if slices.Contains(l, h) {
		return l
	}
	return append(l, h)
}

func del(l []Holder, h Holder) []Holder {
	return slices.DeleteFunc(l, func(x Holder) bool { return x == h })
}
