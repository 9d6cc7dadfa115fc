package semantics

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Mode is what the cases run in.
type Mode string

// The modes.
const (
	Native Mode = "native" // in no session
	Local  Mode = "local"  // in a session that keeps everything at home
	Remote Mode = "remote" // in a session that sends elsewhere what can go
)

// words begin a command of the mode.
func (m Mode) words() []string {
	switch m {
	case Local:
		return []string{"onehost", "run", "--explain", "--local"}
	case Remote:
		return []string{"onehost", "run", "--explain", "--no-local"}
	}
	return nil
}

// Names under which this program runs itself.
const (
	selfName   = "semantics"
	reexecCase = "case"
	reexecRun  = "run"
	reexecKeep = "keep"
)

// Reexec takes over when this program was started by the suite for its own ends, and gives its exit status.
func Reexec(args []string) (status int, ours bool) {
	if len(args) < 3 || !strings.HasSuffix(args[0], selfName) {
		return 0, false
	}
	switch args[1] {
	case reexecCase:
		c, ok := Cases[args[2]]
		if !ok || c.inside == nil {
			fmt.Fprintf(os.Stderr, "no case %q\n", args[2])
			return 2, true
		}
		c.inside(os.Stdout)
		return 0, true
	case reexecKeep:
		return keep(args[2:]), true
	case reexecRun:
		if err := runAll(context.Background(), Mode(args[2]), args[3:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// Result is what a case did in one mode.
type Result struct {
	Name   string
	Out    string   // its transcript, with how it ended
	Err    string   // what it said besides
	Away   int      // processes that ran elsewhere
	Home   []string // why others did not
	Failed string   // it could not be run at all, or not to its end
	Took   time.Duration
}

// Where everything of the suite lies in the home.
const (
	Root    = "/home/semantics"
	toolDir = "/usr/local/lib/semantics"
)

// atOnce is how many cases of a mode run side by side.
const atOnce = 4

// caseLimit ends a case that hangs.
const caseLimit = 20 * time.Second

// runAll runs cases in one mode and writes a Result for each, as JSON. It is what the suite starts in the home.
func runAll(ctx context.Context, m Mode, names []string, out io.Writer) error {
	b := bench{bin: filepath.Join(toolDir, "bin"), lib: filepath.Join(toolDir, "lib")}
	var mu sync.Mutex // guards enc
	enc := json.NewEncoder(out)
	type job struct {
		name   string
		serial int
	}
	work := make(chan job)
	var wg sync.WaitGroup
	var failed error
	for range atOnce {
		wg.Go(func() {
			for next := range work {
				r := b.one(ctx, m, next.name, next.serial)
				mu.Lock()
				failed = errors.Join(failed, enc.Encode(r))
				mu.Unlock()
			}
		})
	}
	for i, name := range names {
		work <- job{name, i}
	}
	close(work)
	wg.Wait()
	return failed
}

// one runs one case.
func (b bench) one(ctx context.Context, m Mode, name string, serial int) (r Result) {
	began := time.Now()
	r.Name = name
	defer func() { r.Took = time.Since(began) }()
	c, ok := Cases[name]
	if !ok {
		r.Failed = "no such case"
		return r
	}
	dir := filepath.Join(Root, string(m), strconv.Itoa(serial)+"-"+strings.ReplaceAll(name, "/", "-"))
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o777), os.Chmod(dir, 0o777)); err != nil {
		r.Failed = err.Error()
		return r
	}
	argv, err := c.program(b, name, dir)
	if err != nil {
		r.Failed = err.Error()
		return r
	}
	trace := filepath.Join(dir, "trace")
	if err := os.WriteFile(trace, nil, 0o666); err != nil {
		r.Failed = err.Error()
		return r
	}
	if c.Shape != Outside {
		argv = append(m.words(), argv...)
	}
	self := filepath.Join(b.bin, selfName)
	cmd := exec.CommandContext(ctx, self, append([]string{reexecKeep, caseLimit.String()}, argv...)...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "ONEHOST_NO_COLOR=1", "TERM=dumb",
		"PYTHONPATH=" + b.lib, "PYTHONDONTWRITEBYTECODE=1", "SEM_LIB=" + b.lib, "SEM_DIR=" + dir, "SEM_TRACE=" + trace,
		"RUN=" + strings.Join(m.words(), " "), "QUIET=" + strings.ReplaceAll(strings.Join(m.words(), " "), "--explain", "-q"),
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	status, theirs, err := os.Pipe()
	if err != nil {
		r.Failed = err.Error()
		return r
	}
	defer status.Close()
	cmd.ExtraFiles = []*os.File{theirs}                   // statusFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // keep, not the case, leads a group in every mode
	err = cmd.Run()
	theirs.Close()
	ended, readErr := io.ReadAll(status)
	r.Out, r.Err = stdout.String()+"= "+string(ended)+"\n", stderr.String()
	switch {
	case cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == keptTooLong:
		r.Failed = fmt.Sprintf("it did not end within %v", caseLimit)
	case err != nil:
		r.Failed = err.Error()
	case readErr != nil:
		r.Failed = readErr.Error()
	}
	r.where(trace)
	return r
}

// explained is a line of --explain, and tally the last line of a run.
var (
	explained = regexp.MustCompile(`^(h\d+|home) +\d+\.\d\ds (?:\(([^)]*)\) )?`)
	tally     = regexp.MustCompile(`^\d+ jobs?: \d+ remote, `)
)

// where takes from the errors what onehost said of places, and adds what the cases themselves noted in the trace.
func (r *Result) where(trace string) {
	var rest []string
	for _, line := range strings.SplitAfter(r.Err, "\n") {
		switch found := explained.FindStringSubmatch(line); {
		case found != nil && found[1] == "home":
			r.Home = append(r.Home, found[2])
		case found != nil:
			r.Away++
		case tally.MatchString(line):
		default:
			rest = append(rest, line)
		}
	}
	r.Err = strings.Join(rest, "")
	noted, err := os.ReadFile(trace)
	if err == nil {
		r.Away += strings.Count(string(noted), "elsewhere\n")
	}
}

// run runs a command of the preparations.
func run(dir string, argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", argv[0], err, out)
	}
	return nil
}

// prepare runs a script in the directory of a case before it.
func prepare(b bench, dir, text string) error {
	if text == "" {
		return nil
	}
	return run(dir, "/bin/sh", "-e", "-c", "lib="+b.lib+"\nbin="+b.bin+"\n"+text)
}
