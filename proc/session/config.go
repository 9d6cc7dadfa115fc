package session

import (
	"context"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/place"
	"github.com/onehost/onehost/sys"
)

// Config says what to run and how. CMD gets this process's standard descriptors, directory, process group and terminal.
type Config struct {
	Argv        []string             // the command; the first word is looked up in PATH
	Env         []string             // nil: os.Environ
	ControlPath string               // the daemon's socket; empty: control.DefaultPath
	Hosts       []names.HostName     // only these; empty: all
	Slots       int                  // slots of home; -1: as the daemon chooses
	NoLocal     bool                 // candidates that can go must go, even what is too cheap to
	Local       bool                 // no job goes anywhere, and no daemon is needed
	Fallback    string               // one of the control.Fallback constants
	Proc        func() (Proc, error) // makes a /proc of the cluster for the command; nil: it has the host's own
	Rules       *place.Rules         // nil: place.DefaultRules
	Report      Reporter             // nil: nobody is told
}

// Proc is a /proc that is served meanwhile, and seen by the command alone, with all that it starts.
type Proc interface {
	Steps() []*sys.Call // what makes the process that makes them see it
	Attached()          // they have been made, or will not be
	Wait(ctx context.Context) error
}

// Reporter hears what becomes of every candidate. Its methods are called from many goroutines and must not block.
type Reporter interface {
	// JobLocal: the job runs here, for the reason. It may follow JobRemote, when the job's host was lost.
	JobLocal(job uint64, command, reason string)
	// JobRemote: the job runs on the host. Again for each host it was begun on.
	JobRemote(job uint64, command string, host names.HostName)
	// JobDone: the job ended; status as a shell has it, -1 if unknown (local jobs are others' children). cpu is
	// 0 where unknown. A job that never got to run has no JobDone.
	JobDone(job uint64, status int, cpu, wall time.Duration)
	// Say prints one line for the person.
	Say(line string)
}

type silent struct{}

func (silent) JobLocal(uint64, string, string)                   {}
func (silent) JobRemote(uint64, string, names.HostName)          {}
func (silent) JobDone(uint64, int, time.Duration, time.Duration) {}
func (silent) Say(string)                                        {}

// Status is how a command ended: with Code, or by Signal if that is not 0.
type Status struct {
	Code   int
	Signal syscall.Signal
}

// Shell gives the status as a shell has it in $?.
func (s Status) Shell() int {
	if s.Signal != 0 {
		return 128 + int(s.Signal)
	}
	return s.Code
}

// Death prepares this process to end as the command did and returns the code to exit with: if the command died by a
// signal it tries to die by the same one, without a core file, and returns only if that cannot be.
func (s Status) Death() int {
	if s.Signal == 0 {
		return s.Code
	}
	signal.Reset()
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	sys.Die(s.Signal)
	return s.Shell()
}

func statusOf(w unix.WaitStatus) Status {
	if w.Signaled() {
		return Status{Signal: w.Signal()}
	}
	return Status{Code: w.ExitStatus()}
}
