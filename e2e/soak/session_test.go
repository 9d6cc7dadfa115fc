package soak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/split"
)

// Programs of the hosts: the same agent under names that the rules of placing tell apart.
const (
	toolDir = "/opt/soak"
	rules   = "spread spreader\nstay tool local\n"

	progAgent    = toolDir + "/agent"    // goes elsewhere if a spreader starts it
	progSpreader = toolDir + "/spreader" // what it starts goes elsewhere
	progLocal    = toolDir + "/local"    // stays
)

// Limits are for a machine that does much else at the same time.
const (
	answerLimit = 20 * time.Second // for what an agent is told to do at once
	beginLimit  = 30 * time.Second // from fork to hello, over a host that is lost meanwhile
	endLimit    = 15 * time.Second // for what was killed, on whatever host, to end
)

// session is an agent that `onehost run` or `onehost on` started, and its descendants.
type session struct {
	*rig
	name   string
	home   names.HostName
	front  names.HostName // where the command that started it runs
	kind   string
	user   string // who runs it
	root   *agent
	cmd    *split.Cmd
	out    lockedBuffer
	result chan error // how the command ended

	groups sync.RWMutex // held by who signals a group; read by who changes one

	mu     sync.Mutex
	serial int
	loose  map[int]bool  // signals that were sent to groups, and of which nobody knows when they come: a child that is born meanwhile may get them
	over   time.Duration // when its end began; 0: it has not
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// ending says whether the end of the session had begun.
func (s *session) ending(now time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over != 0 && s.over <= now
}

// loosen notes that a signal to a group may come at any time.
func (s *session) loosen(number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loose[number] = true
}

// mayGet says whether a signal may come to an agent that it was not sent to.
func (s *session) mayGet(number int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loose[number]
}

// end notes that from now on its agents may end.
func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over == 0 {
		s.over = s.book.now()
	}
}

// newAgent makes an agent known that is about to be started.
func (s *session) newAgent(parent *agent) *agent {
	s.mu.Lock()
	s.serial++
	n := s.serial
	s.mu.Unlock()
	a := &agent{
		name: fmt.Sprintf("%s.%d", s.name, n), session: s, home: s.home, parent: parent, native: s.kind == "on", serial: n,
		up: make(chan struct{}), gone: make(chan struct{}), answers: map[int]chan []int{}, slots: map[int]*sent{}, spawned: s.book.now(),
	}
	s.hub.expect(a)
	return a
}

// open starts a session.
func (r *rig) open(ctx context.Context, rng *rand.Rand, name string, home names.HostName) (*session, error) {
	s := &session{rig: r, name: name, home: home, front: home, result: make(chan error, 1), loose: map[int]bool{}}
	s.user = []string{"root", "root", soaker}[rng.IntN(3)]
	s.kind = []string{"run", "run", "run", "run", "run away", "on"}[rng.IntN(6)]
	s.root = s.newAgent(nil)
	var args []string
	switch s.kind {
	case "run":
		args = []string{"onehost", "run", "-q", "--no-local", progSpreader, s.root.name}
	case "run away": // all of it runs elsewhere
		args = []string{"onehost", "run", "-q", "--no-local", progAgent, s.root.name}
	case "on":
		s.front = r.anyHost(rng)
		args = []string{"onehost", "on", string(home), progAgent, s.root.name}
	}
	s.cmd = r.cluster.Host(s.front).Command(ctx, args...)
	s.cmd.Dir, s.cmd.User = "/", s.user
	s.cmd.Env = environment
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.result <- s.cmd.Wait() }()
	r.book.note(s.root, "%v on %s", args, s.front)
	if err := s.awaitUp(ctx, s.root); err != nil {
		return s, err
	}
	return s, nil
}

var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LC_ALL=C.UTF-8"}

// soaker is a user that is not root.
const soaker = "soaker"

// awaitUp waits until an agent has begun.
func (s *session) awaitUp(ctx context.Context, a *agent) error {
	timer := time.NewTimer(beginLimit)
	defer timer.Stop()
	select {
	case <-a.up:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errSilent
	}
}

