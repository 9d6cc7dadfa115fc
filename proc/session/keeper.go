package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/intercept"
	"github.com/onehost/onehost/sys"
)

// killerName is argv[0] of a keeper that has lost its run.
const killerName = "onehost-keeper"

// Reexec must be called first in main, with os.Args. It reports whether this process was a helper of a session; then its
// work is done and main must return.
func Reexec(args []string) bool {
	if len(args) == 0 || args[0] != killerName {
		return false
	}
	killDescendants(os.Getpid(), 5*time.Second)
	return true
}

// killDescendants kills every process below pid until there is none, for at most the time given. All of their
// parents are among them or subreapers, so none can slip away.
func killDescendants(pid int, limit time.Duration) {
	for end := time.Now().Add(limit); time.Now().Before(end); {
		list := descendants(pid)
		for _, p := range list {
			_ = unix.Kill(p, unix.SIGKILL) // gone already, or a setuid program that is not ours to kill
		}
		for {
			n, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil)
			if n <= 0 && !errors.Is(err, syscall.EINTR) {
				break
			}
		}
		if len(list) == 0 {
			return
		}
		time.Sleep(2 * time.Millisecond) // they need a moment to die; what they forked meanwhile is found next time
	}
}

// keeper is run's view of the keeper and of CMD.
type keeper struct {
	pid      int
	pidfd    *os.File
	command  int // CMD's pid
	witness  int // its pid
	listener *os.File
	life     *os.File // closing it ends the keeper and all below it
	notes    *os.File
	counts   *sys.SignalCounts
}

// startKeeper starts the keeper, which starts the command. ErrInside comes back when we are in a session already; then
// nothing is left behind.
func startKeeper(path string, argv, env []string, before []*sys.Call) (k *keeper, err error) {
	prog, err := intercept.Filter()
	if err != nil {
		return nil, err
	}
	lifeR, lifeW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer lifeR.Close()
	noteR, noteW, err := os.Pipe()
	if err != nil {
		lifeW.Close()
		return nil, err
	}
	defer noteW.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		lifeW.Close()
		noteR.Close()
		return nil, err
	}
	defer unix.Close(pair[0])
	k = &keeper{life: lifeW, notes: noteR}
	pid, pidfd, counts, err := sys.StartKept(&sys.Kept{
		Path: path, Argv: argv, Env: env,
		Filter: prog, NoNewPrivs: !privileged(), NoFile: noFile(), Before: before,
		Sock: pair[1], Life: int(lifeR.Fd()), Note: int(noteW.Fd()),
		Killer: []string{killerName},
	})
	runtime.KeepAlive(lifeR)
	runtime.KeepAlive(noteW)
	unix.Close(pair[1])
	if err != nil {
		lifeW.Close()
		noteR.Close()
		return nil, fmt.Errorf("fork: %w", err)
	}
	k.pid, k.counts = pid, counts
	_ = unix.SetNonblock(pidfd, true) // makes the runtime poll it
	k.pidfd = os.NewFile(uintptr(pidfd), "keeper")
	noteW.Close() // or its end would not be seen
	lifeR.Close()
	if err := k.receive(pair[0]); err != nil {
		k.stop(time.Second)
		_ = counts.Close()
		return nil, err
	}
	return k, nil
}

// receive waits for CMD's pid and listener.
func (k *keeper) receive(sock int) error {
	n, err := k.note()
	if err == nil && n.Kind == sys.KeeperWitness {
		k.witness = int(n.Pid)
		n, err = k.note()
	}
	if err != nil {
		return fmt.Errorf("the keeper died: %w", err)
	}
	if n.Kind == sys.KeeperFailed {
		return startError(n)
	}
	if n.Kind == sys.KeeperStarted {
		k.command = int(n.Pid)
	}
	var b [1]byte
	var oob [64]byte
	for {
		_, oobn, _, _, err := unix.Recvmsg(sock, b[:], oob[:], unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("listener: %w", err)
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return fmt.Errorf("listener: %w", err)
		}
		if len(msgs) == 0 { // the command died before it could send it
			n, err := k.note()
			if err != nil {
				return fmt.Errorf("the keeper died: %w", err)
			}
			return startError(n)
		}
		fds, err := unix.ParseUnixRights(&msgs[0])
		if err != nil || len(fds) != 1 {
			return fmt.Errorf("listener: %d descriptors: %w", len(fds), err)
		}
		k.listener = os.NewFile(uintptr(fds[0]), "seccomp")
		return nil
	}
}

func startError(n sys.KeeperNote) error {
	e := syscall.Errno(n.Status)
	switch {
	case n.Kind != sys.KeeperFailed:
		return errors.New("the command died before it began")
	case n.Step == sys.StepSeccomp && e == syscall.EBUSY:
		return intercept.ErrInside
	case n.Step == sys.StepSeccomp:
		return fmt.Errorf("seccomp: %w (onehost needs CONFIG_SECCOMP_FILTER and Linux 5.9 or newer)", e)
	case n.Step >= sys.StepBefore:
		return fmt.Errorf("a /proc of the command's own, step %d: %w", n.Step-sys.StepBefore, e)
	case n.Step == sys.StepExec:
		return &exec.Error{Name: "command", Err: e}
	}
	return fmt.Errorf("starting the command, step %d: %w", n.Step, e)
}

// note reads one record; io.EOF when the keeper is gone.
func (k *keeper) note() (sys.KeeperNote, error) {
	b := make([]byte, sys.KeeperNoteSize)
	if _, err := io.ReadFull(k.notes, b); err != nil {
		return sys.KeeperNote{}, err
	}
	return sys.ParseKeeperNote(b), nil
}

// ask asks for a KeeperAnswer, which comes after the notes of all that has become of CMD until now.
func (k *keeper) ask() error {
	_, err := k.life.Write([]byte{0})
	return err
}

// stop ends the keeper and all below it, and waits for it as long as given.
func (k *keeper) stop(limit time.Duration) {
	k.life.Close()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var w unix.WaitStatus
	err := awaitExit(ctx, k.pidfd)
	for err == nil {
		if _, err = unix.Wait4(k.pid, &w, 0, nil); !errors.Is(err, syscall.EINTR) {
			break
		}
		err = nil
	}
	if err != nil || !w.Exited() || w.ExitStatus() != 0 { // it hangs or was killed: its children are ours now
		killDescendants(os.Getpid(), limit)
	}
	k.pidfd.Close()
	k.notes.Close()
}

// awaitExit waits until the process of a pidfd has ended. The pidfd must be non-blocking.
func awaitExit(ctx context.Context, pidfd *os.File) error {
	rc, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = pidfd.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	return rc.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		return n > 0 || (err != nil && !errors.Is(err, syscall.EINTR))
	})
}

// privileged reports whether a filter may be set without PR_SET_NO_NEW_PRIVS: CAP_SYS_ADMIN is effective.
func privileged() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// noFile gives the RLIMIT_NOFILE we were started with. The runtime raised the soft limit, keeps the old one to itself and
// puts it back before an exec: one that must fail brings it to light.
func noFile() unix.Rlimit {
	var raised, first unix.Rlimit
	_ = unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &raised)
	_ = syscall.Exec("", []string{""}, nil) // ENOENT is what it is for
	_ = unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &first)
	_ = unix.Prlimit(0, unix.RLIMIT_NOFILE, &raised, nil)
	return first
}
