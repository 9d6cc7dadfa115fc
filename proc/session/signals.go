package session

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// signals are those that people send to run. They are caught, never ignored: CMD would inherit that.
type signals struct {
	ch   chan os.Signal
	ends []os.Signal // those that go to CMD
}

func catch() *signals {
	s := &signals{ch: make(chan os.Signal, 64), ends: []os.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2}}
	for _, sig := range append([]os.Signal{unix.SIGTSTP, unix.SIGTTIN, unix.SIGCONT}, s.ends...) {
		if !signal.Ignored(sig) { // nohup: CMD ignores it too
			signal.Notify(s.ch, sig)
		}
	}
	return s
}

func (s *signals) release() { signal.Stop(s.ch) }

// errKeeper says that the keeper was killed.
var errKeeper = errors.New("the session's keeper was killed: everything of the session was ended")

// wait follows CMD to its end, passing signals to it and stopping and continuing with it.
func (s *supervisor) wait(k *keeper, sig *signals) (Status, error) {
	notes := make(chan sys.KeeperNote, 16)
	go func() {
		defer close(notes)
		for {
			n, err := k.note()
			if err != nil {
				return
			}
			select {
			case notes <- n:
			case <-s.ctx.Done():
				return
			}
		}
	}()
	groups := groupSignals{witness: &s.witness, of: map[syscall.Signal]*toAll{}}
	failed := error(nil)
	alone := time.NewTimer(0) // runs while a SIGCONT may have come to run alone
	alone.Stop()
	asked := false // the keeper has a question, and the answer is to come
	doubt := false // it was about that SIGCONT: if there is news of CMD before the answer, CMD got it too
	for {
		select {
		case <-s.ctx.Done():
			return Status{Signal: unix.SIGKILL}, s.ctx.Err()
		case <-alone.C:
			switch {
			case !isStopped(k.command):
			case asked: // the keeper stands still
				alone.Reset(aloneTime)
			default:
				asked = k.ask() == nil
				doubt = asked
			}
		case n, ok := <-notes:
			if !ok {
				return Status{Code: 125}, errKeeper
			}
			switch n.Kind {
			case sys.KeeperAnswer:
				if doubt && isStopped(k.command) { // by what was heard of before the SIGCONT
					_ = unix.Kill(k.command, unix.SIGCONT)
				}
				asked, doubt = false, false
			case sys.KeeperFailed: // the exec; the status follows
				failed = fmt.Errorf("%s: %w", s.cfg.Argv[0], syscall.Errno(n.Status))
			case sys.KeeperStatus:
				alone.Stop() // CMD is not as it was
				doubt = false
				w := unix.WaitStatus(n.Status)
				switch {
				case w.Stopped():
					// What stopped CMD's group may have stopped us before we read this, and who continued us CMD too.
					sys.AwaitGroupKills()
					if isStopped(k.command) {
						s.stopSelf(w.StopSignal(), k.command)
					}
				case w.Exited(), w.Signaled():
					return statusOf(w), failed
				}
			}
		case got := <-sig.ch:
			number := got.(syscall.Signal)
			switch number {
			case unix.SIGTSTP, unix.SIGTTIN: // CMD got it too, and we stop when it has
			case unix.SIGCONT:
				doubt = false
				alone.Reset(aloneTime)
			default:
				if !groups.took(number) { // or CMD has its own
					s.ending = s.ending || ends(number)
					_ = unix.Kill(k.command, number) // dead: its status is on the way
				}
			}
		}
	}
}

// ends reports whether a signal asks who gets it to end.
func ends(sig syscall.Signal) bool {
	return sig == unix.SIGTERM || sig == unix.SIGINT || sig == unix.SIGHUP || sig == unix.SIGQUIT
}

// aloneTime is how long after a SIGCONT that run got, with no news of CMD, the keeper is asked for news. If it has none and CMD is stopped, then by a stop
// from before the SIGCONT, which CMD did not get. Passing it on at once would undo a stop that came after it.
const aloneTime = 50 * time.Millisecond

func isStopped(pid int) bool {
	st, err := sys.ReadProcStat(pid)
	return err == nil && st.State == 'T'
}

// stopTimeout bounds the wait for jobs elsewhere to stop.
const stopTimeout = 500 * time.Millisecond

// stopSelf stops run as CMD is stopped, and by the same signal, so that the shell sees its job stopped; first what the jobs elsewhere need to
// stop is passed on. It returns when somebody continues us, or has continued CMD before we were stopped.
func (s *supervisor) stopSelf(sig syscall.Signal, command int) {
	for end := time.Now().Add(stopTimeout); time.Now().Before(end) && !s.stoppedAll(); {
		time.Sleep(5 * time.Millisecond)
	}
	s.noticeStops() // nobody can while we are stopped
	still := func() bool {
		sys.AwaitGroupKills() // who continues us continues CMD in the same stroke
		return isStopped(command)
	}
	if sig != unix.SIGSTOP && !orphaned() {
		sys.Stop(sig, still)
	} else if still() {
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
	}
}

// orphaned reports whether the signals of job control would not stop us: the process group is orphaned, as far as our own parent tells.
func orphaned() bool {
	self, err := sys.ReadProcStat(os.Getpid())
	if err != nil {
		return true
	}
	parent, err := sys.ReadProcStat(self.Ppid)
	if err != nil || parent.Pgid == self.Pgid {
		return true
	}
	ours, err := unix.Getsid(0)
	if err != nil {
		return true
	}
	its, err := unix.Getsid(self.Ppid)
	return err != nil || its != ours
}
