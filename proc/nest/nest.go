package nest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
)

// Bounds of waiting, for things that take milliseconds when all is well.
const (
	answerTimeout = 10 * time.Second // for the init to answer a signal or kill
	closeTimeout  = 3 * time.Second  // for the processes to end, before the FUSE connection is aborted
)

// Config says what a nest is to be.
type Config struct {
	Home     names.Host
	HomeName string // for messages
	Hostname string // what uname -n says in the nest
	Root     string // the directory where the home's tree is mounted
	Binds    []Bind // laid over the root, in order
	// The block of numbers leased for descendants; FirstLease and above.
	PidFirst, PidLast int
	// The v2 cgroup, as a path from that hierarchy's root, in which the nest makes its own; empty: the daemon's own.
	Cgroup string
	// Abort is /sys/fs/fuse/connections/N/abort of the root, opened for writing, or nil. It stays the caller's.
	Abort *os.File
	// Call carries out what a process of the nest asks of the rest of the cluster; without it there is none (ESRCH).
	Call func(ctx context.Context, c Call) Result
	// More gives one more block of numbers to a nest that has so many, of which more than half are in use; nil: there are no more.
	More func(ctx context.Context, has int) (first, last int, err error)
	Log  *slog.Logger
}

// Bind lays a directory of the helper over one of the nest.
type Bind struct {
	Source   string // on the helper
	Target   string // in the nest, absolute
	ReadOnly bool
}

// Call is a system call about a process that is not in the nest. It lasts as long as Call takes.
type Call struct {
	TID  int // the calling thread, by its number on this host
	Pid  int // its process, by its number in the nest, which is the home's
	Nr   int
	Args [6]uint64 // with the group of kill(0) put in, as at home
}

// Signals reports whether the call sends a signal.
func (c *Call) Signals() bool {
	switch c.Nr {
	case unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_RT_SIGQUEUEINFO:
		return uint32(c.Args[1]) != 0
	case unix.SYS_TGKILL, unix.SYS_RT_TGSIGQUEUEINFO:
		return uint32(c.Args[2]) != 0
	}
	return false
}

// Result is how a call ends: Errno if it is not 0, otherwise a descriptor, which Nest closes, or Value.
type Result struct {
	Value int64
	Errno syscall.Errno
	File  *os.File
}

// Nest is the set of name spaces in which one home's processes run on this host.
type Nest struct {
	cfg   Config
	conn  *conn
	cmd   *exec.Cmd
	group *group
	pts   int // /dev/pts of the nest, O_PATH
	done  chan struct{}
	gone  chan struct{} // closed when the init has been waited for
	once  sync.Once
	err   error // of Close

	mu      sync.Mutex // guards what follows
	closed  bool
	nextJob uint64
	nextSeq uint64
	procs   map[uint64]*Process
	asks    map[uint64]chan syscall.Errno

	ctx    context.Context // of calls: as long as the nest lives
	cancel context.CancelFunc
	calls  sync.WaitGroup
}

// Open makes a nest. It returns when the nest can take processes; it needs root, a kernel of 6.14 or later (pid_max of its own
// for each pid name space) and the file server of Root answering meanwhile.
func Open(ctx context.Context, cfg Config) (*Nest, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	fail := func(err error) (*Nest, error) { return nil, fmt.Errorf("nest of %s: %w", cfg.HomeName, err) }
	if cfg.PidFirst < names.FirstLease || cfg.PidLast > names.MaxLease || cfg.PidLast-cfg.PidFirst < 63 {
		return fail(fmt.Errorf("pid block %d..%d: want at least 64 numbers between %d and %d: %w", cfg.PidFirst, cfg.PidLast, names.FirstLease, names.MaxLease, syscall.EINVAL))
	}
	g, err := newGroup(cfg.Cgroup, cfg.Home)
	if err != nil {
		return fail(err)
	}
	n := &Nest{
		cfg: cfg, group: g, pts: -1, done: make(chan struct{}), gone: make(chan struct{}),
		procs: map[uint64]*Process{}, asks: map[uint64]chan syscall.Errno{},
	}
	n.ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := n.spawn(); err != nil {
		n.cancel()
		g.close()
		return fail(err)
	}
	ready := make(chan error, 1)
	go n.receive(ready)
	if err = n.setUp(); err == nil {
		select {
		case err = <-ready:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		return fail(errors.Join(err, n.Close()))
	}
	return n, nil
}

// spawn starts the init in its name spaces and its cgroup.
func (n *Nest) spawn() error {
	sp, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(sp[1]), "nest")
	defer theirs.Close()
	if n.conn, err = newConn(sp[0]); err != nil {
		return err
	}
	if err := n.conn.passSenders(); err != nil {
		n.conn.close()
		return fmt.Errorf("SO_PASSCRED: %w", err)
	}
	n.cmd = exec.Command("/proc/self/exe")
	n.cmd.Args = []string{"onehost-nest", initArg}
	n.cmd.Env = []string{"GOGC=400"}
	n.cmd.Dir = "/"
	n.cmd.ExtraFiles = []*os.File{theirs}
	n.cmd.Stderr = os.Stderr // a crash of the init is told where the daemon's own is
	n.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		UseCgroupFD: true,
		CgroupFD:    n.group.fd,
	}
	if err := n.cmd.Start(); err != nil {
		n.conn.close()
		return fmt.Errorf("cannot make the name spaces (needs root): %w", err)
	}
	go func() {
		_ = n.cmd.Wait() // how the init ended is of no use: it is always killed or told to go
		close(n.gone)
	}()
	return nil
}

