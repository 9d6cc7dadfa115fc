package proc

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// Wait implements Process. The status is the zombie's if its parent has not fetched it yet, and after that what the kernel keeps for
// holders of a pidfd, from Linux 6.15 on.
func (l *Local) Wait(ctx context.Context) (Status, error) {
	f, err := l.open()
	if err != nil {
		return Status{}, err
	}
	defer f.Close()
	return awaitEnd(ctx, f, l.number())
}

// open gives the process's pidfd.
func (l *Local) open() (*os.File, error) {
	fd, err := unix.PidfdOpen(l.number(), unix.PIDFD_NONBLOCK)
	switch {
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENOENT): // a thread that leads no process
		return nil, syscall.ESRCH
	case err != nil:
		return nil, err
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// awaitEnd waits for the end of the process of the pidfd, number pid here.
func awaitEnd(ctx context.Context, pidfd *os.File, pid int) (Status, error) {
	rc, err := pidfd.SyscallConn()
	if err != nil {
		return Status{}, err
	}
	if err := pidfd.SetReadDeadline(time.Time{}); err != nil {
		return Status{}, err
	}
	defer context.AfterFunc(ctx, func() { _ = pidfd.SetReadDeadline(time.Unix(1, 0)) })()
	err = rc.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		return err == nil && n > 0
	})
	if err != nil {
		return Status{}, errors.Join(ctx.Err(), err)
	}
	for range 2 { // it may pass from one to the other meanwhile
		if code, ok := zombie(pid); ok && numberOf(pidfd) == pid {
			return status(code), nil
		}
		var code int32
		var ok bool
		cerr := rc.Control(func(fd uintptr) { code, ok = sys.PidfdExit(int(fd)) })
		if cerr == nil && ok {
			return status(code), nil
		}
	}
	return Status{}, nil
}

func status(wait int32) Status {
	w := syscall.WaitStatus(wait)
	if w.Signaled() {
		return Status{Known: true, Signal: int(w.Signal()), Core: w.CoreDump()}
	}
	return Status{Known: true, Code: w.ExitStatus()}
}

// zombie gives the status of a process that has ended and was not waited for.
func zombie(pid int) (int32, bool) {
	st, err := sys.ReadProcStat(pid)
	if err != nil {
		return 0, false
	}
	return st.ExitCode()
}

// numberOf gives the number here of the process of a pidfd; -1 when it has been waited for.
func numberOf(pidfd *os.File) int {
	rc, err := pidfd.SyscallConn()
	if err != nil {
		return -1
	}
	n := -1
	_ = rc.Control(func(fd uintptr) {
		b, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(int(fd)))
		if err != nil {
			return
		}
		for line := range bytes.Lines(b) {
			if v, ok := bytes.CutPrefix(line, []byte("Pid:")); ok {
				if got := atoi(string(bytes.TrimSpace(v))); got > 0 {
					n = got
				}
			}
		}
	})
	return n
}