// close ends a session in one of several ways, and sees to it that nothing of it is left.
func (s *session) close(ctx context.Context, rng *rand.Rand) {
	s.end()
	suspect := func() bool { return s.book.suspect(s.root.spawned, s.home, s.front, s.root.at) }
	var want func(error) bool
	var exit *split.ExitError
	way := rng.IntN(6)
	s.book.note(s.root, "the end, by way %d", way)
	switch {
	case way == 0 || s.kind == "on":
		code := rng.IntN(120)
		s.book.cause(s.root, exited(code), fmt.Sprint("told to exit with ", code))
		_, _ = s.root.say("exit %d", code)
		want = func(err error) bool {
			return code == 0 && err == nil || errors.As(err, &exit) && exit.Code == code && exit.Signal == 0
		}
	case way == 1:
		s.book.cause(s.root, killedBy(unix.SIGTERM), "told to die by 15")
		_, _ = s.root.say("die 15")
		want = func(err error) bool { return errors.As(err, &exit) && exit.Signal == unix.SIGTERM }
	case way == 2: // the command is killed
		s.book.cause(s.root, killedBy(unix.SIGKILL), "its run is killed")
		s.signal(ctx, unix.SIGKILL, s.cmd.Pid())
		want = func(err error) bool { return errors.As(err, &exit) && exit.Signal == unix.SIGKILL }
	case way == 4: // and its whole process group with it, as `kill -9 %1` does
		s.book.cause(s.root, killedBy(unix.SIGKILL), "the group of its run is killed")
		s.signal(ctx, unix.SIGKILL, -s.cmd.Pid())
		want = func(err error) bool { return errors.As(err, &exit) && exit.Signal == unix.SIGKILL }
	case way == 5: // the keeper is killed, which is the parent of all that has none
		s.book.cause(s.root, killedBy(unix.SIGKILL), "its keeper is killed")
		s.signal(ctx, unix.SIGKILL, s.root.ppid)
		want = func(err error) bool { return errors.As(err, &exit) && exit.Code == 125 }
	default: // a signal for the command
		s.book.cause(s.root, killedBy(unix.SIGHUP), "its run gets SIGHUP")
		if c, err := s.root.say("mortal 1"); err == nil {
			_, _ = s.root.hear(ctx, c, answerLimit)
		}
		s.signal(ctx, unix.SIGHUP, s.cmd.Pid())
		want = func(err error) bool { return errors.As(err, &exit) && exit.Signal == unix.SIGHUP }
	}
	if way != 2 && way < 4 || s.kind == "on" { // what was sent elsewhere goes on, and its run with it, until it ends
		// Those that have not begun yet are told when they do.
		for _, a := range s.book.present(func(a *agent) bool { return a.session == s && a != s.root }) { // also whom nobody has ended yet who was about to
			s.book.cause(a, exited(0), "told to exit, at the end")
			_, _ = a.say("exit 0")
		}
	}
	s.finish(ctx, suspect, want)
}

// signal sends one to a process, or process group, of the host where the command is. Cmd.Signal would always take its group.
func (s *session) signal(ctx context.Context, sig unix.Signal, pid int) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	for ctx.Err() == nil { // a host that is frozen takes no commands
		err := s.cluster.Host(s.front).Command(ctx, "kill", "-"+strconv.Itoa(int(sig)), "--", strconv.Itoa(pid)).Run()
		var exit *split.ExitError
		if err == nil || errors.As(err, &exit) {
			return
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// finish waits for the command's end and for that of everything it started.
func (s *session) finish(ctx context.Context, suspect func() bool, want func(error) bool) {
	timer := time.NewTimer(2 * endLimit)
	defer timer.Stop()
	select {
	case err := <-s.result:
		if !want(err) && !suspect() {
			s.book.finding(s.root, "the command of %s ended with %v\n%s", s.name, err, s.out.String())
		}
	case <-timer.C:
		s.book.finding(s.root, "the command of %s does not end", s.name)
		_ = s.cmd.Signal(unix.SIGKILL)
		return
	case <-ctx.Done():
		return
	}
	deadline := time.After(endLimit)
	s.book.mu.Lock()
	all := append([]*agent(nil), s.book.agents...)
	s.book.mu.Unlock()
	for _, a := range all {
		if a.session != s {
			continue
		}
		select {
		case <-a.gone:
		case <-deadline:
			s.book.finding(a, "%s outlives its session %s", a, s.name)
			return
		case <-ctx.Done():
			return
		}
	}
}
