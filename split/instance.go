package split

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
)

// runDir is the parent of every split's directory.
const runDir = "/run/onehost"

// instance is a split as its name alone gives it: where everything it owns is found.
type instance string

func (i instance) suffix() string {
	if i == "" {
		return "split"
	}
	return "split-" + string(i)
}

func (i instance) dir() string       { return filepath.Join(runDir, i.suffix()) }
func (i instance) lockPath() string  { return i.dir() + ".lock" }
func (i instance) statePath() string { return filepath.Join(i.dir(), "state.json") }
func (i instance) switchPin() string { return filepath.Join(i.dir(), "switch") }
func (i instance) cgroup() string    { return "onehost-" + i.suffix() }

// hostDir holds a host's disk (upper, work) and its /run.
func (i instance) hostDir(h names.HostName) string { return filepath.Join(i.dir(), string(h)) }
func (i instance) hostRun(h names.HostName) string { return filepath.Join(i.hostDir(h), "run") }

// initSocket is where a host's init listens, outside.
func (i instance) initSocket(h names.HostName) string {
	return filepath.Join(i.hostRun(h), "onehost", filepath.Base(initSocket))
}

// flags gives the --name a person has to add to address this split.
func (i instance) flags() string {
	if i == "" {
		return ""
	}
	return " --name " + string(i)
}

// hostState is one host as the state file holds it.
type hostState struct {
	Name   names.HostName `json:"name"`
	Number int            `json:"number"`
	CPUs   []int          `json:"cpus,omitempty"` // pinned to these
	Pid    int            `json:"pid"`            // of its init; 0: killed
	Birth  uint64         `json:"birth"`          // start time of that process in ticks, against re-use of the pid
	Frozen bool           `json:"frozen,omitempty"`
	Cut    bool           `json:"cut,omitempty"`
}

// state is the state file: the configuration as resolved, and the hosts.
type state struct {
	Ready  bool         `json:"ready"` // false while Up is at work, and for ever if it was killed
	Since  time.Time    `json:"since"`
	Config Config       `json:"config"`
	Hosts  []*hostState `json:"hosts"`
}

func (s *state) host(name names.HostName) (*hostState, error) {
	known := make([]string, 0, len(s.Hosts))
	for _, h := range s.Hosts {
		if h.Name == name {
			return h, nil
		}
		known = append(known, string(h.Name))
	}
	return nil, fmt.Errorf("no host %q in this split: it has %s", name, strings.Join(known, ", "))
}

// alive reports whether the host's init is there.
func (h *hostState) alive() bool { return h.Pid != 0 && h.Birth != 0 && birth(h.Pid) == h.Birth }

// ErrNone says that no split of that name is up.
var ErrNone = errors.New("no split is up")

// load reads the state of a split that is up.
func (i instance) load() (*state, error) {
	s, err := i.read()
	if err != nil {
		return nil, err
	}
	if !s.Ready {
		return nil, fmt.Errorf("this split is being made, or the command that made it was killed: wait, or clean up with 'onehost split down%s'", i.flags())
	}
	return s, nil
}

func (i instance) read() (*state, error) {
	data, err := os.ReadFile(i.statePath())
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: start one with 'onehost split%s'", ErrNone, i.flags())
	}
	if errors.Is(err, os.ErrPermission) {
		return nil, errPrivilege
	}
	if err != nil {
		return nil, fmt.Errorf("state of the split: %w", err)
	}
	s := new(state)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("state of the split (%s): %w: clean up with 'onehost split down%s'", i.statePath(), err, i.flags())
	}
	return s, nil
}

// save replaces the state file; readers see the old one or the new one.
func (i instance) save(s *state) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("state of the split: %w", err)
	}
	next := i.statePath() + ".new"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return fmt.Errorf("state of the split: %w", err)
	}
	if err := os.Rename(next, i.statePath()); err != nil {
		return fmt.Errorf("state of the split: %w", err)
	}
	return nil
}

// lockFile is the split's lock, held.
type lockFile struct {
	f    *os.File
	path string
}

// lock waits for the split's lock, bounded by ctx and half a minute. The file is made if need be: whoever ends the split removes it while
// holding it, so a lock only counts when the path still leads to the locked file.
func (i instance) lock(ctx context.Context) (*lockFile, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if err := os.MkdirAll(runDir, 0o755); err != nil {
			return nil, privilege(err)
		}
		f, err := os.OpenFile(i.lockPath(), os.O_RDWR|os.O_CREATE, 0o600)
		if errors.Is(err, os.ErrNotExist) {
			continue // runDir was removed by a down in between
		}
		if err != nil {
			return nil, privilege(err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && sameFile(f, i.lockPath()) {
			return &lockFile{f: f, path: i.lockPath()}, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", i.lockPath(), err)
		}
		if !pause(ctx, 10*time.Millisecond) {
			return nil, fmt.Errorf("another 'onehost split' command is at work on this split: %w", ctx.Err())
		}
	}
}

func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// release lets the next command in.
func (l *lockFile) release() { l.f.Close() }

// remove lets the next command in and leaves no file; runDir goes too unless something else lives there.
func (l *lockFile) remove() {
	_ = os.Remove(l.path)
	l.f.Close()
	_ = os.Remove(runDir) // not empty: somebody's daemon or another split, which is fine
}

// pause waits for d; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// until polls a condition that has no event to wait on; false if ctx ended first.
func until(ctx context.Context, cond func() bool) bool {
	for d := time.Millisecond; !cond(); d = min(2*d, 20*time.Millisecond) {
		if !pause(ctx, d) {
			return cond()
		}
	}
	return true
}