func (n *Nest) setUp() error {
	s := setup{
		Hostname: n.cfg.Hostname, Root: n.cfg.Root, Binds: n.cfg.Binds,
		PidFirst: n.cfg.PidFirst, PidLast: n.cfg.PidLast, Abort: n.cfg.Abort != nil, Asks: n.cfg.Call != nil, Grows: n.cfg.More != nil,
	}
	e := newMessage(msgSetup)
	s.encode(e)
	var files []*os.File
	if n.cfg.Abort != nil {
		files = append(files, n.cfg.Abort)
	}
	return withFDs(files, []int{n.group.fd}, func(fds []int) error { return n.conn.write(e, fds...) })
}

// receive handles what the init says until the socket ends.
func (n *Nest) receive(ready chan<- error) {
	defer func() {
		n.mu.Lock()
		n.closed = true
		procs := n.procs
		n.procs = map[uint64]*Process{}
		n.mu.Unlock()
		n.cancel()
		close(n.done)
		select {
		case ready <- fmt.Errorf("the init ended before the nest was made: %w", syscall.EIO):
		default:
		}
		for _, p := range procs {
			p.deliver(&Event{Kind: Lost})
		}
	}()
	for {
		kind, d, fds, err := n.conn.read()
		if err != nil {
			return
		}
		switch kind {
		case msgReady:
			errno, text := syscall.Errno(d.uint()), d.string()
			if errno != 0 {
				ready <- fmt.Errorf("%s: %w", text, errno)
				break
			}
			if len(fds) == 1 { // none where the home has no /dev
				n.pts, fds = fds[0], nil
			}
			ready <- nil
		case msgStarted:
			p := n.process(d.uint())
			r := started{pid: int(d.int()), errno: syscall.Errno(d.uint()), text: d.string()}
			if p != nil {
				if r.errno != 0 {
					n.remove(p)
				}
				p.start <- r
			}
		case msgEvent:
			p := n.process(d.uint())
			ev := &Event{
				Kind: int(d.uint()), Status: syscall.WaitStatus(d.uint()),
				User: time.Duration(d.int()), System: time.Duration(d.int()), MaxRSS: d.int(), Left: d.bool(),
				Group: int(d.int()), Session: d.bool(), After: d.uint(),
			}
			if p != nil {
				if ev.Kind == Exited {
					n.remove(p)
				}
				p.deliver(ev)
			}
		case msgDone:
			seq, errno := d.uint(), syscall.Errno(d.uint())
			n.mu.Lock()
			if c := n.asks[seq]; c != nil {
				c <- errno // capacity 1, one answer
				delete(n.asks, seq)
			}
			n.mu.Unlock()
		case msgCall:
			seq, c := d.uint(), Call{TID: n.conn.from, Pid: int(d.uint()), Nr: int(d.uint())}
			for i := range c.Args {
				c.Args[i] = d.uint()
			}
			if d.err == nil {
				n.calls.Go(func() { n.call(seq, c) })
			}
		case msgShort:
			if has := int(d.uint()); d.err == nil && n.cfg.More != nil {
				n.calls.Go(func() { n.more(has) })
			}
		case msgLog:
			n.cfg.Log.Warn("nest", "home", n.cfg.HomeName, "what", d.string())
		}
		closeAll(fds)
	}
}

func (n *Nest) add(p *Process) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return fmt.Errorf("nest of %s: it has ended: %w", n.cfg.HomeName, syscall.ESRCH)
	}
	n.nextJob++
	p.job = n.nextJob
	n.procs[p.job] = p
	return nil
}

func (n *Nest) remove(p *Process) {
	n.mu.Lock()
	delete(n.procs, p.job)
	n.mu.Unlock()
}

