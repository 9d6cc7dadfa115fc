package dev

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/link"
)

// modesMethod changes the modes of a terminal at home as a process has changed those of its own. The header is the id, the body a
// modeChange.
const modesMethod = "dev.modes"

// modeChange says what to change of a terminal: what differs between Old and New. Flush drops what was typed and is unread.
type modeChange struct {
	Old, New unix.Termios
	Flush    bool
}

// console is the helper's end of a terminal: the master of one that a process has in place of the home's. The line is edited, echoed and
// turned into signals at home, by the terminal there; here EXTPROC passes all on as it is and tells of each change of the modes.
type console struct {
	near *os.File // the master, in packet mode
	dev  uint64   // of the slave: it is one file with the same number
	ino  uint64
	obj  *Object

	mu   sync.Mutex   // guards the slave's modes and what follows
	last unix.Termios // as the home has heard, or has said
	keys bool         // the process has asked for its keys one by one
}

// rewrites are the ways in which a terminal changes output. The home's does it, once.
const rewrites = unix.OLCUC | unix.ONLCR | unix.OCRNL | unix.ONOCR | unix.ONLRET | unix.OFILL | unix.OFDEL |
	unix.NLDLY | unix.CRDLY | unix.TABDLY | unix.BSDLY | unix.VTDLY | unix.FFDLY

// ours makes modes of the home those of a terminal here.
func ours(t unix.Termios) unix.Termios {
	t.Oflag &^= rewrites
	t.Lflag |= unix.EXTPROC
	return t
}

// terminal makes a local terminal like the home's. access is how the slave is opened.
func terminal(d Desc, access int, ptmx func() (*os.File, error)) (c *console, far *os.File, err error) {
	if ptmx == nil {
		ptmx = hostPTMX
	}
	near, err := ptmx()
	if err != nil {
		return nil, nil, err
	}
	c = &console{near: near}
	slave := -1
	cerr := control(near, func(fd int) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return
		}
		if slave, err = peer(fd, access); err == nil {
			err = c.setUp(fd, slave, d)
		}
	})
	if cerr != nil || err != nil {
		near.Close()
		if slave >= 0 {
			unix.Close(slave)
		}
		return nil, nil, fmt.Errorf("new terminal: %w", err)
	}
	return c, os.NewFile(uintptr(slave), "terminal"), nil
}

func (c *console) setUp(master, slave int, d Desc) error {
	var st unix.Stat_t
	if err := unix.Fstat(slave, &st); err != nil {
		return err
	}
	c.dev, c.ino = st.Dev, st.Ino
	t := d.Termios
	if t == nil {
		var err error
		if t, err = unix.IoctlGetTermios(slave, unix.TCGETS); err != nil {
			return err
		}
	}
	c.last = ours(*t)
	if err := unix.IoctlSetTermios(slave, unix.TCSETS, &c.last); err != nil {
		return err
	}
	// Where we may not lock modes, change sets those right again that a program has changed.
	_ = unix.IoctlSetTermios(slave, unix.TIOCSLCKTRMIOS, &unix.Termios{Oflag: rewrites, Lflag: unix.EXTPROC})
	if d.Winsize != nil {
		if err := unix.IoctlSetWinsize(slave, unix.TIOCSWINSZ, d.Winsize); err != nil {
			return err
		}
	}
	return unix.IoctlSetPointerInt(master, unix.TIOCPKT, 1) // after the modes: our own change is none to tell
}

// change follows a state byte of packet mode: it tells the home what the process has done to its terminal.
func (c *console) change(ctx context.Context, state byte) {
	m := modeChange{Flush: state&unix.TIOCPKT_FLUSHREAD != 0}
	err := control(c.near, func(fd int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS) // of the slave
		if err != nil {
			return
		}
		if right := ours(*t); right != *t {
			_ = unix.IoctlSetTermios(fd, unix.TCSETS, &right)
			*t = right
		}
		m.Old, m.New, c.last = c.last, *t, *t
		if (m.Old.Lflag^m.New.Lflag)&unix.ICANON != 0 {
			c.keys = m.New.Lflag&unix.ICANON == 0
		}
	})
	if err != nil || m.Old == m.New && !m.Flush {
		return
	}
	body, err := json.Marshal(m)
	if err == nil {
		_, _ = c.obj.line.call(ctx, modesMethod, encode(c.obj.id), body, nil) // a terminal that hung up has no modes
	}
}

