package netfs_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// spot is a place where programs run: a mount, or the home.
type spot struct {
	name   string
	dir    string
	x      *helper // nil: the home
	noOpen bool    // or else what is open there without a name does not outlive a connection
}

// inode is what the model knows of a file.
type inode struct {
	num   int // for the log
	data  []byte
	names int
	open  map[*spot]int
	write int  // descriptors that may write, on mounts
	away  bool // was ever written on a mount
}

// held is a descriptor that an actor has open.
type held struct {
	at    *spot
	a     *actor
	slot  int
	f     *inode
	flags int
}

func (h *held) writes() bool { return h.flags&unix.O_ACCMODE != unix.O_RDONLY }
func (h *held) reads() bool  { return h.flags&unix.O_ACCMODE != unix.O_WRONLY }

// driver has programs do things to the files of a directory of its own, one after the other, wherever they run, and knows what each must see.
type driver struct {
	t      *testing.T
	rng    *rand.Rand
	dir    string
	spots  []*spot
	actors map[*spot][]*actor
	files  map[string]*inode
	fds    []*held
	slots  int
	stale  map[*spot]bool // something was changed elsewhere since it was told
	now    int            // the file that the present deed is about, 0 for none in particular
	made   int            // files so far
	calm   *sync.RWMutex  // read-locked during a deed: connections break between deeds
	log    []string
	failed *atomic.Bool
}

func (d *driver) fail(format string, args ...any) {
	d.t.Helper()
	if d.failed.Swap(true) {
		panic(d)
	}
	var tail []string
	mark := fmt.Sprintf("#%d ", d.now)
	for i := len(d.log) - 1; i >= 0 && len(tail) < 60; i-- {
		if i > len(d.log)-5 || strings.Contains(d.log[i], mark) || strings.Contains(d.log[i], "#0 ") {
			tail = append(tail, d.log[i])
		}
	}
	slices.Reverse(tail)
	d.t.Errorf("%s: %s\nwhat went before:\n%s", d.dir, fmt.Sprintf(format, args...), strings.Join(tail, "\n"))
	panic(d)
}

// ready makes what was done elsewhere be seen at a spot, as an exec or an exit does.
func (d *driver) ready(at *spot) {
	if !d.stale[at] {
		return
	}
	d.stale[at] = false
	d.calm.RLock()
	defer d.calm.RUnlock()
	if at.x == nil {
		for _, s := range d.spots {
			if s.x != nil {
				s.x.flush(d.t)
			}
		}
		return
	}
	at.x.sync(d.t)
}

func (d *driver) changed(at *spot) {
	for _, s := range d.spots {
		if s != at {
			d.stale[s] = true
		}
	}
}

func (d *driver) do(at *spot, a *actor, de deed, note string) outcome {
	if d.failed.Load() {
		panic(d)
	}
	d.calm.RLock()
	defer d.calm.RUnlock()
	o := a.do(de)
	line := fmt.Sprintf("%4d #%d %s/%d %s %s slot %d off %d size %d len %d -> %v %d", len(d.log), d.now, at.name, slices.Index(d.actors[at], a), de.What, note, de.Slot, de.Off, de.Size, len(de.Data), o.Err, o.Size)
	d.log = append(d.log, line)
	return o
}

// must is do for what has to succeed.
func (d *driver) must(at *spot, a *actor, de deed, note string) outcome {
	o := d.do(at, a, de, note)
	if o.Err != 0 {
		d.fail("%s %s at %s: %v", de.What, note, at.name, o.Err)
	}
	return o
}

func (d *driver) path(at *spot, name string) string { return at.dir + "/" + d.dir + "/" + name }

func (d *driver) pick() (*spot, *actor) {
	at := d.spots[d.rng.IntN(len(d.spots))]
	a := d.actors[at]
	return at, a[d.rng.IntN(len(a))]
}

func (d *driver) name() string { return "abcdef"[d.rng.IntN(6):][:1] }

// bytes gives some, of a length that is often next to a page's or a piece's.
func (d *driver) bytes() []byte {
	n := [...]int{1, 10, 100, 4095, 4096, 4097, 20000, 65536, 70001}[d.rng.IntN(9)]
	b := make([]byte, n)
	c := byte(1 + d.rng.IntN(250))
	for i := range b {
		b[i] = c + byte(i%5)
	}
	return b
}

