package intercept

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/sys"
)

// Handler decides about notified calls. Each Notification must be answered once, at once or later and from any
// goroutine; the methods themselves run on the one goroutine of Serve, so what takes time belongs on another.
type Handler interface {
	// Exec is an execve or execveat.
	Exec(n *Notification)
	// Foreign is a call about a process of another host; pid is the first of its pids that is foreign.
	Foreign(n *Notification, pid names.Pid)
	// Setter is a call that changes something of pid, a number of this host, not 0; group says that it names a process group.
	Setter(n *Notification, pid int, group bool)
	// Signal sends sig to pid, a number of this host as kill(2) takes it: 0 and negative ones name groups. Those to a single process
	// are not seen, but for SIGSTOP.
	Signal(n *Notification, pid, sig int)
}

// Listener receives the notifications of one filter.
type Listener struct {
	fd   int
	file *os.File
	gate *sys.Gate // nil: none

	stile *sys.Turnstile // nil: none
}

// NewListener takes over the descriptor that came with the filter.
func NewListener(f *os.File) *Listener {
	fd := int(f.Fd())
	// Wake the receiver on the caller's own CPU: both never run at once. Kernels before 6.6 lack it and do without.
	_ = sys.SeccompFlags(fd, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	return &Listener{fd: fd, file: f}
}

// Close gives up the listener. Serve must have returned; if any process is left under the filter, its notified calls
// return ENOSYS from now on.
func (l *Listener) Close() error {
	if l.gate == nil {
		return l.file.Close()
	}
	return errors.Join(l.gate.Close(), l.file.Close())
}

// Serve hands the notifications of a session's filter to h until nobody is left under the filter (nil) or ctx ends (its error).
func (l *Listener) Serve(ctx context.Context, h Handler) error {
	rules := map[int32]rule{}
	for _, r := range table() {
		rules[int32(r.nr)] = r
	}
	if l.gate != nil {
		return l.serveGate(ctx, h, rules)
	}
	return l.Each(ctx, func(n *Notification) { dispatch(h, n, rules[int32(n.Nr)]) })
}

// Each calls f with every notification, one after the other, until nobody is left under the filter (nil) or ctx ends (its error). As
// with a Handler, f must have each answered once, and what takes time belongs on another goroutine. After CountForks ctx is not looked
// at: it goes on as long as the process.
func (l *Listener) Each(ctx context.Context, f func(*Notification)) error {
	if l.stile != nil {
		return l.eachCounted(f)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	defer unix.Close(wake)
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // fails only when it is readable already
	})
	defer func() {
		if !stop() {
			<-fired // it uses wake
		}
	}()
	fds := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil {
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			return fmt.Errorf("poll: %w", err)
		}
		if fds[1].Revents != 0 {
			return ctx.Err()
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			return nil // POLLHUP: all users are gone
		}
		var raw sys.SeccompNotif
		err := sys.SeccompReceive(l.fd, &raw)
		switch {
		case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.EINTR):
			continue // the caller died first
		case err != nil:
			return fmt.Errorf("seccomp listener: %w", err)
		}
		f(l.notification(&raw))
	}
}

func (l *Listener) notification(raw *sys.SeccompNotif) *Notification {
	return &Notification{l: l, ID: raw.ID, TID: int(raw.Pid), Nr: int(raw.Data.Nr), Compat: raw.Data.Arch != auditArch, Args: raw.Data.Args}
}

// foreign reports whether an argument names a process that this host's kernel has not: of another home, or of the half of the home's
// numbers that is leased to other hosts. Negative numbers down to -32768 name all, and groups here.
func foreign(v uint32) bool { return v>>15 != 0 && v>>15 != 0x1ffff }

func dispatch(h Handler, n *Notification, r rule) {
	if r.always {
		h.Exec(n)
		return
	}
	for _, arg := range r.pids {
		if v := uint32(n.Args[arg]); foreign(v) {
			h.Foreign(n, names.Pid(v))
			return
		}
	}
	if r.sets {
		h.Setter(n, int(int32(uint32(n.Args[r.pids[0]]))), r.namesGroup(n))
		return
	}
	if r.stop >= 0 {
		h.Signal(n, int(int32(uint32(n.Args[r.pids[0]]))), int(int32(uint32(n.Args[r.stop]))))
		return
	}
	n.Continue()
}
