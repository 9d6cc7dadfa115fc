package ghost

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/intercept"
	"github.com/onehost/onehost/sys"
)

// ErrExecFailed says that the kernel refused the exec: the process goes on as if nobody had looked.
var ErrExecFailed = errors.New("the exec failed")

// ErrDied says that the process died before its exec was through.
var ErrDied = errors.New("the process died")

// takeoverTimeout bounds an exec: reading the image from a slow disk, waiting for its other threads to end.
const takeoverTimeout = 30 * time.Second

// Held is a process stopped at PTRACE_EVENT_EXEC. It belongs to the thread that took it.
type Held struct {
	Pid  int
	Mask uint64 // blocked signals it came with
}

// Takeover lets the notified exec happen and holds the process right after. n is answered in every case but one: an
// error that Seizable reports false for is returned before the answer, and the caller must Continue.
//
// The calling goroutine must be locked to its thread, and stay so until Convert or Release. tgid is the process that n.TID
// belongs to.
func Takeover(n *intercept.Notification, tgid int) (*Held, error) {
	if err := supported(); err != nil {
		return nil, &NotSeized{err}
	}
	if err := sys.PtraceSeize(n.TID, unix.PTRACE_O_TRACEEXEC); err != nil {
		return nil, &NotSeized{fmt.Errorf("it cannot be traced: %w", err)}
	}
	if !n.Valid() { // the number was given away between the notification and the seizure
		if err := interruptAndDetach(n.TID); err != nil {
			return nil, err
		}
		return nil, ErrDied
	}
	// The interrupt waits until the call is over. If the exec goes through, its event comes first and the interrupt
	// is dropped by the detach; if it fails, the interrupt is the event, and nobody has to guess by time.
	if err := interrupt(n.TID); err != nil {
		n.Continue()
		return nil, ErrDied
	}
	n.Continue()
	return await(n.TID, tgid)
}

// NotSeized is an error from before the notification was answered: answer it.
type NotSeized struct{ Err error }

func (e *NotSeized) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *NotSeized) Unwrap() error { return e.Err }

func await(tid, tgid int) (*Held, error) {
	deadline := time.Now().Add(takeoverTimeout)
	for {
		pid, status, err := waitStop(tid, tgid, deadline)
		switch {
		case err != nil:
			return nil, err
		case status.Exited(), status.Signaled():
			if pid != tid && pid != tgid {
				continue
			}
			return nil, ErrDied
		case !status.Stopped():
			continue
		}
		switch event := int(status) >> 16; {
		case event == unix.PTRACE_EVENT_EXEC:
			return hold(pid)
		case event == unix.PTRACE_EVENT_STOP && status.StopSignal() == unix.SIGTRAP:
			letGo(pid, 0)
			return nil, ErrExecFailed
		case event == unix.PTRACE_EVENT_STOP: // a group stop
			letGo(pid, 0)
			return nil, ErrExecFailed
		default: // a signal reached it before the interrupt did: the exec is over without its event
			letGo(pid, int(status.StopSignal()))
			return nil, ErrExecFailed
		}
	}
}

// waitStop waits for the tracee's next event. A thread that is not the leader takes the leader's number in its exec, and
// a wait for its old number would then sleep for ever: such ones are asked after by turns.
func waitStop(tid, tgid int, deadline time.Time) (int, unix.WaitStatus, error) {
	var status unix.WaitStatus
	if tid == tgid {
		for {
			pid, err := unix.Wait4(tid, &status, unix.WALL, nil)
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if err != nil {
				return 0, 0, ErrDied // ECHILD: somebody reaped it
			}
			return pid, status, nil
		}
	}
	for pause := 50 * time.Microsecond; ; {
		lost := 0
		for _, id := range []int{tid, tgid} {
			pid, err := unix.Wait4(id, &status, unix.WALL|unix.WNOHANG, nil)
			if err == nil && pid > 0 {
				return pid, status, nil
			}
			if errors.Is(err, syscall.ECHILD) {
				lost++
			}
		}
		if lost == 2 {
			return 0, 0, ErrDied
		}
		if time.Now().After(deadline) {
			return 0, 0, fmt.Errorf("thread %d did not finish its exec in %v", tid, takeoverTimeout)
		}
		time.Sleep(pause)
		pause = min(2*pause, 2*time.Millisecond)
	}
}

func hold(pid int) (*Held, error) {
	// What is held is about to go elsewhere: it must not run here because we die. Before it was held it was perhaps none of ours.
	if err := sys.PtraceOptions(pid, unix.PTRACE_O_EXITKILL); err != nil {
		letGo(pid, 0)
		return nil, ErrDied
	}
	mask, err := sys.PtraceSignalMask(pid) // left as it is until Convert: the daemon reads it too
	if err != nil {
		letGo(pid, 0)
		return nil, ErrDied
	}
	return &Held{Pid: pid, Mask: mask}, nil
}

// Release lets the process run its new image here, as if nobody had held it.
func (h *Held) Release() {
	_ = sys.PtraceSetSignalMask(h.Pid, h.Mask) // after a Convert that failed half-way
	letGo(h.Pid, 0)
}

// letGo ends the tracing of a stopped process. One that was killed meanwhile cannot be detached: it is waited for instead, as
// its tracer must. Until then its parent would not be told of its end, however long the tracing thread lives.
func letGo(pid, signal int) {
	if sys.PtraceDetach(pid, signal) == nil {
		return
	}
	var status unix.WaitStatus
	deadline := time.Now().Add(takeoverTimeout) // only SIGKILL wakes a held process, and death may have to wait for a disk
	for pause := 50 * time.Microsecond; time.Now().Before(deadline); pause = min(2*pause, 2*time.Millisecond) {
		got, err := unix.Wait4(pid, &status, unix.WALL|unix.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil, got == pid && (status.Exited() || status.Signaled()):
			return
		}
		time.Sleep(pause)
	}
}

func interrupt(tid int) error {
	return unix.PtraceInterrupt(tid)
}

// interruptAndDetach undoes a seizure of a thread that nobody meant to trace.
func interruptAndDetach(tid int) error {
	if err := interrupt(tid); err != nil {
		return ErrDied
	}
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(tid, &status, unix.WALL, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || status.Exited() || status.Signaled() {
			return ErrDied
		}
		letGo(tid, 0)
		return nil
	}
}

// Locked runs f on a goroutine locked to its thread, as Takeover needs it, and waits for it.
func Locked(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		f()
	}()
	<-done
}
