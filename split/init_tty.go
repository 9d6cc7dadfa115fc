package split

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
)

// A terminal session in a host: a leader of ours (argTTY), which owns a new terminal, and the program as a process group of its own in
// the foreground. The leader is there for ^Z: a process group whose parent is outside its session is orphaned, and the kernel
// does not stop those. The leader tells the init of stops and of the end over a pipe.

// Descriptors of the leader, besides the terminal at 0 and 1 and stderr at 2.
const (
	fdProgram = 3 // read: a program, then end of file
	fdEvents  = 4 // write: execEvents
)

func (in *hostInit) execTTY(_ context.Context, c *control.Conn, req *execRequest, p *program, files []*os.File) error {
	master, slave, err := openTerminal(req.Rows, req.Cols, p.Cred)
	if err != nil {
		return err
	}
	defer master.Close()
	defer slave.Close()
	stderr := slave
	if len(files) > 0 {
		stderr = files[0]
	}
	programR, programW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer programR.Close()
	defer programW.Close()
	eventsR, eventsW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer eventsR.Close()
	defer eventsW.Close()
	leader, end, err := in.fork("/proc/self/exe", []string{argTTY}, &syscall.ProcAttr{
		Dir: "/", Env: hostEnv(), Files: []uintptr{slave.Fd(), slave.Fd(), stderr.Fd(), programR.Fd(), eventsW.Fd()},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0},
	})
	if err != nil {
		return fmt.Errorf("terminal session: %w", err)
	}
	programR.Close()
	eventsW.Close()
	slave.Close()
	closeAll(files)
	if err := json.NewEncoder(programW).Encode(p); err != nil {
		return errors.Join(err, hangUp(leader, end))
	}
	programW.Close()
	events := json.NewDecoder(eventsR)
	var first execEvent
	if err := events.Decode(&first); err != nil || first.Kind != execStarted {
		_ = hangUp(leader, end)
		return &control.Failure{Text: p.Args[0] + ": " + syscall.Errno(first.Code).Error(), Errno: syscall.Errno(first.Code)}
	}
	if err := c.Send(first, master); err != nil {
		_ = unix.Kill(-first.Pid, unix.SIGKILL)
		return hangUp(leader, end)
	}
	master.Close() // the caller's now: when it goes, the terminal hangs up
	lost := make(chan struct{})
	go obey(c, first.Pid, lost)
	told := make(chan error, 1)
	go func() { told <- forward(events, c) }()
	select {
	case err := <-told:
		<-end
		return err
	case <-lost:
		_ = unix.Kill(-first.Pid, unix.SIGHUP)
		_ = unix.Kill(-first.Pid, unix.SIGCONT)
		_ = hangUp(leader, end)
		_ = unix.Kill(-first.Pid, unix.SIGKILL)
		<-told //nolint:errcheck // that the caller is gone is known
		return nil
	}
}

// forward passes the leader's events on, up to the end of the program. A leader that was killed took its program along.
func forward(events *json.Decoder, c *control.Conn) error {
	for {
		var e execEvent
		if err := events.Decode(&e); err != nil {
			e = execEvent{Kind: execExited, Signal: int(unix.SIGKILL)}
		}
		if err := c.Send(e); err != nil || e.Kind == execExited {
			return err
		}
	}
}

// openTerminal makes a terminal of the host. The master does not block, so that whoever gets it can wait with a bound.
func openTerminal(rows, cols uint16, owner *syscall.Credential) (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("terminal: %w", err)
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	defer func() {
		if err != nil {
			master.Close()
		}
	}()
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, fmt.Errorf("terminal: %w", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, fmt.Errorf("terminal: %w", err)
	}
	name := "/dev/pts/" + strconv.Itoa(n)
	if owner != nil {
		if err := os.Chown(name, int(owner.Uid), -1); err != nil {
			return nil, nil, fmt.Errorf("terminal: %w", err)
		}
	}
	if rows > 0 && cols > 0 {
		if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
			return nil, nil, fmt.Errorf("terminal: %w", err)
		}
	}
	slave, err = os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("terminal: %w", err)
	}
	return master, slave, nil
}

// ttyStage is the leader of a terminal session.
func ttyStage([]string) int {
	_ = os.WriteFile("/proc/self/comm", []byte("onehost-tty"), 0)
	unix.CloseOnExec(fdProgram)
	unix.CloseOnExec(fdEvents)
	events := json.NewEncoder(os.NewFile(fdEvents, "events"))
	raw, err := io.ReadAll(os.NewFile(fdProgram, "program"))
	var p program
	if err != nil || json.Unmarshal(raw, &p) != nil {
		return 1
	}
	pid, err := syscall.ForkExec(p.Path, p.Args, &syscall.ProcAttr{
		Dir: p.Dir, Env: p.Env, Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Foreground: true, Ctty: 0, Credential: p.Cred},
	})
	if err != nil {
		var errno syscall.Errno
		_ = errors.As(err, &errno)
		_ = events.Encode(execEvent{Kind: "failed", Code: int(errno)})
		return 1
	}
	if events.Encode(execEvent{Kind: execStarted, Pid: pid}) != nil {
		return 1 // the init is gone, and with it this host
	}
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(pid, &ws, unix.WUNTRACED, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 1
		case ws.Stopped():
			_ = events.Encode(execEvent{Kind: execStopped, Signal: int(ws.StopSignal())})
		default:
			_ = events.Encode(ended(ws))
			return 0
		}
	}
}
