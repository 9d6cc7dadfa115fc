package report

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Restore is what undoes the scroll region on any terminal that has one, and changes nothing on one that has none; for those
// who clean up after a run that was killed.
const Restore = "\x1b7\x1b[r\x1b8"

// screen is the bottom row of a terminal. Its zero value is no terminal.
type screen struct {
	out        *os.File
	terminal   bool
	rows, cols int
	on         bool   // the region is set
	shown      string // what the bottom row shows
	drawn      time.Time
}

func newScreen(out *os.File) *screen {
	if out == nil {
		return &screen{}
	}
	if _, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS); err != nil {
		return &screen{}
	}
	s := &screen{out: out, terminal: true}
	s.measure()
	return s
}

func (s *screen) measure() {
	s.rows, s.cols = 0, 0
	if ws, err := unix.IoctlGetWinsize(int(s.out.Fd()), unix.TIOCGWINSZ); err == nil {
		s.rows, s.cols = int(ws.Row), int(ws.Col)
	}
}

// ours reports whether the bottom row may be used: the terminal is big enough, nobody reads it key by key or hides what is
// typed, and this process is not in the background.
func (s *screen) ours() bool {
	if !s.terminal || s.rows < 4 || s.cols < 20 {
		return false
	}
	t, err := unix.IoctlGetTermios(int(s.out.Fd()), unix.TCGETS)
	if err != nil || t.Lflag&unix.ICANON == 0 || t.Lflag&unix.ECHO == 0 {
		return false
	}
	group, err := unix.IoctlGetInt(int(s.out.Fd()), unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp() // an error: not our controlling terminal, so no background either
}

// draw shows a line in the bottom row, reserving it first. Everything is one write, so that no program's output comes between.
func (s *screen) draw(line string) {
	if s.on && (line == s.shown || time.Since(s.drawn) < tick*9/10) {
		return
	}
	var b []byte
	if !s.on {
		// Down and up makes room below the cursor without leaving its column; setting the region moves it, hence 7 and 8.
		b = fmt.Appendf(b, "\x1bD\x1b[A\x1b7\x1b[1;%dr\x1b8", s.rows-1)
	}
	b = fmt.Appendf(b, "\x1b7\x1b[%d;1H\x1b[0m%s\x1b[K\x1b8", s.rows, line)
	s.on, s.shown, s.drawn = true, line, time.Now()
	writeAll(s.out, b)
}

// leave gives the bottom row back, empty.
func (s *screen) leave() {
	if !s.on {
		return
	}
	s.on, s.shown = false, ""
	writeAll(s.out, fmt.Appendf(nil, "\x1b7\x1b[r\x1b[%d;1H\x1b[0m\x1b[K\x1b8", s.rows))
}

// resize follows a change of the terminal's size; the next draw reserves the new bottom row.
func (s *screen) resize() {
	on := s.on
	s.measure()
	if on && s.rows > 0 {
		s.leave() // clears the row that is the last one now
	}
}

// writeAll writes to a descriptor that may be non-blocking or broken; it gives up on one that takes nothing for a second.
// os.File would end this process on a broken pipe.
func writeAll(f *os.File, b []byte) {
	if f == nil {
		return
	}
	fd := int(f.Fd())
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		switch {
		case n > 0:
			b = b[n:]
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 1000); n == 0 || err != nil && !errors.Is(err, syscall.EINTR) {
				return
			}
		default:
			return
		}
	}
}
