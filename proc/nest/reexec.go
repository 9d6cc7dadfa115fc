package nest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// initArg marks the daemon's binary run again as a nest's init.
const initArg = "nest-init"

// initSocket is the init's end of the socket.
const initSocket = 3

// Reexec runs the init of a nest when args (os.Args) say so, and returns true when it is done: main then just returns. Call it
// first in main.
func Reexec(args []string) bool {
	if len(args) != 2 || args[0] != "onehost-nest" || args[1] != initArg {
		return false
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "onehost: the nest's init is started by onehostd only")
		return true
	}
	runInit()
	return true
}

// server is the init of a nest.
type server struct {
	conn   *conn
	groups *groups
	limits limits
	// The maker makes the processes under the filter, numbers are theirs. asks: the daemon carries out what concerns other hosts.
	maker   *maker
	numbers *numbers
	asks    bool
	space   string // the nest's pid name space, as /proc/PID/ns/pid names it
	// ignored are the signals that whoever started the daemon left ignored: they are not to reach the jobs.
	ignored uint64
	abort   int // FUSE abort file, or -1

	mu       sync.Mutex // guards what follows; held across clone, so that the reaper knows every child
	children sync.Cond  // a child has been made
	jobs     map[uint64]*job
	byPid    map[int]*job // by the number of a process that has not been waited for
	leads    map[int]*job // by the kernel's group, as long as anything of the job lives
	made     int          // children made so far
	sweeping bool         // sweep is running
	lastAsk  uint64
	answers  map[uint64]chan result // to what the daemon is asked
	echoes   map[*echo]struct{}
}

func runInit() {
	_ = os.WriteFile("/proc/self/comm", []byte("onehost-nest"), 0) // what ps shows; it would be "exe"
	unix.CloseOnExec(initSocket)
	c, err := newConn(initSocket)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	// A handler for every signal, which clone resets: processes of the nest cannot end the init, and nothing is inherited as
	// ignored. Nobody reads the channel, so signals are dropped.
	signal.Notify(make(chan os.Signal, 1))
	kind, d, fds, err := c.read()
	if err != nil || kind != msgSetup || len(fds) == 0 {
		return
	}
	s := decodeSetup(d)
	if d.err != nil {
		return
	}
	srv := &server{conn: c, groups: &groups{dir: fds[0]}, abort: -1, jobs: map[uint64]*job{}, byPid: map[int]*job{}}
	srv.leads, srv.answers, srv.echoes = map[int]*job{}, map[uint64]chan result{}, map[*echo]struct{}{}
	srv.children.L = &srv.mu
	if s.Abort && len(fds) > 1 {
		srv.abort = fds[1]
	}
	setUp := make(chan *tree, 1)
	go func() { // apart, so that the end of the daemon is seen while the file server does not answer
		t, err := srv.setUp(s)
		srv.ready(t, err)
		if err == nil {
			setUp <- t
			srv.reap()
		}
	}()
	srv.serve()
}

func (s *server) setUp(cfg setup) (*tree, error) {
	if _, err := unix.Setsid(); err != nil { // jobs' groups are in this session: see the package comment
		return nil, fmt.Errorf("setsid: %w", err)
	}
	if err := unix.Sethostname([]byte(cfg.Hostname)); err != nil {
		return nil, fmt.Errorf("host name %q: %w", cfg.Hostname, err)
	}
	t, err := makeTree(cfg)
	if err != nil {
		return nil, err
	}
	if s.numbers, err = newNumbers(t.proc, cfg.PidFirst, cfg.PidLast); err != nil {
		return nil, err
	}
	cursor, err := sys.NewCursor(s.numbers.next)
	if err != nil && !errors.Is(err, syscall.ENOSYS) {
		return nil, err
	}
	maker, listener, err := newMaker(cfg.PidFirst, cfg.PidLast, cursor == nil)
	if err != nil {
		return nil, err
	}
	s.maker, s.asks = maker, cfg.Asks
	if s.space = s.spaceOf(1); s.space == "" {
		return nil, fmt.Errorf("name of the pid name space: %w", syscall.EIO)
	}
	if cfg.Grows {
		s.numbers.short = func(has int) {
			e := newMessage(msgShort)
			e.uint(uint64(has))
			_ = s.conn.write(e)
		}
	}
	s.numbers.cursor = cursor
	if stile := listener.CountForks(); stile != nil {
		s.numbers.turnstile(stile)
	}
	if cursor != nil {
		go s.numbers.follow(cursor, s.settle, s.strays)
	}
	go func() { // as long as the init lives
		if err := listener.Each(context.Background(), s.notified); err != nil {
			s.log("its processes' calls are no longer answered: " + err.Error())
			os.Exit(1) // or they would wait for ever
		}
	}()
	s.limits, s.ignored = ownLimits(), ownStatus("SigIgn")
	unix.Umask(0)
	return t, nil
}

func (s *server) ready(t *tree, err error) {
	e := newMessage(msgReady)
	if err != nil {
		errno := syscall.EIO
		_ = errors.As(err, &errno)
		e.uint(uint64(errno))
		e.string(err.Error())
		_ = s.conn.write(e) // nobody to tell but the daemon
		return
	}
	for _, text := range t.log {
		s.log(text)
	}
	e.uint(0)
	e.string("")
	var fds []int
	if t.pts >= 0 {
		fds = append(fds, t.pts)
	}
	_ = s.conn.write(e, fds...)
}

// log tells the daemon something that a person should know.
func (s *server) log(text string) {
	l := newMessage(msgLog)
	l.string(text)
	_ = s.conn.write(l)
}

// serve reads orders until the daemon is gone. When it returns the init exits and the kernel ends the nest.
func (s *server) serve() {
	for {
		kind, d, fds, err := s.conn.read()
		if err != nil {
			break
		}
		switch kind {
		case msgStart:
			id := d.uint()
			spec, slots := decodeSpec(d)
			if d.err != nil {
				closeAll(fds)
				continue
			}
			go s.start(id, spec, slots, fds)
		case msgSignal:
			id, seq := d.uint(), d.uint()
			sig := Signal{Number: int32(d.int()), Code: int32(d.int()), Value: d.int(), From: int32(d.int()), UID: uint32(d.uint()), Group: d.bool(), N: d.uint()}
			s.done(seq, s.signal(id, sig))
		case msgKill:
			id, seq := d.uint(), d.uint()
			s.done(seq, s.kill(id))
		case msgParent:
			id, parent := d.uint(), int(d.int())
			s.mu.Lock()
			if j := s.jobs[id]; j != nil {
				j.parent = parent
			}
			s.mu.Unlock()
		case msgBlock:
			if err := s.numbers.add(int(d.int()), int(d.int())); err != nil {
				s.log("one more block of numbers: " + err.Error())
			}
			s.settle()
		case msgAnswer:
			seq, r := d.uint(), result{value: d.int(), errno: syscall.Errno(d.uint()), fd: -1}
			if len(fds) == 1 {
				r.fd, fds = fds[0], nil
			}
			s.answered(seq, r)
			closeAll(fds)
		case msgBye:
			return
		default:
			closeAll(fds)
		}
	}
	if s.abort >= 0 { // the daemon died: nobody will answer for the root any more
		_, _ = unix.Write(s.abort, []byte("1"))
	}
}

func (s *server) done(seq uint64, errno syscall.Errno) {
	e := newMessage(msgDone)
	e.uint(seq)
	e.uint(uint64(errno))
	_ = s.conn.write(e)
}
