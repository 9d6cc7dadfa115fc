package dev

import (
	"context"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// ground says how a job stands to a terminal at home.
type ground struct {
	is      bool // in the background: the terminal is its controlling one and belongs to another process group
	group   int  // its process group
	stopped bool
}

// background looks at the ghost of a job. One that has another controlling terminal, or none, is never in the background.
func background(ghost int, rdev uint64) ground {
	if ghost == 0 {
		return ground{}
	}
	st, err := sys.ReadProcStat(ghost)
	if err != nil || st.Pgid <= 0 {
		return ground{}
	}
	// The kernel's old encoding of a device number: the minor's upper bits above the major.
	major, minor := uint64(st.TTY)>>8&0xfff, uint64(st.TTY)&0xff|uint64(st.TTY)>>12&0xfff00
	here := uint64(unix.Major(rdev)) == major && uint64(unix.Minor(rdev)) == minor
	return ground{is: here && st.Front != st.Pgid, group: st.Pgid, stopped: st.State == 'T'}
}

const (
	groundEvery = 100 * time.Millisecond // how often a job in the background is looked at
	stopTime    = time.Second            // within which one that does not ignore SIGTTIN has stopped
)

// lineTime is how long a read waits before it looks again whether the job is still in the foreground.
const lineTime = time.Second

// awaitTurn returns when there is something to read and the job is in the foreground.
func (h *held) awaitTurn(ctx context.Context, fd int) error {
	for {
		if err := h.awaitFront(ctx); err != nil {
			return err
		}
		line, cancel := context.WithTimeout(ctx, lineTime)
		err := wait(line, fd, unix.POLLIN)
		cancel()
		switch {
		case err != nil && (ctx.Err() != nil || line.Err() == nil):
			return err
		case err == nil && !background(h.job, h.rdev).is: // nothing is between this look and the read
			return nil
		}
	}
}

// awaitFront does for a read of a terminal what the kernel does if the reader is not in the foreground: its process group gets
// SIGTTIN, and the read goes on when it is back. EIO if that does not stop it.
func (h *held) awaitFront(ctx context.Context) error {
	var told time.Time
	for {
		g := background(h.job, h.rdev)
		switch {
		case !g.is:
			return nil
		case g.stopped:
			told = time.Time{}
		case told.IsZero():
			told = time.Now()
			_ = unix.Kill(-g.group, unix.SIGTTIN) // gone: so is the read soon
		case time.Since(told) > stopTime:
			return syscall.EIO
		}
		select {
		case <-ctx.Done():
			return syscall.EINTR
		case <-time.After(groundEvery):
		}
	}
}
