package nest

import (
	"encoding/binary"
	"errors"
)

// Kinds of packet between the daemon and the init: the first byte. There is no version, for both ends are the same binary.
const (
	msgSetup   = iota + 1 // daemon: setup
	msgStart              // daemon: job, spec; with descriptors
	msgSignal             // daemon: job, sequence, signal, code, value, sender and its user, group, number
	msgKill               // daemon: job, sequence
	msgBye                // daemon: the end is wanted; end of file without it is the daemon's death
	msgReady              // init: errno, text; with the nest's /dev/pts
	msgStarted            // init: job, pid, errno, text of the error or name of the job's cgroup
	msgEvent              // init: job, kind, status, rusage
	msgDone               // init: sequence, errno
	msgLog                // init: text
	msgCall               // init, with the calling thread as sender: sequence, number of its process in the nest, of the call, six arguments
	msgAnswer             // daemon: sequence, value, errno; with a descriptor that is to be the value
	msgShort              // init: how many blocks of numbers it has, of which more than half are in use
	msgBlock              // daemon: first and last number of one more; 0: there is none
	msgParent             // daemon: job, number of its parent at home
)

var errWire = errors.New("nest: malformed packet")

// encoder appends fields to a packet.
type encoder struct{ b []byte }

func newMessage(kind byte) *encoder { return &encoder{b: append(make([]byte, 0, 512), kind)} }

func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)   { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) bool(v bool) {
	if v {
		e.uint(1)
	} else {
		e.uint(0)
	}
}

func (e *encoder) string(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) strings(list []string) {
	e.uint(uint64(len(list)))
	for _, s := range list {
		e.string(s)
	}
}

// decoder reads fields; after the first error every field is nought and err stays.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail() { d.err, d.b = errWire, nil }

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bool() bool { return d.uint() != 0 }

// length reads a count of things that take at least one byte each, so a false one cannot make us allocate.
func (d *decoder) length() int {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) string() string {
	n := d.length()
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) strings() []string {
	n := d.length()
	if n == 0 {
		return nil
	}
	list := make([]string, 0, n)
	for range n {
		list = append(list, d.string())
	}
	return list
}

// setup is what the init needs to make the nest.
type setup struct {
	Hostname          string
	Root              string
	Binds             []Bind
	PidFirst, PidLast int
	Abort             bool // a descriptor of the FUSE abort file came along
	Asks, Grows       bool // the daemon answers msgCall, and msgShort
}

func (s *setup) encode(e *encoder) {
	e.string(s.Hostname)
	e.string(s.Root)
	e.uint(uint64(len(s.Binds)))
	for _, b := range s.Binds {
		e.string(b.Source)
		e.string(b.Target)
		e.bool(b.ReadOnly)
	}
	e.int(int64(s.PidFirst))
	e.int(int64(s.PidLast))
	e.bool(s.Abort)
	e.bool(s.Asks)
	e.bool(s.Grows)
}

func decodeSetup(d *decoder) setup {
	s := setup{Hostname: d.string(), Root: d.string()}
	for range d.length() {
		s.Binds = append(s.Binds, Bind{Source: d.string(), Target: d.string(), ReadOnly: d.bool()})
	}
	s.PidFirst, s.PidLast, s.Abort, s.Asks, s.Grows = int(d.int()), int(d.int()), d.bool(), d.bool(), d.bool()
	return s
}

// encode writes a Spec; a File is written as the index of its descriptor in the packet, plus one.
func (s *Spec) encode(e *encoder, index map[int]int) {
	e.int(int64(s.Pid))
	e.string(s.Exe)
	e.strings(s.Argv)
	e.strings(s.Env)
	e.string(s.Cwd)
	e.uint(s.CwdIno)
	e.uint(uint64(s.Umask))
	e.uint(uint64(len(s.Rlimits)))
	for _, r := range s.Rlimits {
		e.int(int64(r.Resource))
		e.uint(r.Soft)
		e.uint(r.Hard)
	}
	e.int(int64(s.Nice))
	e.uint(uint64(s.Scheduler))
	e.uint(uint64(s.IOPriority))
	e.uint(s.TimerSlack)
	e.uint(s.SigMask)
	e.uint(s.SigIgnored)
	for i := range 4 {
		e.uint(uint64(s.UID[i]))
		e.uint(uint64(s.GID[i]))
	}
	e.uint(uint64(len(s.Groups)))
	for _, g := range s.Groups {
		e.uint(uint64(g))
	}
	e.bool(s.NoNewPrivs)
	for _, id := range []int{s.Parent, s.Group, s.Session} {
		e.int(int64(id))
	}
	e.uint(uint64(len(s.FDs)))
	for i, f := range s.FDs {
		e.int(int64(f.N))
		e.int(int64(index[i]))
		e.string(f.Path)
		e.int(int64(f.Flags))
		e.uint(f.Ino)
	}
}

// slot is one descriptor of a Spec as the init sees it: Index >= 0 is the place in the packet, otherwise Path is opened.
type slot struct {
	N, Index int
	Path     string
	Flags    int
	Ino      uint64
}

func decodeSpec(d *decoder) (Spec, []slot) {
	s := Spec{Pid: int(d.int()), Exe: d.string(), Argv: d.strings(), Env: d.strings(), Cwd: d.string(), CwdIno: d.uint(), Umask: uint32(d.uint())}
	for range d.length() {
		s.Rlimits = append(s.Rlimits, Rlimit{Resource: int(d.int()), Soft: d.uint(), Hard: d.uint()})
	}
	s.Nice, s.Scheduler, s.IOPriority, s.TimerSlack = int(d.int()), uint32(d.uint()), uint32(d.uint()), d.uint()
	s.SigMask, s.SigIgnored = d.uint(), d.uint()
	for i := range 4 {
		s.UID[i], s.GID[i] = uint32(d.uint()), uint32(d.uint())
	}
	for range d.length() {
		s.Groups = append(s.Groups, uint32(d.uint()))
	}
	s.NoNewPrivs = d.bool()
	s.Parent, s.Group, s.Session = int(d.int()), int(d.int()), int(d.int())
	var slots []slot
	for range d.length() {
		slots = append(slots, slot{N: int(d.int()), Index: int(d.int()), Path: d.string(), Flags: int(d.int()), Ino: d.uint()})
	}
	return s, slots
}

func (ev *Event) encode(e *encoder) {
	e.uint(uint64(ev.Kind))
	e.uint(uint64(ev.Status))
	e.int(int64(ev.User))
	e.int(int64(ev.System))
	e.int(ev.MaxRSS)
	e.bool(ev.Left)
	e.int(int64(ev.Group))
	e.bool(ev.Session)
	e.uint(ev.After)
}