func (d *driver) off(f *inode) int64 {
	size := int64(len(f.data))
	switch d.rng.IntN(5) {
	case 0:
		return 0
	case 1:
		return size
	case 2:
		return size + d.rng.Int64N(9000)
	default:
		return d.rng.Int64N(size + 1)
	}
}

func (f *inode) put(off int64, b []byte) {
	if end := off + int64(len(b)); end > int64(len(f.data)) {
		f.data = append(f.data, make([]byte, end-int64(len(f.data)))...)
	}
	copy(f.data[off:], b)
}

// barred reports whether a file may not be changed at a spot, because no order of it with what is done elsewhere is promised.
func (d *driver) barred(at *spot, f *inode) bool { return at.x == nil && f != nil && f.write > 0 }

// lost reports whether a file may not lose a name at a spot: somebody else would lose what he has open.
func (d *driver) lost(at *spot, f *inode) bool {
	if f == nil || f.names > 1 {
		return false
	}
	for s := range f.open {
		if s.x != nil && (s != at || s.noOpen) {
			return true
		}
	}
	return false
}

// file gives a new one.
func (d *driver) file(name string) *inode {
	d.made++
	d.now = d.made
	f := &inode{num: d.made, names: 1, open: make(map[*spot]int)}
	d.files[name] = f
	return f
}

func (d *driver) step() {
	d.now = 0
	at, a := d.pick()
	switch d.rng.IntN(20) {
	case 0, 1, 2:
		d.open(at, a, [...]int{
			unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC, unix.O_RDWR | unix.O_CREAT, unix.O_RDONLY,
			unix.O_RDWR | unix.O_APPEND, unix.O_RDWR | unix.O_CREAT | unix.O_EXCL, unix.O_WRONLY | unix.O_TRUNC,
		}[d.rng.IntN(6)])
	case 3:
		d.twoNames(at, a, "rename")
	case 4:
		d.twoNames(at, a, "link")
	case 5:
		d.unlink(at, a)
	case 6:
		d.list(at, a)
	case 7, 8:
		d.stat(at, a)
	case 9:
		d.assemble(at, a)
	case 10:
		d.whole(at, a, d.name())
	default:
		if len(d.fds) > 0 {
			d.use(d.fds[d.rng.IntN(len(d.fds))])
		}
	}
}

func (d *driver) open(at *spot, a *actor, flags int) {
	name := d.name()
	f := d.files[name]
	if d.barred(at, f) && flags&unix.O_TRUNC != 0 || len(d.fds) >= 8 {
		return
	}
	d.ready(at)
	d.slots++
	o := d.do(at, a, deed{What: "open", Slot: d.slots, Path: d.path(at, name), Flags: flags}, fmt.Sprintf("%s %#o", name, flags))
	var want syscall.Errno
	switch {
	case f == nil && flags&unix.O_CREAT == 0:
		want = syscall.ENOENT
	case f != nil && flags&unix.O_EXCL != 0:
		want = syscall.EEXIST
	}
	if o.Err != want {
		d.fail("open %s at %s: got %v, want %v", name, at.name, o.Err, want)
	}
	if want != 0 {
		return
	}
	if f == nil {
		f = d.file(name)
		d.changed(at)
	} else if flags&unix.O_TRUNC != 0 {
		f.data = nil
		d.changed(at)
	}
	h := &held{at, a, d.slots, f, flags}
	f.open[at]++
	if h.writes() && at.x != nil {
		f.write++
		f.away = true
	}
	d.now = f.num
	d.fds = append(d.fds, h)
}

func (d *driver) shut(h *held) {
	d.must(h.at, h.a, deed{What: "close", Slot: h.slot}, "")
	d.fds = slices.DeleteFunc(d.fds, func(x *held) bool { return x == h })
	if h.f.open[h.at]--; h.f.open[h.at] == 0 {
		delete(h.f.open, h.at)
	}
	if h.writes() && h.at.x != nil {
		h.f.write--
	}
}

