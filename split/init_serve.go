package split

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
)

const (
	initSocket    = "/run/onehost/init.sock"    // in the host
	daemonControl = "/run/onehost/control.sock" // in the host
	daemonState   = "/var/lib/onehost"
	daemonLog     = "/var/log/onehostd.log"
)

// Operations of the init's socket.
const (
	opExec   = "exec"   // execRequest with descriptors; then execEvent and execOrder
	opDaemon = "daemon" // daemonStatus
	// opRestart kills the host's onehostd, if it runs, and starts it again: nothing, daemonStatus.
	opRestart = "restart"
)

// daemonStatus says how the host's onehostd does. Pid is the host's own number for it.
type daemonStatus struct {
	Pid   int    `json:"pid"`             // 0: there is none
	Ended string `json:"ended,omitempty"` // how, once it has
}

// hostInit is pid 1 of a host.
type hostInit struct {
	argv []string      // of the daemon
	next chan struct{} // held while the daemon is started again

	mu     sync.Mutex // held while forking, so that a child is known before it can be reaped
	waits  map[int]chan unix.WaitStatus
	daemon daemonStatus
	ended  chan struct{} // closed when the daemon has
}

// initStage is pid 1 of a host, until it is killed.
func initStage() error {
	report := os.NewFile(fdReport, "report")
	unix.CloseOnExec(fdReport)
	var daemon []string
	if len(os.Args) < 2 || json.Unmarshal([]byte(os.Args[1]), &daemon) != nil {
		return fail(report, errors.New("bad arguments of a host's init"))
	}
	_ = os.WriteFile("/proc/self/comm", []byte("onehost-init"), 0) // what ps shows; it would be "exe"
	// Caught and dropped, not ignored: what is ignored stays ignored in every child.
	dropped := make(chan os.Signal, 1)
	signal.Notify(dropped, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGPIPE)
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)

	in := &hostInit{argv: daemon, next: make(chan struct{}, 1), waits: map[int]chan unix.WaitStatus{}}
	server, err := control.Listen(initSocket, map[string]control.Handler{opExec: in.exec, opDaemon: in.status, opRestart: in.restart})
	if err != nil {
		return fail(report, err)
	}
	defer server.Close()
	if len(daemon) > 0 {
		if err := in.startDaemon(daemon); err != nil {
			return fail(report, err)
		}
	}
	report.Close()
	for {
		select {
		case <-dropped:
		case <-children:
			in.reap()
		}
	}
}

// fork starts a program and says where its end will be told.
func (in *hostInit) fork(path string, args []string, attr *syscall.ProcAttr) (int, <-chan unix.WaitStatus, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	pid, err := syscall.ForkExec(path, args, attr)
	if err != nil {
		return 0, nil, err
	}
	end := make(chan unix.WaitStatus, 1)
	in.waits[pid] = end
	return pid, end, nil
}

// reap buries the dead, our own children and orphans alike.
func (in *hostInit) reap() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if end := in.waits[pid]; end != nil {
			end <- ws
			delete(in.waits, pid)
		}
	}
}

func (in *hostInit) startDaemon(argv []string) error {
	for _, dir := range []string{daemonState, filepath.Dir(daemonLog)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("onehostd: %w", err)
		}
	}
	log, err := os.OpenFile(daemonLog, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("onehostd: %w", err)
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("onehostd: %w", err)
	}
	defer null.Close()
	pid, end, err := in.fork(argv[0], argv, &syscall.ProcAttr{
		Dir: "/", Env: hostEnv(), Files: []uintptr{null.Fd(), log.Fd(), log.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("onehostd (%s): %w", argv[0], err)
	}
	ended := make(chan struct{})
	in.mu.Lock()
	in.daemon, in.ended = daemonStatus{Pid: pid}, ended
	in.mu.Unlock()
	go func() {
		ws := <-end
		in.mu.Lock()
		in.daemon = daemonStatus{Ended: describe(ws)}
		in.mu.Unlock()
		close(ended)
	}()
	return nil
}

func (in *hostInit) restart(ctx context.Context, who control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
	if len(in.argv) == 0 {
		closeAll(files)
		return control.Refuse(syscall.ENOENT, "this host has no onehostd")
	}
	select {
	case in.next <- struct{}{}:
		defer func() { <-in.next }()
	case <-ctx.Done():
		closeAll(files)
		return ctx.Err()
	}
	in.mu.Lock()
	pid, ended := in.daemon.Pid, in.ended
	if pid != 0 {
		_ = unix.Kill(pid, unix.SIGKILL) // it cannot have been reaped: that takes mu
	}
	in.mu.Unlock()
	if ended != nil {
		select {
		case <-ended:
		case <-ctx.Done():
			closeAll(files)
			return ctx.Err()
		}
	}
	if err := in.startDaemon(in.argv); err != nil {
		closeAll(files)
		return err
	}
	return in.status(ctx, who, c, body, files)
}

func (in *hostInit) status(_ context.Context, _ control.Caller, c *control.Conn, _ json.RawMessage, files []*os.File) error {
	closeAll(files)
	in.mu.Lock()
	s := in.daemon
	in.mu.Unlock()
	return c.Send(s)
}

func describe(ws unix.WaitStatus) string {
	if ws.Signaled() {
		return "killed by " + unix.SignalName(ws.Signal())
	}
	return fmt.Sprintf("exited with %d", ws.ExitStatus())
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