// givesBack reports whether the process has just turned the processing of output on.
func (c *console) givesBack() bool {
	var t *unix.Termios
	var err error
	if cerr := control(c.near, func(fd int) { t, err = unix.IoctlGetTermios(fd, unix.TCGETS) }); cerr != nil || err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return t.Oflag&^c.last.Oflag&unix.OPOST != 0
}

// unread reports whether there is input that nobody has read. The kernel brings it to its readers some time after it was written; poll
// makes it do so, so that a reader who has been served no longer sleeps when this returns.
func (c *console) unread() bool {
	there := false
	_ = control(c.near, func(fd int) {
		slave, err := peer(fd, unix.O_RDONLY|unix.O_NONBLOCK)
		if err != nil {
			return
		}
		defer unix.Close(slave)
		p := []unix.PollFd{{Fd: int32(slave), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		there = err == nil && n > 0 && p[0].Revents&unix.POLLIN != 0
	})
	return there
}

// peer opens the slave of a master.
func peer(master, flags int) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, uintptr(flags)|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// byKey reports whether the process has its keys one by one. That the modes say so is not enough: a job that was begun in the
// background found those of the shell.
func (c *console) byKey() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keys
}

// follow takes over the modes of the home's terminal, which others change too: a shell, when it brings the job to the foreground.
func (c *console) follow(home *unix.Termios) {
	t := ours(*home)
	c.mu.Lock()
	defer c.mu.Unlock() // until it is done: change must not take the modes of before for the process's
	c.keys = c.keys && t.Lflag&unix.ICANON == 0
	if t != c.last {
		c.last = t
		_ = control(c.near, func(fd int) { _ = unix.IoctlSetTermios(fd, unix.TCSETS, &t) })
	}
}

// endOfFile is the byte that is read as the end of the file; none where there is no such thing.
func (c *console) endOfFile() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last.Lflag&unix.ICANON == 0 {
		return nil
	}
	return []byte{c.last.Cc[unix.VEOF]}
}

func hostPTMX() (*os.File, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("new terminal: %w", err)
	}
	return os.NewFile(uintptr(fd), "ptmx"), nil
}

// serveModes changes the home's terminal. For a job in the background the kernel would stop it instead: there is nothing to show
// then, and its program sets its modes again when it is back.
func (s *Server) serveModes(_ context.Context, r *link.Request) (link.Reply, error) {
	v, err := header(r.Header, 1)
	if err != nil {
		return link.Reply{}, err
	}
	var m modeChange
	if err := json.Unmarshal(r.Body, &m); err != nil {
		return link.Reply{}, fmt.Errorf("modes of a terminal: %w: %w", err, unix.EBADMSG)
	}
	h, err := s.get(v[0])
	if err != nil {
		return link.Reply{}, err
	}
	defer h.put()
	if background(h.job, h.rdev).is {
		return link.Reply{}, nil
	}
	t, err := unix.IoctlGetTermios(h.fd, unix.TCGETS)
	if err != nil {
		return link.Reply{}, err
	}
	was := *t
	change := func(at *uint32, old, now, mask uint32) {
		changed := (old ^ now) & mask
		*at = *at&^changed | now&changed
	}
	change(&t.Iflag, m.Old.Iflag, m.New.Iflag, ^uint32(0))
	change(&t.Oflag, m.Old.Oflag, m.New.Oflag, unix.OPOST)
	change(&t.Lflag, m.Old.Lflag, m.New.Lflag, ^uint32(unix.EXTPROC))
	for i, c := range m.New.Cc {
		if c != m.Old.Cc[i] {
			t.Cc[i] = c
		}
	}
	if was != *t {
		if err := unix.IoctlSetTermios(h.fd, unix.TCSETS, t); err != nil {
			return link.Reply{}, err
		}
	}
	if m.Flush {
		err = unix.IoctlSetInt(h.fd, unix.TCFLSH, unix.TCIFLUSH)
	}
	return link.Reply{}, err
}

// Winsize gives the present size of the terminal that is among the descriptors of a job, as Describe described them.
func (s *Server) Winsize(desc []byte) (rows, cols uint16, ok bool) {
	ds, err := Unmarshal(desc)
	if err != nil {
		return 0, 0, false
	}
	for _, d := range ds {
		if d.Kind != Terminal {
			continue
		}
		h, err := s.get(d.ID)
		if err != nil {
			continue
		}
		ws, err := unix.IoctlGetWinsize(h.fd, unix.TIOCGWINSZ)
		h.put()
		if err == nil {
			return ws.Row, ws.Col, true
		}
	}
	return 0, 0, false
}