// use does something with a descriptor.
func (d *driver) use(h *held) {
	f := h.f
	d.now = f.num
	if h.at.x == nil && f.names == 0 && f.away { // who writes to it elsewhere keeps that for himself
		d.shut(h)
		return
	}
	d.ready(h.at)
	free := h.writes() && !d.barred(h.at, f)
	switch d.rng.IntN(9) {
	case 0, 1:
		if !free {
			break
		}
		b, off, what := d.bytes(), d.off(f), "pwrite"
		if h.flags&unix.O_APPEND != 0 {
			what, off = "append", int64(len(f.data))
		}
		if o := d.must(h.at, h.a, deed{What: what, Slot: h.slot, Off: off, Data: b}, ""); o.Size != int64(len(b)) {
			d.fail("%d of %d bytes were written", o.Size, len(b))
		}
		f.put(off, b)
		d.changed(h.at)
	case 2:
		if free {
			size := d.off(f)
			d.must(h.at, h.a, deed{What: "truncate", Slot: h.slot, Size: size}, "")
			if size > int64(len(f.data)) {
				f.put(size, nil)
			}
			f.data = f.data[:size]
			d.changed(h.at)
		}
	case 3:
		if free && h.at.x != nil && h.reads() && len(f.data) > 0 { // the home hears of no native stores through a mapping
			off := d.rng.Int64N(int64(len(f.data)))
			b := d.bytes()
			b = b[:min(int64(len(b)), int64(len(f.data))-off)]
			d.must(h.at, h.a, deed{What: "fstat", Slot: h.slot}, "") // without it a mapping may end where the file ended before
			d.must(h.at, h.a, deed{What: "map", Slot: h.slot, Off: off, Data: b}, "")
			f.put(off, b)
			d.changed(h.at)
		}
	case 4:
		d.must(h.at, h.a, deed{What: "fsync", Slot: h.slot}, "")
	case 5:
		if o := d.must(h.at, h.a, deed{What: "fstat", Slot: h.slot}, ""); o.Size != int64(len(f.data)) || o.Links != uint64(f.names) {
			d.fail("fstat at %s: got size %d, links %d, want %d, %d", h.at.name, o.Size, o.Links, len(f.data), f.names)
		}
	case 6:
		d.shut(h)
	default:
		if h.reads() {
			d.check(h, d.rng.IntN(3) == 0)
		}
	}
}

// check reads something by a descriptor and compares.
func (d *driver) check(h *held, mapped bool) {
	f := h.f
	de := deed{What: "mmap", Slot: h.slot}
	want := f.data
	if !mapped {
		off := d.off(f)
		de = deed{What: "pread", Slot: h.slot, Off: off, Size: int64(len(d.bytes()))}
		want = f.data[min(off, int64(len(f.data))):min(off+de.Size, int64(len(f.data)))]
	}
	d.same(de, h.at, d.must(h.at, h.a, de, "").Data, want)
}

