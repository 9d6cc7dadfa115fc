package split

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
)

// grace is how long a command whose caller is gone has between SIGHUP and SIGKILL.
const grace = time.Second

// execRequest asks the init to run a program. Without TTY, stdin, stdout and stderr come with it; with TTY, stderr alone may.
type execRequest struct {
	Args    []string `json:"args"`
	Env     []string `json:"env"`
	Dir     string   `json:"dir,omitempty"`      // empty: /
	DirElse bool     `json:"dir_else,omitempty"` // / will do when there is no such directory
	User    string   `json:"user,omitempty"`     // empty: root
	TTY     bool     `json:"tty,omitempty"`
	Rows    uint16   `json:"rows,omitempty"`
	Cols    uint16   `json:"cols,omitempty"`
}

// Kinds of execEvent.
const (
	execStarted = "started" // Pid in the host; with TTY the master of the terminal comes along
	execStopped = "stopped" // TTY only: by Signal
	execExited  = "exited"  // with Code, or by Signal when that is not 0
)

type execEvent struct {
	Kind   string `json:"kind"`
	Pid    int    `json:"pid,omitempty"`
	Code   int    `json:"code,omitempty"`
	Signal int    `json:"signal,omitempty"`
}

func ended(ws unix.WaitStatus) execEvent {
	if ws.Signaled() {
		return execEvent{Kind: execExited, Signal: int(ws.Signal())}
	}
	return execEvent{Kind: execExited, Code: ws.ExitStatus()}
}

// execOrder is a signal for the program's process group.
type execOrder struct {
	Signal int `json:"signal"`
}

// program is an execRequest made ready to start.
type program struct {
	Path string              `json:"path"`
	Args []string            `json:"args"`
	Env  []string            `json:"env"`
	Dir  string              `json:"dir"`
	Cred *syscall.Credential `json:"cred,omitempty"`
}

func (in *hostInit) exec(ctx context.Context, who control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
	defer closeAll(files)
	if who.UID != 0 {
		return &control.Failure{Text: "only root may run programs in a host: use sudo", Errno: syscall.EPERM}
	}
	var req execRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return fmt.Errorf("bad request: %w", err)
	}
	p, err := req.prepare()
	if err != nil {
		return err
	}
	if req.TTY {
		return in.execTTY(ctx, c, &req, p, files)
	}
	if len(files) != 3 {
		return fmt.Errorf("a program needs 3 descriptors, %d came: %w", len(files), syscall.EBADF)
	}
	fds := make([]uintptr, len(files))
	for i, f := range files {
		fds[i] = f.Fd()
	}
	pid, end, err := in.fork(p.Path, p.Args, &syscall.ProcAttr{
		Dir: p.Dir, Env: p.Env, Files: fds, Sys: &syscall.SysProcAttr{Setsid: true, Credential: p.Cred},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", p.Args[0], err)
	}
	closeAll(files) // ours: the program's closing of a pipe must be the last
	if err := c.Send(execEvent{Kind: execStarted, Pid: pid}); err != nil {
		return hangUp(pid, end)
	}
	lost := make(chan struct{})
	go obey(c, pid, lost)
	select {
	case ws := <-end:
		return c.Send(ended(ws))
	case <-lost:
		return hangUp(pid, end)
	}
}

// obey passes the caller's signals to the process group until the caller is gone or the handler closes the connection.
func obey(c *control.Conn, group int, lost chan<- struct{}) {
	defer close(lost)
	for {
		var o execOrder
		files, err := c.Receive(&o)
		closeAll(files)
		if err != nil {
			return
		}
		_ = unix.Kill(-group, syscall.Signal(o.Signal))
	}
}

// hangUp ends a program whose caller is gone.
func hangUp(group int, end <-chan unix.WaitStatus) error {
	_ = unix.Kill(-group, unix.SIGHUP)
	_ = unix.Kill(-group, unix.SIGCONT)
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-end:
	case <-t.C:
	}
	_ = unix.Kill(-group, unix.SIGKILL) // also those that outlived their leader
	return nil
}

// prepare checks the request against the host's files and users.
func (r *execRequest) prepare() (*program, error) {
	if len(r.Args) == 0 || r.Args[0] == "" {
		return nil, &control.Failure{Text: "no command given", Errno: syscall.EINVAL}
	}
	p := &program{Args: r.Args, Env: r.Env, Dir: r.Dir}
	if st, err := os.Stat(p.Dir); p.Dir == "" || r.DirElse && (err != nil || !st.IsDir()) {
		p.Dir = "/"
	} else if err != nil {
		return nil, &control.Failure{Text: fmt.Sprintf("working directory %s: not in this host: see --bind", p.Dir), Errno: syscall.ENOTDIR}
	}
	if r.User != "" {
		if err := p.become(r.User); err != nil {
			return nil, err
		}
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range p.Env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	var err error
	p.Path, err = lookPath(r.Args[0], path, p.Dir)
	return p, err
}

// lookPath finds a program as a shell does.
func lookPath(name, path, dir string) (string, error) {
	absolute := func(p string) string {
		if filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(dir, p)
	}
	candidates := []string{absolute(name)}
	if !strings.ContainsRune(name, '/') {
		candidates = nil
		for d := range strings.SplitSeq(path, ":") {
			candidates = append(candidates, absolute(filepath.Join(d, name)))
		}
	}
	refused := false
	for _, c := range candidates {
		st, err := os.Stat(c)
		if err != nil || st.IsDir() {
			refused = refused || err == nil && len(candidates) == 1
			continue
		}
		if st.Mode()&0o111 != 0 {
			return c, nil
		}
		refused = true
	}
	if refused {
		return "", &control.Failure{Text: name + ": not a program (no execute permission)", Errno: syscall.EACCES}
	}
	return "", &control.Failure{Text: name + ": command not found", Errno: syscall.ENOENT}
}

// become makes the program another user's: a name of the host's user table, or a number.
func (p *program) become(name string) error {
	u, err := user.Lookup(name)
	if err != nil {
		uid, nerr := strconv.ParseUint(name, 10, 32)
		if nerr != nil {
			return &control.Failure{Text: fmt.Sprintf("no user %q in this host", name), Errno: syscall.EINVAL}
		}
		if u, err = user.LookupId(name); err != nil { // a number nobody bears is fine
			p.Cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
			return nil //nolint:nilerr // it needs no entry
		}
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("user %q: %w", name, err)
	}
	p.Cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	groups, err := u.GroupIds()
	if err != nil {
		return fmt.Errorf("groups of %q: %w", name, err)
	}
	for _, g := range groups {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil {
			p.Cred.Groups = append(p.Cred.Groups, uint32(n))
		}
	}
	p.Env = append(p.Env, "HOME="+u.HomeDir, "USER="+u.Username, "LOGNAME="+u.Username) // the last of a name counts
	p.Env = dedupEnv(p.Env)
	return nil
}

// dedupEnv keeps the last setting of each name.
func dedupEnv(env []string) []string {
	last := map[string]int{}
	for i, e := range env {
		name, _, _ := strings.Cut(e, "=")
		last[name] = i
	}
	out := make([]string, 0, len(last))
	for i, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if last[name] == i {
			out = append(out, e)
		}
	}
	return out
}
