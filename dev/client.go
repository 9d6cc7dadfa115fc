package dev

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/link"
)

// Shipper makes a file, in the tree the process will see, whose reads and writes are o's. release forgets it, when the process
// has ended.
type Shipper interface {
	Ship(o *Object) (path string, release func(), err error)
}

// FD is one descriptor for a process to be started: File, which stays the Set's, or else Path to be opened with Flags where the process
// will run, if it is the file with inode number Ino still, unless that is 0. Those with the same File are one open file.
type FD struct {
	N     int
	File  *os.File
	Path  string
	Flags int
	Ino   uint64
}

// Options say how to make what is given to a process.
type Options struct {
	// Ship makes the files of shipped descriptors. Without it only output can be given for them, and a job that reads is refused.
	Ship Shipper
	// Find gives a file of the home by its name there, of which no part is a symbolic link, as a bare path (O_PATH); nil: its reads
	// are shipped.
	Find func(path string) (*os.File, error)
	// PTMX opens the master of a new terminal, non-blocking; nil: /dev/ptmx of this host.
	PTMX func() (*os.File, error)
	// BeforeForward, if any, is called before each piece of output goes home to a pipe, a socket or a terminal: whoever reads the output must see
	// the files written before it.
	BeforeForward func(ctx context.Context) error
	// AfterRead, if any, is called before what was read from such a one is handed over: the reader must see the files that were written at home before
	// it, as far as seq (of Changes).
	AfterRead func(ctx context.Context, seq uint64) error
}

// Client makes local descriptors for those kept at home.
type Client struct {
	log *slog.Logger
	seq atomic.Uint64
}

// NewClient makes a client.
func NewClient(log *slog.Logger) *Client {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Client{log: log}
}

// Set is what was made for the descriptors of one process.
type Set struct {
	cancel   context.CancelFunc
	life     context.Context
	line     *line
	pumps    []*pump
	consoles []*console
	// Of those consoles that are read; nil once the processes have ended.
	keyboards []*keyboard
	feeds     []*feed
	opened    []*opened
	given     []*os.File // the process's ends
	releases  []func()
	released  bool
	began     bool // the feeds run
}