func (d *driver) same(de deed, at *spot, got, want []byte) {
	if bytes.Equal(got, want) {
		return
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	d.fail("%s of %s slot %d at %s: %d bytes, want %d; they differ from byte %d on: got %d, want %d", de.What, de.Path, de.Slot, at.name, len(got), len(want), de.Off+int64(i), got[i:min(i+8, len(got))], want[i:min(i+8, len(want))])
}

// whole reads a file by its name.
func (d *driver) whole(at *spot, a *actor, name string) {
	f := d.files[name]
	if f == nil {
		return
	}
	d.now = f.num
	d.ready(at)
	d.slots++
	h := &held{at, a, d.slots, f, unix.O_RDONLY}
	d.must(at, a, deed{What: "open", Slot: h.slot, Path: d.path(at, name)}, name)
	for _, de := range []deed{{What: "pread", Slot: h.slot, Size: int64(len(f.data) + 1)}, {What: "mmap", Slot: h.slot}} {
		d.same(de, at, d.must(at, a, de, name).Data, f.data)
	}
	d.must(at, a, deed{What: "close", Slot: h.slot}, "")
}

// assemble writes a file as an assembler does: its parts, then the table at its end, then the head; another process reads it at once.
func (d *driver) assemble(at *spot, a *actor) {
	name := d.name()
	f := d.files[name]
	if d.barred(at, f) || d.lost(at, f) {
		return
	}
	d.ready(at)
	if f != nil {
		d.now = f.num
		f.away = f.away || at.x != nil
	}
	if f == nil || d.rng.IntN(2) == 0 {
		if f != nil {
			d.must(at, a, deed{What: "unlink", Path: d.path(at, name)}, name)
			f.names--
		}
		f = d.file(name)
	}
	d.changed(at)
	d.slots++
	flags := unix.O_RDWR | unix.O_CREAT
	if d.rng.IntN(4) > 0 {
		flags |= unix.O_TRUNC
		f.data = nil
	}
	h := &held{at, a, d.slots, f, flags}
	d.must(at, a, deed{What: "open", Slot: h.slot, Path: d.path(at, name), Flags: flags}, name)
	off := int64(64)
	for range 2 + d.rng.IntN(6) {
		b := d.bytes()
		d.must(at, a, deed{What: "pwrite", Slot: h.slot, Off: off, Data: b}, name)
		f.put(off, b)
		off += int64(len(b)) + d.rng.Int64N(40)
		if d.rng.IntN(3) == 0 {
			d.check(h, false)
		}
		if d.rng.IntN(3) == 0 {
			if o := d.must(at, a, deed{What: "fstat", Slot: h.slot}, name); o.Size != int64(len(f.data)) {
				d.fail("fstat of %s at %s: got size %d, want %d", name, at.name, o.Size, len(f.data))
			}
		}
	}
	head := bytes.Repeat([]byte{0x7f}, 64)
	d.must(at, a, deed{What: "pwrite", Slot: h.slot, Data: head}, name)
	f.put(0, head)
	d.must(at, a, deed{What: "close", Slot: h.slot}, name)
	d.whole(at, d.actors[at][d.rng.IntN(len(d.actors[at]))], name)
}

func (d *driver) stat(at *spot, a *actor) {
	name := d.name()
	d.ready(at)
	o := d.do(at, a, deed{What: "stat", Path: d.path(at, name)}, name)
	f := d.files[name]
	switch {
	case f == nil && o.Err != syscall.ENOENT:
		d.fail("stat %s at %s: got %v, want that it does not exist", name, at.name, o.Err)
	case f != nil && (o.Err != 0 || o.Size != int64(len(f.data)) || o.Links != uint64(f.names)):
		d.fail("stat %s at %s: got %v, size %d, links %d, want %d, %d", name, at.name, o.Err, o.Size, o.Links, len(f.data), f.names)
	}
}

func (d *driver) twoNames(at *spot, a *actor, what string) {
	from, to := d.name(), d.name()
	f, v := d.files[from], d.files[to]
	if from == to || what == "rename" && f != v && d.lost(at, v) {
		return
	}
	d.ready(at)
	o := d.do(at, a, deed{What: what, Path: d.path(at, from), To: d.path(at, to)}, from+" "+to)
	var want syscall.Errno
	switch {
	case f == nil:
		want = syscall.ENOENT
	case what == "link" && v != nil:
		want = syscall.EEXIST
	}
	if what == "link" && f == nil && v != nil && o.Err == syscall.EEXIST {
		return
	}
	if o.Err != want {
		d.fail("%s %s %s at %s: got %v, want %v", what, from, to, at.name, o.Err, want)
	}
	if want != 0 || f == v {
		return
	}
	d.changed(at)
	d.files[to] = f
	if what == "link" {
		f.names++
		return
	}
	delete(d.files, from)
	if v != nil {
		v.names--
	}
}

func (d *driver) unlink(at *spot, a *actor) {
	name := d.name()
	f := d.files[name]
	if f == nil || d.lost(at, f) {
		return
	}
	d.ready(at)
	d.must(at, a, deed{What: "unlink", Path: d.path(at, name)}, name)
	delete(d.files, name)
	f.names--
	d.changed(at)
}

func (d *driver) list(at *spot, a *actor) {
	d.ready(at)
	got := slices.DeleteFunc(d.must(at, a, deed{What: "readdir", Path: d.path(at, "")}, "").Names, func(s string) bool { return len(s) > 1 })
	slices.Sort(got)
	if want := slices.Sorted(maps.Keys(d.files)); !slices.Equal(got, want) {
		d.fail("the directory at %s holds %v, want %v", at.name, got, want)
	}
}
