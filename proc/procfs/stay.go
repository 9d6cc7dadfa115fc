package procfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// Names of the two processes that stay behind a mount, as argv[0].
const (
	keeperName = "onehost-proc-keeper"
	serverName = "onehost-proc"
)

// startTime bounds the start of the two.
const startTime = 10 * time.Second

// Mount mounts a /proc of the cluster on a directory of this process's mount name space. It returns once it is there; two processes stay until it is
// unmounted: one serves it, the other takes the mount away when that ends, whatever of; and the first ends with the second.
func Mount(ctx context.Context, control, dir string) error {
	dir, err := mountPoint(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	ready, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	keeper := command(keeperName, control, dir)
	keeper.Stderr = theirs
	keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = keeper.Start()
	theirs.Close()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = keeper.Process.Kill() })()
	// What is said before the end of the file is what went wrong.
	said, err := io.ReadAll(io.LimitReader(ready, 4096))
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("it was not there within %v", startTime)
	}
	if len(said) > 0 {
		_ = keeper.Wait() // it has said why
		return errors.New(strings.TrimSpace(string(said)))
	}
	return keeper.Process.Release()
}

func mountPoint(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return "", err
	}
	if st, err := os.Stat(abs); err != nil {
		return "", err
	} else if !st.IsDir() {
		return "", fmt.Errorf("%s: %w", abs, syscall.ENOTDIR)
	}
	if abs == "/proc" || strings.HasPrefix(abs, "/proc/") {
		return "", errors.New("this host's own /proc must stay what it is: 'onehost run --proc CMD' gives CMD a /proc of the cluster")
	}
	return abs, nil
}

// Unmount takes a mount away that Mount made. What is open there fails from now on.
func Unmount(dir string) error {
	abs, err := filepath.Abs(dir) // it may be dead: then its links cannot be followed
	if err != nil {
		return err
	}
	if is, err := mounted(abs); err != nil {
		return err
	} else if !is {
		return fmt.Errorf("%s: no /proc of the cluster is mounted there: %w", abs, syscall.EINVAL)
	}
	return unix.Unmount(abs, unix.MNT_DETACH)
}

// mounted reports whether what was mounted last on a directory is one of ours.
func mounted(dir string) (bool, error) {
	b, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return false, err
	}
	is := false
	for line := range strings.Lines(string(b)) {
		mount, about, ok := strings.Cut(line, " - ")
		f := strings.Fields(mount)
		if ok && len(f) >= 5 && sys.Unescape(f[4]) == dir {
			is = strings.HasPrefix(about, Type+" ")
		}
	}
	return is, nil
}

func command(name, control, dir string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{name, control, dir}
	cmd.Dir = "/"
	return cmd
}

// Reexec must be called first in main, with os.Args. It reports whether this process stays behind a mount; then its work is done and main must
// return.
func Reexec(args []string) bool {
	if len(args) != 3 {
		return false
	}
	if args[0] == keeperName || args[0] == serverName {
		_ = os.WriteFile("/proc/self/comm", []byte(args[0]), 0) // ps shows it; else it would be "exe"
	}
	switch args[0] {
	case keeperName:
		stay(keep(args[1], args[2]))
	case serverName:
		stay(serve(args[1], args[2]))
	default:
		return false
	}
	return true
}

func stay(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// keep runs the server and takes the mount away when it has ended.
func keep(control, dir string) error {
	server := command(serverName, control, dir)
	server.Stderr = os.Stderr
	runtime.LockOSThread() // the kernel takes the end of the thread that starts it for the end of this process
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	if err := server.Start(); err != nil {
		return err
	}
	go func() {
		for range signals {
			_ = server.Process.Signal(syscall.SIGTERM) // or it has ended
		}
	}()
	silence()
	_ = server.Wait() // however it ended
	if is, err := mounted(dir); err == nil && is {
		return unix.Unmount(dir, unix.MNT_DETACH)
	}
	return nil
}

// silence closes what Mount waits for the end of.
func silence() {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer null.Close()
	_ = unix.Dup3(int(null.Fd()), 2, 0)
}

// serve mounts and serves until it is unmounted, or this process is told to end.
func serve(control, dir string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	s, err := New(Config{ControlPath: control, Dir: dir, Native: "/proc"})
	if errors.Is(err, syscall.EPERM) {
		return errors.New("only root may mount a /proc: try again with sudo")
	}
	if err != nil {
		return err
	}
	if err := s.Attach(); err != nil {
		return err
	}
	silence()
	select {
	case <-s.Done():
	case <-signals:
		if is, err := mounted(dir); err == nil && is {
			_ = unix.Unmount(dir, unix.MNT_DETACH) // what is open there ends with this process
		}
	}
	return nil
}