// Open makes the descriptors that desc (of Server.Describe) describes, for a process of the home at the other end of conn. The
// Set must be closed when the process and its descendants have ended.
func (c *Client) Open(ctx context.Context, conn *link.Conn, desc []byte, o Options) ([]FD, *Set, error) {
	ds, err := Unmarshal(desc)
	if err != nil {
		return nil, nil, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Set{cancel: cancel, life: life, line: newLine(conn, o)}
	fds := make([]FD, 0, len(ds))
	outputs := map[int]*os.File{} // by Same
	byName := map[int]*os.File{}  // by Open
	for _, d := range ds {
		fd := FD{N: d.N}
		obj := newObject(s.line, &c.seq, d, life)
		kind := d.Kind
		if kind == Shipped && o.Ship == nil && d.Flags&unix.O_ACCMODE == unix.O_WRONLY {
			kind = Output
		}
		switch kind {
		case Output:
			if fd.File = outputs[d.Same]; fd.File == nil || d.Same == 0 {
				fd.File, err = s.output(d, obj)
				outputs[d.Same] = fd.File
			}
		case Terminal:
			if fd.File = outputs[d.Same]; fd.File == nil || d.Same == 0 {
				fd.File, err = s.terminal(d, ds, obj, o)
				outputs[d.Same] = fd.File
			}
		case Path:
			fd.Path, fd.Flags, fd.Ino = d.Path, d.Flags&^(unix.O_CREAT|unix.O_EXCL|unix.O_TRUNC), d.Ino
		case Ended:
			fd.File, err = s.ended()
		case Input:
			if fd.File = outputs[d.Same]; fd.File == nil {
				fd.File, err = s.input(obj)
				outputs[d.Same] = fd.File
			}
		default:
			if fd.File = byName[d.Open]; fd.File == nil || d.Open == 0 {
				fd.File = s.open(d, obj, o)
				byName[d.Open] = fd.File
			}
			if fd.File == nil {
				err = s.ship(obj, &fd, o.Ship)
			}
		}
		if err != nil {
			s.Close()
			return nil, nil, fmt.Errorf("descriptor %d: %w", d.N, err)
		}
		fds = append(fds, fd)
	}
	for _, p := range s.pumps {
		p.began = true
		go p.run(life)
	}
	s.began = true
	for _, f := range s.feeds {
		go f.run(life)
	}
	return fds, s, nil
}

func (s *Set) ship(obj *Object, fd *FD, shipper Shipper) error {
	if shipper == nil {
		return fmt.Errorf("its reads cannot be shipped here: %w", syscall.EOPNOTSUPP)
	}
	path, release, err := shipper.Ship(obj)
	if err != nil {
		return err
	}
	s.releases = append(s.releases, release)
	fd.Path, fd.Flags = path, obj.flags&(unix.O_ACCMODE|unix.O_APPEND|unix.O_NONBLOCK)
	return nil
}

func (s *Set) ended() (*os.File, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	unix.Close(p[1])
	f := os.NewFile(uintptr(p[0]), "ended pipe")
	s.given = append(s.given, f)
	return f, nil
}

func (s *Set) output(d Desc, obj *Object) (*os.File, error) {
	near, far, err := pipe(d.Flags)
	if err != nil {
		return nil, err
	}
	s.given = append(s.given, far)
	s.pumps = append(s.pumps, newPump(near, nil, obj))
	return far, nil
}

// terminal makes one terminal of all the descriptors that are the same at home: d, whose object is obj, and others among all. Some of
// these may have been opened for one direction only.
func (s *Set) terminal(d Desc, all []Desc, obj *Object, o Options) (*os.File, error) {
	other := func(d Desc) *Object {
		return newObject(obj.line, obj.seq, d, obj.life)
	}
	var in, out *Object
	for _, x := range all {
		if x.Kind != Terminal || x.Same != d.Same || d.Same == 0 && x.N != d.N {
			continue
		}
		if out == nil && x.Flags&unix.O_ACCMODE != unix.O_RDONLY {
			out = other(x)
		}
		if in == nil && x.Reads {
			in = other(x)
		}
	}
	access := unix.O_RDWR
	if out == nil {
		access, out = unix.O_RDONLY, obj
	}
	c, far, err := terminal(d, access, o.PTMX)
	if err != nil {
		return nil, err
	}
	c.obj = out
	s.given = append(s.given, far)
	s.consoles = append(s.consoles, c)
	s.pumps = append(s.pumps, newPump(c.near, c, out))
	if in != nil {
		s.keyboards = append(s.keyboards, &keyboard{console: c, obj: in})
	}
	return far, nil
}

// pipe makes a pipe whose read end, near, is non-blocking; the other end has the flags of the home's.
func pipe(flags int) (near, far *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	err = unix.SetNonblock(p[0], true)
	if err == nil && flags&unix.O_NONBLOCK != 0 {
		err = unix.SetNonblock(p[1], true)
	}
	if err != nil {
		unix.Close(p[0])
		unix.Close(p[1])
		return nil, nil, err
	}
	return os.NewFile(uintptr(p[0]), "output"), os.NewFile(uintptr(p[1]), "output"), nil
}

// Release closes this process's copies of what was given to the started process, so that the end of its writers can be seen.
// Drain and Close do it too.
func (s *Set) Release() {
	if s.released {
		return
	}
	s.released = true
	for _, f := range s.given {
		f.Close()
	}
}

// Drain waits until everything written so far is at home, or for ctx. It is called when the process has ended and before that is told.
// What the home no longer takes is dropped.
func (s *Set) Drain(ctx context.Context) error {
	s.stopKeyboards()
	s.Release()
	for _, p := range s.pumps {
		if err := p.drain(ctx); err != nil {
			return err
		}
	}
	for _, f := range s.opened {
		if err := f.settle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// SetWinsize gives the local terminals a new size. Their processes hear of it as they do of every signal.
func (s *Set) SetWinsize(rows, cols uint16) {
	for _, c := range s.consoles {
		_ = control(c.near, func(fd int) { // closed, if the home's hung up
			_ = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
		})
	}
}

// Close ends everything; what was not drained is lost, and a writer that is left gets SIGPIPE. It waits for the pumps.
func (s *Set) Close() {
	s.cancel()
	s.stopKeyboards()
	s.Release()
	for _, p := range s.pumps {
		p.close()
	}
	for _, f := range s.feeds {
		f.near.Close()
		if s.began {
			<-f.done
		}
	}
	for _, f := range s.opened {
		unix.Close(f.fd)
	}
	s.feeds, s.opened = nil, nil
	for _, release := range s.releases {
		release()
	}
	s.releases = nil
}
