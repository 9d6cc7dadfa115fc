package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/intercept"
	"github.com/onehost/onehost/place"
	"github.com/onehost/onehost/sys"
)

// EnvSession is set in the environment of everything in a session, to its number.
const EnvSession = "ONEHOST_SESSION"

// dialTimeout bounds the first word with the daemon.
const dialTimeout = 5 * time.Second

// endTimeout bounds the killing of what a session leaves.
const endTimeout = 5 * time.Second

// timerSlack is how late the supervisor's timers may be. It is set when CMD has been forked, which keeps its own.
const timerSlack = 500 * time.Microsecond

// Run runs the command and returns when it has ended, together with all it had elsewhere. Signals sent to this process
// meanwhile are passed to the command. If ctx ends, everything is killed. Inside a session it does not return but
// execs the command, which joins that session. The error says that the command could not be run, or that the session broke.
//
// A process can Run once at a time: it becomes a subreaper and takes over its job control signals.
func Run(ctx context.Context, cfg Config) (Status, error) {
	if len(cfg.Argv) == 0 {
		return Status{}, errors.New("no command given")
	}
	env := cfg.Env
	if env == nil {
		env = os.Environ()
	}
	path, err := exec.LookPath(cfg.Argv[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		name := cfg.Argv[0]
		if name == "" {
			name = `""`
		}
		return Status{Code: notFound(err)}, fmt.Errorf("%s: %w", name, cause(err))
	}
	if inside(env) {
		return joined(&cfg, path, env)
	}
	rules, report := cfg.Rules, cfg.Report
	if rules == nil {
		rules = place.DefaultRules()
	}
	if report == nil {
		report = silent{}
	}
	var d *daemon
	number := uint64(0)
	if !cfg.Local {
		dctx, cancel := context.WithTimeout(ctx, dialTimeout)
		d, err = dialDaemon(dctx, &cfg)
		cancel()
		if err != nil {
			return Status{Code: 125}, err
		}
		defer d.close()
		number = d.reply.Session
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return Status{Code: 125}, fmt.Errorf("PR_SET_CHILD_SUBREAPER: %w", err)
	}
	signals := catch()
	defer signals.release()
	own, err := ownProc(&cfg)
	if err != nil {
		return Status{Code: 125}, err
	}
	var before []*sys.Call
	if own != nil {
		before = own.Steps()
	}
	k, err := startKeeper(path, cfg.Argv, append(without(env, EnvSession), EnvSession+"="+strconv.FormatUint(number, 10)), before)
	if own != nil {
		own.Attached()
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
			defer cancel()
			_ = own.Wait(ctx) // somebody from outside may have entered its mount name space: then it ends with this process
		}()
	}
	if errors.Is(err, intercept.ErrInside) {
		signals.release()
		return joined(&cfg, path, env)
	}
	if err != nil {
		return Status{Code: 125}, err
	}
	_ = sys.SetTimerSlack(timerSlack) // without it all goes on as well, at more cost
	return supervise(ctx, &cfg, rules, report, d, k, signals)
}

// supervise serves the session until CMD has ended and so have its jobs.
func supervise(ctx context.Context, cfg *Config, rules *place.Rules, report Reporter, d *daemon, k *keeper, signals *signals) (Status, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := newSupervisor(ctx, cfg, rules, report, d)
	s.keeper, s.command = k.pid, k.command
	s.witness = witness{k.witness, k.counts}
	s.spreaders[k.pid] = &spreader{image: "onehost"}
	l := intercept.NewListener(k.listener)
	s.gate = l.Guard(rules.SpreaderNames(), k.command)
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx, s) }()
	s.wg.Go(s.watchStops)
	var replies sync.WaitGroup
	if d != nil {
		replies.Go(func() { d.serve(ctx) })
		s.wg.Go(func() {
			select {
			case <-d.done:
				report.Say("onehostd is gone: everything runs here from now on")
			case <-ctx.Done():
			}
		})
	}
	status, err := s.wait(k, signals)
	if err == nil && !s.ending {
		s.awaitJobs(signals)
	}
	cancel()
	k.stop(endTimeout)
	if serr := <-served; err == nil && serr != nil && !errors.Is(serr, context.Canceled) {
		err = serr
	}
	s.wg.Wait()
	s.idle.close()
	_ = k.counts.Close() // nobody is left who reads them
	l.Close()
	if d != nil {
		d.close()
		replies.Wait()
	}
	return status, err
}

// awaitJobs waits for what CMD left elsewhere; a signal to end cuts it short.
func (s *supervisor) awaitJobs(signals *signals) {
	done := make(chan struct{})
	go func() {
		s.away.Wait()
		close(done)
	}()
	for {
		select {
		case <-done:
			return
		case <-s.ctx.Done():
			return
		case sig := <-signals.ch:
			if sig != unix.SIGCONT && sig != unix.SIGTSTP && sig != unix.SIGTTIN {
				return
			}
		}
	}
}

// inside reports whether we run in a session already. The variable alone proves nothing: it may have been left in an
// environment that outlived its session.
func inside(env []string) bool {
	set := false
	for _, v := range env {
		set = set || strings.HasPrefix(v, EnvSession+"=")
	}
	if !set {
		return false
	}
	mode, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	return err == nil && mode == unix.SECCOMP_MODE_FILTER
}

// ownProc makes the /proc of the command, if it is to have one.
func ownProc(cfg *Config) (Proc, error) {
	if cfg.Proc == nil {
		return nil, nil //nolint:nilnil // none
	}
	return cfg.Proc()
}

// joined makes this process the command, in the session it is in. Whether that has a /proc of the cluster was said when it began.
func joined(cfg *Config, path string, env []string) (Status, error) {
	if cfg.Proc != nil {
		var st unix.Statfs_t
		if err := unix.Statfs("/proc", &st); err != nil || st.Type != unix.FUSE_SUPER_MAGIC {
			return Status{Code: 125}, errors.New("--proc: this is inside of a run that was begun without it")
		}
	}
	return Status{}, join(path, cfg.Argv, env)
}

// join makes this process the command, in the session it is in.
func join(path string, argv, env []string) error {
	err := syscall.Exec(path, argv, env)
	return fmt.Errorf("%s: %w", argv[0], err)
}

func without(env []string, name string) []string {
	out := make([]string, 0, len(env)+1)
	for _, v := range env {
		if !strings.HasPrefix(v, name+"=") {
			out = append(out, v)
		}
	}
	return out
}

// notFound is the shell's status for a command that cannot be run.
func notFound(err error) int {
	if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EISDIR) {
		return 126
	}
	return 127
}

func cause(err error) error {
	if e, ok := errors.AsType[*exec.Error](err); ok {
		return e.Err
	}
	return err
}
