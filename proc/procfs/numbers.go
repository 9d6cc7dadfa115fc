package procfs

import (
	"bytes"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// view is how a process of another host, or in a nest, looks from here.
type view struct {
	host   names.Host    // its home, names.Here if that is this host: what its numbers get as host part
	row    *control.Proc // what is known of its family; nil: nothing
	self   names.Host
	boot   time.Time // of this host
	thread bool      // the file is a thread's
}

// numberedFiles are those whose numbers are translated, by their last word.
var numberedFiles = map[string]func(v *view, b []byte) []byte{
	"stat": (*view).stat, "status": (*view).status, "children": (*view).children,
}

// translated reports whether a file of a process has numbers that are translated.
func translated(file string) bool {
	dir, name := path.Split(file)
	return numberedFiles[name] != nil && (dir == "" || strings.HasPrefix(dir, "task/") && strings.Count(dir, "/") == 2)
}

func (v *view) translate(file string, b []byte) []byte {
	v.thread = file != path.Base(file)
	return numberedFiles[path.Base(file)](v, b)
}

// pid gives a number of the home's space as it is seen from here. 0 is nobody anywhere.
func (v *view) pid(n uint64) uint64 {
	if n == 0 || n > names.MaxLease || v.host == names.Here {
		return n
	}
	return uint64(names.MakePid(v.host, int(n)))
}

// known gives a pid of the list likewise.
func (v *view) known(p names.Pid) string {
	if p.Host() == v.self {
		p = names.Pid(p.Local())
	}
	return p.String()
}

// word translates a number in a text; what is none stays as it is, as -1.
func (v *view) word(w []byte) []byte {
	n, err := strconv.ParseUint(string(w), 10, 32)
	if err != nil {
		return w
	}
	return strconv.AppendUint(nil, v.pid(n), 10)
}

// Fields of /proc/PID/stat behind the name, from 0: the state.
const (
	statParent  = 1
	statGroup   = 2
	statSession = 3
	statTTY     = 4
	statTTYGrp  = 5
	statStart   = 19
)

// ticks is the unit of times in /proc/PID/stat, on every architecture that Linux still has.
const ticks = 100

// stat translates /proc/PID/stat.
func (v *view) stat(b []byte) []byte {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')') // the name may hold anything
	if open < 1 || end < open || end+2 > len(b) {
		return b
	}
	out := append([]byte(nil), v.word(bytes.TrimSpace(b[:open]))...)
	out = append(out, ' ')
	out = append(out, b[open:end+1]...)
	fields := bytes.Fields(b[end+1:])
	for i, f := range fields {
		switch i {
		case statParent, statGroup, statSession:
			f = v.word(f)
			if v.row != nil {
				f = []byte(v.known([]names.Pid{v.row.PPid, v.row.PGid, v.row.Session}[i-statParent]))
			}
		case statTTY:
			if v.row != nil {
				f = strconv.AppendInt(nil, int64(ttyNumber(v.row.TTY)), 10)
			}
		case statTTYGrp:
			f = v.word(f)
		case statStart:
			if v.row != nil && !v.thread {
				f = strconv.AppendInt(nil, max(0, int64(v.row.Started.Sub(v.boot)/(time.Second/ticks))), 10)
			}
		}
		out = append(append(out, ' '), f...)
	}
	return append(out, '\n')
}

// ttyNumber gives a terminal's device number as the kernel writes it; 0 for none, and for one that has no number everywhere.
func ttyNumber(name string) int32 {
	major, digits := 4, strings.TrimPrefix(name, "tty")
	if n, ok := strings.CutPrefix(name, "pts/"); ok {
		major, digits = 136, n
	}
	n, err := strconv.ParseUint(digits, 10, 20)
	if err != nil || major == 4 && n > 63 {
		return 0
	}
	if major == 136 && n < 8<<8 {
		major, n = major+int(n>>8), n&0xff
	}
	return int32(uint32(n&0xff) | uint32(major)<<8 | uint32(n&^0xff)<<12)
}

// status translates /proc/PID/status.
func (v *view) status(b []byte) []byte {
	var out []byte
	for line := range bytes.Lines(b) {
		key, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			out = append(out, line...)
			continue
		}
		switch string(key) {
		case "PPid":
			if v.row != nil {
				value = []byte("\t" + v.known(v.row.PPid) + "\n")
				break
			}
			value = v.each(value)
		case "NSpgid":
			value = v.family(value, func(r *control.Proc) names.Pid { return r.PGid })
		case "NSsid":
			value = v.family(value, func(r *control.Proc) names.Pid { return r.Session })
		case "Pid", "Tgid", "Ngid", "TracerPid", "NStgid", "NSpid":
			value = v.each(value)
		}
		out = append(append(append(out, key...), ':'), value...)
	}
	return out
}

// family is each, with the first number as it is at home.
func (v *view) family(value []byte, of func(*control.Proc) names.Pid) []byte {
	value = v.each(value)
	if words := bytes.Fields(value); v.row != nil && len(words) > 0 {
		words[0] = []byte(v.known(of(v.row)))
		value = append([]byte("\t"), append(bytes.Join(words, []byte("\t")), '\n')...)
	}
	return value
}

// each translates each number of a line, and leaves what is between.
func (v *view) each(value []byte) []byte {
	var out []byte
	for len(value) > 0 {
		n := 0
		for n < len(value) && value[n] >= '0' && value[n] <= '9' {
			n++
		}
		if n > 0 {
			out = append(out, v.word(value[:n])...)
			value = value[n:]
			continue
		}
		out = append(out, value[0])
		value = value[1:]
	}
	return out
}

// children translates /proc/PID/task/TID/children.
func (v *view) children(b []byte) []byte { return v.each(b) }
