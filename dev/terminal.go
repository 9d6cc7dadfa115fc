package dev

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// terminal makes a local terminal like the home's. Its output is passed on raw: the home's own terminal does the processing, once.
func terminal(d Desc, ptmx func() (*os.File, error)) (near, far *os.File, err error) {
	if ptmx == nil {
		ptmx = hostPTMX
	}
	if near, err = ptmx(); err != nil {
		return nil, nil, err
	}
	slave := -1
	cerr := control(near, func(fd int) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return
		}
		peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if errno != 0 {
			err = errno
			return
		}
		slave = int(peer)
		if d.Termios != nil {
			t := *d.Termios
			t.Oflag &^= unix.OPOST
			if err = unix.IoctlSetTermios(slave, unix.TCSETS, &t); err != nil {
				return
			}
		}
		if d.Winsize != nil {
			err = unix.IoctlSetWinsize(slave, unix.TIOCSWINSZ, d.Winsize)
		}
	})
	if cerr != nil || err != nil {
		near.Close()
		if slave >= 0 {
			unix.Close(slave)
		}
		return nil, nil, fmt.Errorf("new terminal: %w", err)
	}
	return near, os.NewFile(uintptr(slave), "terminal"), nil
}

func hostPTMX() (*os.File, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("new terminal: %w", err)
	}
	return os.NewFile(uintptr(fd), "ptmx"), nil
}
