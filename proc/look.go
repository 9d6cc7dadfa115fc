package proc

import (
	"strings"
	"syscall"

	"github.com/onehost/onehost/proc/procpb"
)

// LookKind says what of a file is asked for.
type LookKind uint32

// Kinds of Look.
const (
	LookStat LookKind = iota + 1 // mode and owner
	LookRead                     // what is in a file, with mode and owner
	LookLink                     // where a link leads
	LookList                     // the names in a directory
)

// Bounds of looking.
const (
	MaxLooks   = 16       // questions at a time
	MaxView    = 64 << 10 // bytes of a file in one answer
	MaxEntries = 1000     // names in one answer
)

// Look is one question about what /proc shows of a process.
type Look struct {
	Kind   LookKind
	Path   string // below the process's directory, as "task/7/stat"; empty: the directory itself
	Offset int64  // of LookRead in bytes, of LookList in names
	Size   int    // of LookRead, 1..MaxView
}

// View answers a Look.
type View struct {
	Errno    syscall.Errno // 0: it worked
	Mode     uint32        // of LookStat and LookRead
	UID, GID uint32
	Data     []byte // of LookRead and LookLink
	Entries  []Entry
	More     bool // there may be more behind it
}

// Entry is a name in a directory. Type is as in struct dirent: DT_DIR and so on.
type Entry struct {
	Name string
	Type uint32
}

// dirs are the directories of a process that may be looked into, with how many words may follow their names. Beside them there is task, below which
// every thread has the same again.
var dirs = map[string]int{"fd": 1, "fdinfo": 1, "ns": 1, "attr": 2, "map_files": 1, "net": 3}

// unread are files that cannot be read as a text that ends: memory as such.
var unread = map[string]bool{"mem": true, "pagemap": true, "clear_refs": true}

// memory are the files that the kernel shows to whoever has the same memory as the process, whatever his rights.
var memory = map[string]bool{
	"environ": true, "auxv": true, "maps": true, "smaps": true, "smaps_rollup": true, "numa_maps": true, "map_files": true,
}

// check says whether a look may be done: it must name something of the process itself, and lead over no link, all of which the kernel follows
// without a look at the path.
func (l *Look) check() syscall.Errno {
	if l.Kind < LookStat || l.Kind > LookList || l.Offset < 0 || l.Kind == LookRead && (l.Size < 1 || l.Size > MaxView) {
		return syscall.EINVAL
	}
	if l.Path == "" {
		return 0
	}
	words := strings.Split(l.Path, "/")
	for _, w := range words {
		if w == "" || w == "." || w == ".." || strings.IndexByte(w, 0) >= 0 {
			return syscall.ENOENT
		}
	}
	if words[0] == "task" {
		if len(words) > 1 && atoi(words[1]) <= 0 {
			return syscall.ENOENT
		}
		words = words[min(2, len(words)):]
	}
	if len(words) == 0 {
		return 0
	}
	if len(words)-1 > dirs[words[0]] || words[0] == "task" {
		return syscall.ENOENT
	}
	if l.Kind == LookRead && (unread[words[0]] || words[0] == "fd" || words[0] == "map_files") {
		return syscall.EOPNOTSUPP
	}
	return 0
}

// ofMemory reports whether a look is at the process's memory.
func (l *Look) ofMemory() bool {
	words := strings.Split(l.Path, "/")
	if words[0] == "task" && len(words) > 2 {
		words = words[2:]
	}
	return memory[words[0]] && l.Kind != LookStat
}

func lookMessages(looks []Look) []*procpb.Look {
	out := make([]*procpb.Look, len(looks))
	for i, l := range looks {
		out[i] = &procpb.Look{Kind: uint32(l.Kind), Path: []byte(l.Path), Offset: l.Offset, Size: uint32(l.Size)}
	}
	return out
}

func looksOf(ms []*procpb.Look) []Look {
	out := make([]Look, len(ms))
	for i, m := range ms {
		out[i] = Look{Kind: LookKind(m.GetKind()), Path: string(m.GetPath()), Offset: m.GetOffset(), Size: int(m.GetSize())}
	}
	return out
}

func viewMessages(views []View) []*procpb.View {
	out := make([]*procpb.View, len(views))
	for i, v := range views {
		out[i] = &procpb.View{Errno: int32(v.Errno), Mode: v.Mode, Uid: v.UID, Gid: v.GID, Data: v.Data, More: v.More}
		for _, e := range v.Entries {
			out[i].Entries = append(out[i].Entries, &procpb.Entry{Name: []byte(e.Name), Type: e.Type})
		}
	}
	return out
}

func viewsOf(ms []*procpb.View) []View {
	out := make([]View, len(ms))
	for i, m := range ms {
		out[i] = View{Errno: syscall.Errno(m.GetErrno()), Mode: m.GetMode(), UID: m.GetUid(), GID: m.GetGid(), Data: m.GetData(), More: m.GetMore()}
		for _, e := range m.GetEntries() {
			out[i].Entries = append(out[i].Entries, Entry{string(e.GetName()), e.GetType()})
		}
	}
	return out
}
