package dev

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/sys"
)

// Desc describes one inherited descriptor to the helper.
type Desc struct {
	N     int    `json:"n"`
	Kind  Kind   `json:"k"`
	ID    uint64 `json:"i,omitempty"` // of the Server; not for Path and Ended
	Path  string `json:"p,omitempty"` // of Path; of Shipped, where the file may be opened by name instead
	Flags int    `json:"f,omitempty"` // access mode and status flags of the home's open file
	// Same numbers the descriptors that are one pipe, terminal or socket.
	Same int `json:"s,omitempty"`
	// Open numbers the descriptors that are one open file, with one offset, where Same does not tell.
	Open   int  `json:"q,omitempty"`
	Stream bool `json:"u,omitempty"` // a pipe, a socket, a terminal or the like
	// The inode number of a file or directory that may be opened by name: what has the name later may be another.
	Ino uint64 `json:"o,omitempty"`
	// Of a file that may be opened by name.
	At, Size int64 `json:",omitempty"`
	// Of a terminal.
	Reads   bool          `json:"r,omitempty"` // what is typed is for it
	Termios *unix.Termios `json:"t,omitempty"`
	Winsize *unix.Winsize `json:"w,omitempty"`
}

// maxDescs bounds what a peer may ask a helper to make.
const maxDescs = 250

// Marshal packs descriptions for the exec message.
func Marshal(ds []Desc) ([]byte, error) { return json.Marshal(ds) }

// Unmarshal reads what Marshal packed.
func Unmarshal(b []byte) ([]Desc, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var ds []Desc
	if err := json.Unmarshal(b, &ds); err != nil {
		return nil, fmt.Errorf("descriptors of a job: %w: %w", err, syscall.EBADMSG)
	}
	if len(ds) > maxDescs {
		return nil, fmt.Errorf("descriptors of a job: %d are over the limit of %d: %w", len(ds), maxDescs, syscall.EBADMSG)
	}
	seen := map[int]bool{}
	for _, d := range ds {
		if d.N < 0 || seen[d.N] || d.Kind <= Stay || d.Kind > Input || d.Kind == Path && d.Path == "" {
			return nil, fmt.Errorf("descriptor %d of a job (%v) is wrong: %w", d.N, d.Kind, syscall.EBADMSG)
		}
		seen[d.N] = true
	}
	return ds, nil
}

// Describe takes over the inherited descriptors of a process, which are numbered ns there, and describes them for the
// helper; files stay the caller's. job is the process, 0 if unknown, and run the supervisor that holds what it holds. release forgets them again, when the job is over. When one cannot go the error says why, in
// a few words.
func (s *Server) Describe(job, run int, ns []int, files []*os.File) (desc []byte, release func(), err error) {
	if len(ns) != len(files) || len(ns) > maxDescs {
		return nil, nil, fmt.Errorf("%d descriptors, of which %d came: at most %d can go: %w", len(ns), len(files), maxDescs, syscall.EINVAL)
	}
	var ids []uint64
	release = func() {
		for _, id := range ids {
			s.Remove(id)
		}
	}
	type identity struct{ dev, ino, rdev uint64 }
	groups := map[identity]int{}
	var shipped []*os.File // by Open-1
	ds := make([]Desc, 0, len(ns))
	for i, f := range files {
		d := Desc{N: ns[i]}
		var reason string
		var as seen
		cerr := control(f, func(fd int) {
			if d.Kind, reason = classify(d.N, fd, &as); d.Kind == Stay {
				return
			}
			d.Flags = as.flags
			if d.Kind == Terminal {
				d.Termios, _ = unix.IoctlGetTermios(fd, unix.TCGETS)
				d.Winsize, _ = unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
				// Descriptors 1 and 2 are open for both too, as a rule, and hardly ever read.
				d.Reads = d.Flags&unix.O_ACCMODE != unix.O_WRONLY && d.N != 1 && d.N != 2
			}
		})
		if cerr != nil || d.Kind == Stay {
			release()
			return nil, nil, fmt.Errorf("%s: %w", reason, syscall.EOPNOTSUPP)
		}
		switch d.Kind {
		case Path:
			if as.st.Mode&unix.S_IFMT == unix.S_IFCHR {
				d.Path = devicePath(as.st.Rdev)
				break
			}
			d.Path, d.Ino = as.link, as.st.Ino
			id, err := s.Add(f) // the number cannot become another's while the descriptor is kept
			if err != nil {
				release()
				return nil, nil, err
			}
			ids = append(ids, id)
		case Ended:
		default:
			id, err := s.addFor(f, job)
			if err != nil {
				release()
				return nil, nil, err
			}
			ids = append(ids, id)
			d.ID = id
			d.Stream = stream(as.st.Mode & unix.S_IFMT)
			d.refine(holder{job, run}, f, &as.st, as.link)
			key := identity{as.st.Dev, as.st.Ino, as.st.Rdev}
			if groups[key] == 0 {
				groups[key] = len(groups) + 1
			}
			d.Same = groups[key]
			if d.Kind == Shipped {
				at := slices.IndexFunc(shipped, func(g *os.File) bool { return sameOpen(f, g) })
				if at < 0 {
					at, shipped = len(shipped), append(shipped, f)
				}
				d.Open = at + 1
			}
		}
		ds = append(ds, d)
	}
	if desc, err = Marshal(ds); err != nil {
		release()
		return nil, nil, err
	}
	return desc, release, nil
}

func sameOpen(f, g *os.File) (same bool) {
	_ = control(f, func(a int) { // one that was closed is no other's
		_ = control(g, func(b int) { same = sys.SameOpenFile(a, b) })
	})
	return same
}

// refine sees whether what would be shipped read by read can be had at less cost, and be more like what it is at home.
func (d *Desc) refine(who holder, f *os.File, st *unix.Stat_t, link string) {
	if d.Kind != Shipped || d.Flags&unix.O_ACCMODE == unix.O_WRONLY || d.Flags&unix.O_NONBLOCK != 0 {
		return
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO, unix.S_IFSOCK:
		if who.alone(link) {
			d.Kind = Input
		}
	case unix.S_IFREG:
		if d.Flags&unix.O_ACCMODE != unix.O_RDONLY || strings.HasSuffix(link, " (deleted)") {
			return // writers share one offset
		}
		if names.EveryHostsOwn(link) {
			return
		}
		_ = control(f, func(fd int) {
			if at, err := unix.Seek(fd, 0, unix.SEEK_CUR); err == nil {
				d.Path, d.Ino, d.At, d.Size = link, st.Ino, at, st.Size
			}
		})
	}
}
