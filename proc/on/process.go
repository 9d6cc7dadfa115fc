package on

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/proc/on/onpb"
	"github.com/onehost/onehost/sys"
)

// Times of ending a command.
const (
	grace    = 2 * time.Second // between SIGHUP and SIGKILL
	killTime = 5 * time.Second // for what was killed to be gone
)

// process is a command that runs here.
type process struct {
	pid    int
	pidfd  *os.File
	group  *group
	master *os.File // of its terminal; nil if it has none
	ended  chan struct{}
}

// refused is the error of a command that the kernel would not execute.
type refused struct {
	errno syscall.Errno
	text  string
}

func (r *refused) Error() string { return r.text }
func (r *refused) Unwrap() error { return r.errno }

// own is what this daemon has and its commands must not have more, or other, than.
type own struct {
	ignored      uint64
	capabilities uint64 // bounding set
	raise        bool   // it may raise hard limits
	oomAdjust    string // what keeps the daemon alive when memory runs out
}

func readOwn() (own, error) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return own{}, err
	}
	adjust, err := os.ReadFile("/proc/self/oom_score_adj")
	o := own{oomAdjust: string(adjust)}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, ":")
		n, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil {
			continue
		}
		switch key {
		case "SigIgn":
			o.ignored = n
		case "CapBnd":
			o.capabilities = n
		case "CapEff":
			o.raise = n&(1<<unix.CAP_SYS_RESOURCE) != 0
		}
	}
	return o, err
}

// plan is a command made ready: what it executes, where, with what.
type plan struct {
	x     *onpb.Start
	dirs  []string // the last that can be entered counts
	paths []string
	argv  []string
	env   []string
}

func newPlan(x *onpb.Start) *plan {
	a, env := login(x.Uid)
	p := &plan{x: x, dirs: []string{a.home}, argv: stringsOf(x.Argv)}
	if filepath.IsAbs(string(x.Cwd)) {
		p.dirs = append(p.dirs, string(x.Cwd))
	}
	p.env = overlay(append(env, stringsOf(x.Env)...))
	if len(p.argv) == 0 {
		p.argv, p.paths = []string{"-" + filepath.Base(a.shell)}, []string{a.shell}
	} else {
		p.paths = candidates(p.argv[0], valueOf(p.env, "PATH"))
	}
	return p
}

func stringsOf(bs [][]byte) []string {
	ss := make([]string, len(bs))
	for i, b := range bs {
		ss[i] = string(b)
	}
	return ss
}

// program makes the calls of the child. files become its standard descriptors.
func (p *plan) program(o own, fds [descriptors]int, report int) *sys.Program {
	x, c := p.x, &sys.Program{}
	c.Setsid()
	base := 1 + max(report, fds[0], fds[1], fds[2], descriptors) // above all that is in use
	c.ReportTo(report, base)
	for i, fd := range fds {
		c.Dup(fd, base+1+i, true)
	}
	for i := range fds {
		c.Dup(base+1+i, i, false)
	}
	c.CloseRange(descriptors, uint(base-1))
	c.CloseRange(uint(base+1), ^uint(0)>>32)
	if x.Tty {
		c.ControllingTerminal(stdin)
	}
	c.Umask(x.Umask)
	c.Nice(int(x.Nice))
	c.TimerSlack(0)
	for r := 0; 2*r+1 < len(x.Limits) && r <= unix.RLIMIT_RTTIME; r++ {
		soft, hard := x.Limits[2*r], x.Limits[2*r+1]
		var mine unix.Rlimit
		if !o.raise && unix.Getrlimit(r, &mine) == nil {
			hard = min(hard, mine.Max)
		}
		c.Rlimit(r, min(soft, hard), hard)
	}
	for n := range 64 {
		if bit := uint64(1) << n; o.capabilities&bit != 0 && x.Capabilities&bit == 0 {
			c.DropCapability(n)
		}
	}
	c.Credentials(x.Groups, [4]uint32{x.Gid, x.Gid, x.Gid, x.Gid}, [4]uint32{x.Uid, x.Uid, x.Uid, x.Uid})
	if x.NoNewPrivs {
		c.NoNewPrivs()
	}
	for sig := 1; sig <= 64; sig++ {
		if o.ignored&(1<<(sig-1)) != 0 {
			c.Default(sig)
		}
	}
	c.SigMask(0)
	c.Chdir("/")
	for _, dir := range p.dirs {
		c.TryChdir(dir)
	}
	c.Search(p.paths, p.argv, p.env)
	return c
}

// launch starts the command; ctx bounds only that. It takes files over.
func (p *plan) launch(ctx context.Context, o own, dir string, files [descriptors]*os.File) (*process, error) {
	proc, err := p.once(ctx, o, dir, files)
	r := (*refused)(nil)
	if errors.As(err, &r) && r.errno == unix.ENOEXEC && len(p.paths) > 0 { // a script that does not say what reads it
		script := *p
		script.argv = append([]string{"sh", strings.TrimPrefix(r.text, "exec ")}, p.argv[1:]...)
		script.paths = []string{"/bin/sh"}
		proc, err = script.once(ctx, o, dir, files)
	}
	for _, f := range files {
		f.Close() // those of a terminal are the same one, which is closed already
	}
	if errors.As(err, &r) {
		name := p.paths[0]
		if len(p.x.Argv) > 0 {
			name = string(p.x.Argv[0])
		}
		return nil, &refused{r.errno, fmt.Sprintf("%s: %v", name, r.errno)}
	}
	if err == nil {
		proc.group.mortal(o.oomAdjust)
	}
	return proc, err
}