func (n *Nest) process(job uint64) *Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.procs[job]
}

// more gets another block for the init.
func (n *Nest) more(has int) {
	first, last, err := n.cfg.More(n.ctx, has)
	if err == nil && (first < names.FirstLease || last > names.MaxLease || first > last) {
		err = fmt.Errorf("pid block %d..%d: %w", first, last, syscall.EINVAL)
	}
	if err != nil {
		first, last = 0, 0
		if n.ctx.Err() == nil {
			n.cfg.Log.Warn("more than half of a home's numbers here are in use, and there are no more", "home", n.cfg.HomeName, "err", err)
		}
	}
	e := newMessage(msgBlock)
	e.int(int64(first))
	e.int(int64(last))
	_ = n.conn.write(e) // a nest that is gone needs none
}

// call carries out a call and tells the init how it ended.
func (n *Nest) call(seq uint64, c Call) {
	r := n.cfg.Call(n.ctx, c)
	e := newMessage(msgAnswer)
	e.uint(seq)
	e.int(r.Value)
	e.uint(uint64(r.Errno))
	if r.File == nil {
		_ = n.conn.write(e) // a nest that is gone needs no answer
		return
	}
	_ = withFDs([]*os.File{r.File}, nil, func(fds []int) error { return n.conn.write(e, fds...) })
	r.File.Close()
}

// ask sends a message that the init answers with an errno.
func (n *Nest) ask(message func(seq uint64) *encoder) error {
	answer := make(chan syscall.Errno, 1)
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return syscall.ESRCH
	}
	n.nextSeq++
	seq := n.nextSeq
	n.asks[seq] = answer
	n.mu.Unlock()
	if err := n.conn.write(message(seq)); err != nil {
		return syscall.ESRCH // the init is gone, and all its processes with it
	}
	t := time.NewTimer(answerTimeout)
	defer t.Stop()
	select {
	case errno := <-answer:
		if errno != 0 {
			return errno
		}
		return nil
	case <-n.done:
		return syscall.ESRCH
	case <-t.C:
		n.mu.Lock()
		delete(n.asks, seq)
		n.mu.Unlock()
		return syscall.ETIMEDOUT
	}
}

// Done is closed when the nest has ended, for whatever reason.
func (n *Nest) Done() <-chan struct{} { return n.done }

// InitPid is the number of the nest's init on this host; 0 after the end.
func (n *Nest) InitPid() int {
	select {
	case <-n.gone:
		return 0
	default:
		return n.cmd.Process.Pid
	}
}

// PTMX opens a new terminal of the nest's own devpts; its slave end (TIOCGPTPEER) is then known by name in the nest.
func (n *Nest) PTMX() (*os.File, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pts < 0 {
		return nil, fmt.Errorf("nest of %s: new terminal: it has ended, or the home has no /dev: %w", n.cfg.HomeName, syscall.ENXIO)
	}
	fd, err := unix.Openat(n.pts, "ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("nest of %s: new terminal: %w", n.cfg.HomeName, err)
	}
	return os.NewFile(uintptr(fd), "ptmx"), nil
}

// kill ends everything in the nest, the init too, at once.
func (n *Nest) kill() {
	n.group.kill()
	_ = n.cmd.Process.Kill() // ErrProcessDone is as good
}

// Close ends every process of the nest and everything made for it. It returns when nothing is left, or with what is. When
// processes do not end because the file server does not answer, the FUSE connection is aborted. Close may be called again.
func (n *Nest) Close() error {
	n.once.Do(func() { n.err = n.close() })
	return n.err
}

func (n *Nest) close() error {
	_ = n.conn.write(newMessage(msgBye)) // so that the init does not take the end of the socket for the daemon's death
	n.kill()
	ended := waitFor(n.gone, closeTimeout)
	if !ended && n.cfg.Abort != nil {
		_ = withFDs([]*os.File{n.cfg.Abort}, nil, func(fds []int) error { _, err := unix.Write(fds[0], []byte("1")); return err })
		ended = waitFor(n.gone, closeTimeout)
	}
	n.conn.close()
	<-n.done
	n.calls.Wait()
	n.mu.Lock()
	if n.pts >= 0 {
		unix.Close(n.pts)
		n.pts = -1
	}
	n.mu.Unlock()
	if !ended {
		return fmt.Errorf("nest of %s: its processes do not end: the file server of %s does not answer: %w", n.cfg.HomeName, n.cfg.Root, syscall.ETIMEDOUT)
	}
	return n.group.close()
}

func waitFor(c <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
		return false
	}
}
