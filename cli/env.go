package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// Exits of the program besides run's command's own status.
const (
	exitFailed     = 1
	exitUsage      = 2
	exitRun        = 125 // run or on itself failed
	exitCannotExec = 126 // its command is there and cannot be executed
	exitNotFound   = 127 // its command is not there
)

// Env is what a command sees of the world besides the daemon.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string // as os.Getenv
	UID    int                 // whose processes are his own

	ControlPath  string // the socket when no setting names one; empty: control.DefaultPath
	SystemConfig string // the system's settings file; empty: /etc/onehost/config
	Version      string // of this program
}

// Parts are the commands' pieces that live on other floors.
type Parts struct {
	// Run starts a session and blocks until its command has ended. It returns the command's exit status; an error means
	// that onehost itself failed, and a status that is not 0 beside it is then the exit status to use. Signals that
	// arrive meanwhile are Run's own business; ctx is never cancelled by one.
	Run func(ctx context.Context, o RunOptions) (int, error)
	// Death makes this process end as a command did that ran for it, by the same signal if that is not 0 and can be; otherwise it
	// returns the exit status to use.
	Death func(code int, signal syscall.Signal) int
	// MountProc mounts a /proc of the cluster on a directory, for as long as UnmountProc does not take it away. control is the daemon's socket.
	MountProc   func(ctx context.Context, control, dir string) error
	UnmountProc func(dir string) error
	// Extra are further commands below onehost, as split's.
	Extra []*cobra.Command
}

// RunOptions are the flags of onehost run.
type RunOptions struct {
	Command  []string         // the command and its arguments, at least one word
	Hosts    []names.HostName // only these may be used; empty: all
	Slots    int              // jobs that home keeps at a time; -1: as the daemon chooses
	Local    bool             // everything stays at home
	NoLocal  bool             // candidates wait for a slot elsewhere rather than run at home
	Fallback string           // one of control.Fallback…
	Explain  bool             // say of each command where it ran and why
	Quiet    bool             // no live line, no summary
	NoColor  bool             // no colour, by flag, setting or NO_COLOR
	Proc     bool             // the command has a /proc of the cluster
	Control  string           // the daemon's socket
}

// usageError is a command line that makes no sense.
type usageError struct {
	err  error
	path string // the command whose help to read
}

func (u *usageError) Error() string { return fmt.Sprintf("%v (try '%s --help')", u.err, u.path) }
func (u *usageError) Unwrap() error { return u.err }

// PassesStatus is an annotation of commands. It says that one exits as the program that it runs, and with 125 if it could not.
const PassesStatus = "passes status"

// Usage is the error of a command line that makes no sense: the program ends with 2 and names the command's help.
func Usage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...), path: cmd.CommandPath()}
}

// statusError ends the program with a status; err may be nil when there is nothing more to say.
type statusError struct {
	status int
	err    error
}

func (s *statusError) Error() string {
	if s.err == nil {
		return fmt.Sprintf("exit status %d", s.status)
	}
	return s.err.Error()
}
func (s *statusError) Unwrap() error { return s.err }

// Main runs one command line, args without the program's name, and returns the exit status of the program. Errors have
// been told on env.Stderr, one line each.
func Main(env Env, parts Parts, args []string) int {
	root := New(env, parts)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(context.Background())
	return exitStatus(env.Stderr, cmd, err)
}

func exitStatus(stderr io.Writer, cmd *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	if s, ok := errors.AsType[*statusError](err); ok {
		if s.err != nil {
			tell(stderr, s.err)
		}
		return s.status
	}
	tell(stderr, err)
	var u *usageError
	switch {
	case cmd != nil && cmd.Annotations[PassesStatus] != "":
		return exitRun
	case errors.As(err, &u):
		return exitUsage
	default:
		return exitFailed
	}
}

// tell prints an error as one line.
func tell(w io.Writer, err error) {
	text := strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	fmt.Fprintf(w, "onehost: %s\n", text)
}

// app is one command line being carried out.
type app struct {
	env     Env
	parts   Parts
	control string
}

// call performs one operation of the daemon; it blocks at most limit, or until SIGINT or SIGTERM.
func (a *app) call(ctx context.Context, limit time.Duration, op string, req, reply any) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return control.Call(ctx, a.control, op, req, reply)
}

// colored reports whether w takes colours: a terminal, unless a flag or NO_COLOR says no.
func (a *app) colored(w io.Writer, noColor bool) bool {
	if noColor || a.env.Getenv("NO_COLOR") != "" || a.env.Getenv("TERM") == "dumb" {
		return false
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// settingsFiles lists the settings files, nearest first.
func (a *app) settingsFiles() []string {
	system := a.env.SystemConfig
	if system == "" {
		system = "/etc/onehost/config"
	}
	var files []string
	if dir := a.env.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		files = append(files, filepath.Join(dir, "onehost", "config"))
	} else if home := a.env.Getenv("HOME"); home != "" {
		files = append(files, filepath.Join(home, ".config", "onehost", "config"))
	}
	return append(files, system)
}

// readSettings reads one settings file; one that is not there, or whose directory may not be read, holds nothing.
func readSettings(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if errors.Is(err, fs.ErrPermission) { // HOME may have stayed that of another
		if _, hidden := os.Lstat(path); errors.Is(hidden, fs.ErrPermission) {
			return nil, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	defer f.Close()
	return ParseSettings(f, path)
}

// procs asks the daemon for the processes of the cluster.
func (a *app) procs(ctx context.Context, req control.ProcsRequest) (control.ProcsReply, error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	return control.Procs(ctx, a.control, req)
}