// once tries to start the command. A refused's text is the step that failed.
func (p *plan) once(ctx context.Context, o own, dir string, files [descriptors]*os.File) (*process, error) {
	g, err := newGroup(dir)
	if err != nil {
		return nil, err
	}
	proc, err := p.clone(ctx, o, g, files)
	if err != nil {
		if kerr := g.kill(); kerr != nil {
			err = errors.Join(err, kerr)
		}
		g.emptyWithin(killTime)
		if rerr := g.remove(); rerr != nil {
			err = errors.Join(err, rerr)
		}
		return nil, err
	}
	return proc, nil
}

func (p *plan) clone(ctx context.Context, o own, g *group, files [descriptors]*os.File) (*process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	defer w.Close()
	var c *sys.Program
	var pid int
	var errno syscall.Errno
	if err := withFDs(append(files[:], w), nil, func(fds []int) {
		c = p.program(o, [descriptors]int(fds[:descriptors]), fds[descriptors])
		pid, errno = sys.Clone(c, sys.CloneOptions{Cgroup: g.fd, Report: fds[descriptors]})
	}); err != nil {
		return nil, err
	}
	if errno != 0 {
		return nil, fmt.Errorf("clone: %w", errno)
	}
	w.Close()
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(past) })
	defer stop()
	err = verdict(c, r)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("the command did not start: %w", context.Cause(ctx))
		_ = g.kill() // it may hang where no other signal reaches it; the caller tries again and tells
	}
	if err == nil {
		var proc *process
		if proc, err = follow(pid, g); err == nil {
			return proc, nil
		}
		_ = g.kill()
	}
	reaped := make(chan struct{})
	go func() {
		defer close(reaped)
		_, _ = unix.Wait4(pid, nil, 0, nil)
		runtime.KeepAlive(c) // the child ran in it
	}()
	select {
	case <-reaped:
	case <-time.After(killTime): // it hangs in the kernel; its group is left for the next daemon
	}
	return nil, err
}

// verdict waits until the child has executed its program, or has failed.
func verdict(c *sys.Program, r io.Reader) error {
	for {
		var words [8]byte
		if _, err := io.ReadFull(r, words[:]); errors.Is(err, io.EOF) {
			return nil // close-on-exec
		} else if err != nil {
			return err
		}
		step, errno := int(binary.NativeEndian.Uint32(words[:4])), syscall.Errno(binary.NativeEndian.Uint32(words[4:]))
		switch name := c.StepName(step); {
		case !c.Ended(step, errno):
		case strings.HasPrefix(name, "exec "):
			return &refused{errno, name}
		default:
			return fmt.Errorf("%s: %w", name, errno)
		}
	}
}

// follow watches a child that runs.
func follow(pid int, g *group) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("pidfd_open: %w", err)
	}
	p := &process{pid: pid, pidfd: os.NewFile(uintptr(fd), "pidfd"), group: g, ended: make(chan struct{})}
	rc, err := p.pidfd.SyscallConn()
	if err != nil {
		p.pidfd.Close()
		return nil, err
	}
	go func() {
		defer close(p.ended)
		_ = rc.Read(func(fd uintptr) bool { // fails when the descriptor is closed, long after the end
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(fds, 0)
			for errors.Is(err, unix.EINTR) {
				n, err = unix.Poll(fds, 0)
			}
			return err == nil && n == 1
		})
	}()
	return p, nil
}

// withFDs calls fn with the numbers of files, which cannot be closed meanwhile.
func withFDs(files []*os.File, fds []int, fn func([]int)) error {
	if len(files) == 0 {
		fn(fds)
		return nil
	}
	var inner error
	if err := withFD(files[0], func(fd int) { inner = withFDs(files[1:], append(fds, fd), fn) }); err != nil {
		return err
	}
	return inner
}

// signal sends a signal to the command's process group. It is not reaped yet, so that the number is no other's.
func (p *process) signal(sig syscall.Signal) {
	if sig == unix.SIGTSTP { // for an orphaned group, as a session's own is, the kernel drops it
		sig = unix.SIGSTOP
	}
	_ = unix.Kill(-p.pid, sig) // a group in which nobody is left needs none
}

func (p *process) resize(rows, cols uint16) {
	if p.master != nil {
		_ = withFD(p.master, func(fd int) { // a terminal that hung up has no size
			_ = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
		})
	}
}

// hangUp ends the command and all that it started.
func (p *process) hangUp(log *slog.Logger) {
	p.group.signal(unix.SIGHUP)
	p.group.signal(unix.SIGCONT)
	if p.group.emptyWithin(grace) {
		return
	}
	if err := p.group.kill(); err != nil {
		log.Warn("killing a command", "pid", p.pid, "err", err)
	}
	if !p.group.emptyWithin(killTime) {
		log.Warn("what was killed does not end", "cgroup", p.group.path, "pids", p.group.pids())
	}
}

// reap takes the status of a command that has ended.
func (p *process) reap() unix.WaitStatus {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(p.pid, &ws, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.pidfd.Close()
	return ws
}
