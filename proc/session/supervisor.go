package session

import (
	"context"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/intercept"
	"github.com/onehost/onehost/place"
	"github.com/onehost/onehost/sys"
)

// supervisor serves the notifications of one session.
type supervisor struct {
	cfg     *Config
	rules   *place.Rules
	report  Reporter
	daemon  *daemon         // nil with Config.Local
	idle    idle            // connections to it that have no job
	ctx     context.Context // the session's life
	self    int
	keeper  int // its pid, and CMD's
	command int
	witness witness
	ending  bool            // run alone was asked to end: nobody waits for what CMD leaves. Supervise's alone
	open    sys.OpenFiles   // descriptors of jobs that may have to come back
	gate    *intercept.Gate // nil where there is none; told of every change to the maps below, under mu
	jobs    atomic.Uint64
	wg      sync.WaitGroup // goroutines of jobs
	away    sync.WaitGroup // jobs that are elsewhere: the session waits for them

	mu        sync.Mutex              // guards what follows
	spreaders map[int]*spreader       // by pid
	joining   map[int]*spreader       // those that are a run inside of this run, with the spreader whose candidate its command is
	locals    map[int]*os.File        // processes decided local, with their pidfds
	ghosts    map[int]*remoteJob      // by pid
	taken     map[int]<-chan struct{} // processes that are being made ghosts, until the channel is closed
}

// spreader is a live process whose children are candidates.
type spreader struct {
	image string
	rerun bool     // its commands may run a second time
	pidfd *os.File // nil for the keeper
}

func newSupervisor(ctx context.Context, cfg *Config, rules *place.Rules, report Reporter, d *daemon) *supervisor {
	return &supervisor{
		cfg: cfg, rules: rules, report: report, daemon: d, ctx: ctx, self: os.Getpid(),
		idle: idle{path: cfg.ControlPath}, spreaders: map[int]*spreader{}, joining: map[int]*spreader{}, locals: map[int]*os.File{}, ghosts: map[int]*remoteJob{}, taken: map[int]<-chan struct{}{},
	}
}

func (s *supervisor) ghost(pid int) *remoteJob {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ghosts[pid]
}

// spread records that pid is a spreader from now on, or no longer if image is not.
func (s *supervisor) spread(pid int, image string, is bool) {
	if pid == 0 {
		return
	}
	s.mu.Lock()
	old := s.spreaders[pid]
	if !is || old != nil {
		if old != nil && is {
			old.image, old.rerun = image, s.rules.Rerunnable(image)
		} else if old != nil {
			s.forgetSpreaderLocked(pid)
		}
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	pidfd, err := openPidfd(pid)
	if err != nil {
		return // dead: it has no children
	}
	sp := &spreader{image: image, rerun: s.rules.Rerunnable(image), pidfd: pidfd}
	s.mu.Lock()
	if s.spreaders[pid] == nil {
		s.gate.Spreader(pid, true)
	}
	s.spreaders[pid] = sp
	s.mu.Unlock()
	s.wg.Go(func() {
		if awaitExit(s.ctx, pidfd) == nil { // the session's end is as good
			for _, r := range s.allGhosts() {
				r.reparented()
			}
		}
		s.mu.Lock()
		if s.spreaders[pid] == sp {
			s.forgetSpreaderLocked(pid)
			delete(s.joining, pid)
			s.gate.Hold(len(s.joining) > 0)
		}
		s.mu.Unlock()
		pidfd.Close()
	})
}

// settle records that pid runs here, whatever it execs later, until it ends; then done is called.
func (s *supervisor) settle(pid int, done func()) {
	pidfd, err := openPidfd(pid)
	if err != nil {
		done()
		return
	}
	s.mu.Lock()
	s.locals[pid] = pidfd
	s.gate.Settle(pid, true)
	s.mu.Unlock()
	s.wg.Go(func() {
		_ = awaitExit(s.ctx, pidfd)
		s.mu.Lock()
		if s.locals[pid] == pidfd {
			delete(s.locals, pid)
			s.gate.Settle(pid, false)
		}
		s.mu.Unlock()
		pidfd.Close()
		done()
	})
}

// forgetSpreaderLocked takes a spreader out of the map.
func (s *supervisor) forgetSpreaderLocked(pid int) {
	if s.spreaders[pid] != nil {
		delete(s.spreaders, pid)
		s.gate.Spreader(pid, false)
	}
}

// forgetGhostLocked takes a ghost out of the map.
func (s *supervisor) forgetGhostLocked(pid int) {
	delete(s.ghosts, pid)
	s.gate.Ghost(pid, false)
}

func openPidfd(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "pidfd of "+strconv.Itoa(pid)), nil
}

// watchInterval is how often ghosts are looked at for a stop that somebody outside the session sent: it cannot be seen otherwise.
const watchInterval = 500 * time.Millisecond

func (s *supervisor) watchStops() {
	t := time.NewTicker(watchInterval)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
			s.noticeStops()
		}
	}
}

func (s *supervisor) noticeStops() {
	for _, j := range s.allGhosts() {
		if isStopped(j.pid) {
			j.stopNative()
		}
	}
}

func (s *supervisor) allGhosts() []*remoteJob {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*remoteJob, 0, len(s.ghosts))
	for _, j := range s.ghosts {
		out = append(out, j)
	}
	return out
}
