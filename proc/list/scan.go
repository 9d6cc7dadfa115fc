package list

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/list/listpb"
	"github.com/onehost/onehost/sys"
)

// maxCommand is how many bytes of a command line are told, at most.
const maxCommand = 16 << 10

// How old what rarely changes of a process may be in a list that need not be exact; the ages are spread so that not all of it is read again at
// once. Such a list is shared for shareFor, and for shareCost times as long as it took to read: then no display takes more than a thirtieth of a CPU.
const (
	refreshAfter = 4 * time.Second
	refreshOver  = 4 * time.Second
	shareFor     = 300 * time.Millisecond
	shareCost    = 30
)

// Nest is the nest of a home on this host.
type Nest struct {
	Home names.Host
	Init int // the number of its init on this host
}

// Config says where a Reader learns what /proc does not tell.
type Config struct {
	Nests     func() []Nest             // of this host
	Elsewhere func() map[int]names.Host // this host's processes that are on other hosts, by the numbers of their ghosts
}

// Reader reads the processes of this host. It may be used by several goroutines, and reads for one at a time.
type Reader struct {
	cfg   Config
	users users

	mu    sync.Mutex // guards what follows
	boot  time.Time  // when this host started, by its clock of now
	known map[int]*known
	turn  uint64
	last  *answer   // to somebody for whom it need not be exact
	until time.Time // it may be given to others
	buf   []byte
	procs map[int]*seen // of the reading under way
}

// known is what is kept of a process from one reading to the next.
type known struct {
	start   uint64 // with its number this says which process it is
	turn    uint64 // of the last reading that saw it
	read    time.Time
	comm    string
	command string
	status  status
	pgid    int // when status was read, as /proc has it
	session int
	home    names.Host // whose nest it is in; names.Here: in none
}

// seen is a process in a reading.
type seen struct {
	stat  sys.ProcStat
	known *known
}

// answer is what one host has to say. It is not changed once made.
type answer struct {
	procs   []*listpb.Proc
	own     []uint32 // of each process the user it is visible to where others' are hidden
	users   map[uint32]string
	unnamed int
	read    time.Time
}

// NewReader makes a reader.
func NewReader(cfg Config) *Reader {
	return &Reader{cfg: cfg, users: users{path: "/etc/passwd"}, known: map[int]*known{}, buf: make([]byte, maxCommand)}
}

// read lists the processes of this host and of its nests, ghosts marked.
func (r *Reader) read(recent bool) (*answer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if recent && r.last != nil && now.Before(r.until) {
		return r.last, nil
	}
	ghosts := r.cfg.Elsewhere()
	if err := r.look(now, recent); err != nil {
		return nil, err
	}
	// One that went elsewhere, or came to its end there, while /proc was read is one that was there: its nest lists it.
	for pid, host := range r.cfg.Elsewhere() {
		if ghosts == nil {
			ghosts = map[int]names.Host{}
		}
		ghosts[pid] = host
	}
	a := r.answer(ghosts)
	a.read, r.procs = now, nil
	if recent {
		r.last, r.until = a, now.Add(max(shareFor, shareCost*time.Since(now)))
	}
	return a, nil
}

// look reads /proc into r.procs.
func (r *Reader) look(now time.Time, recent bool) error {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return fmt.Errorf("clock: %w", err)
	}
	// A process is to have one start in all lists, unless the clock is set.
	if boot := now.Add(-time.Duration(up.Nano())); boot.Sub(r.boot).Abs() > 20*time.Millisecond {
		r.boot = boot.Round(0)
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return err
	}
	entries, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	r.turn++
	r.procs = make(map[int]*seen, len(entries))
	nests := r.inits()
	for _, name := range entries {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if s := r.process(name, now, recent); s != nil {
			s.known.turn = r.turn
			if below := len(s.known.status.pids) - 1; below > 0 && s.known.home == names.Here {
				s.known.home = nests.of(name, below) // a nest that is being made is none yet
			}
			r.procs[pid] = s
		}
	}
	for pid, k := range r.known {
		if k.turn != r.turn {
			delete(r.known, pid)
		}
	}
	return nil
}

// process reads one process; nil if it is gone.
func (r *Reader) process(name string, now time.Time, recent bool) *seen {
	b, err := r.file(name, "/stat")
	if err != nil {
		return nil
	}
	st, err := sys.ParseProcStat(b)
	if err != nil {
		return nil
	}
	k := r.known[st.Pid]
	if k != nil && k.start != st.Start {
		k = nil
	}
	age := refreshAfter + refreshOver*time.Duration(st.Pid%64)/64
	if k != nil && recent && k.comm == string(st.Comm) && now.Sub(k.read) < age {
		st.Comm = nil
		return &seen{st, k}
	}
	next := &known{start: st.Start, read: now, comm: string(st.Comm), pgid: st.Pgid, session: st.Session}
	st.Comm = nil // the buffer is used again
	if k != nil {
		next.home = k.home
	}
	if b, err = r.file(name, "/status"); err != nil {
		return nil
	}
	if next.status, err = parseStatus(b); err != nil {
		return nil
	}
	if b, err = r.file(name, "/cmdline"); err != nil {
		return nil
	}
	if len(b) == 0 && k != nil && k.command != "["+k.comm+"]" { // in the midst of an exec, or dead: to be read again
		next.read = time.Time{}
	}
	next.command = command(b, next.comm)
	if k != nil && k.command == next.command {
		next.command = k.command // one copy is enough
	}
	r.known[st.Pid] = next
	return &seen{st, next}
}

// file reads a file of a process by bare system calls, as much of it as the buffer holds.
func (r *Reader) file(pid, name string) ([]byte, error) {
	fd, err := unix.Open("/proc/"+pid+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n := 0
	for n < len(r.buf) {
		m, err := unix.Read(fd, r.buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n += m; m == 0 || name != "/cmdline" { // the others come whole
			break
		}
	}
	return r.buf[:n], nil
}

// command makes one line of the words of /proc/PID/cmdline.
func command(b []byte, comm string) string {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	if len(b) == 0 {
		return "[" + comm + "]"
	}
	line := make([]byte, len(b))
	for i, c := range b {
		if c == 0 {
			c = ' '
		}
		line[i] = c
	}
	return string(line)
}
