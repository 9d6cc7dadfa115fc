package on

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// past is a deadline that wakes whoever waits.
var past = time.Unix(1, 0)

// readNow reads what is there without waiting; nothing is io.EOF.
func readNow(f *os.File, buf []byte) (int, error) {
	n, err := 0, error(nil)
	cerr := withFD(f, func(fd int) {
		for n, err = unix.Read(fd, buf); errors.Is(err, unix.EINTR); n, err = unix.Read(fd, buf) {
		}
	})
	switch {
	case cerr != nil:
		return 0, cerr
	case errors.Is(err, unix.EAGAIN), err == nil && n == 0:
		return 0, io.EOF
	}
	return max(n, 0), err
}

// withFD uses a file's descriptor without making it block, as Fd would.
func withFD(f *os.File, use func(fd int)) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return rc.Control(func(fd uintptr) { use(int(fd)) })
}

// pipe makes a pipe whose end for this process can be waited for with a bound, and gives it to the user: who may not open
// it by its name in /proc may not open /dev/stdout. far is 0 or 1, the end that goes to the command.
func pipe(far int, uid, gid uint32) (near, gone *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("pipe: %w", err)
	}
	if err = unix.Fchown(p[far], int(uid), int(gid)); err == nil {
		err = unix.SetNonblock(p[1-far], true)
	}
	if err != nil {
		unix.Close(p[0])
		unix.Close(p[1])
		return nil, nil, fmt.Errorf("pipe: %w", err)
	}
	return os.NewFile(uintptr(p[1-far]), "pipe"), os.NewFile(uintptr(p[far]), "pipe"), nil
}

// waitable makes of a pipe's end that came from elsewhere one that can be waited for with a bound. What is no pipe is refused: a read
// of it might never come back.
func waitable(f *os.File) (*os.File, error) {
	fd, st := -1, unix.Stat_t{}
	err := error(nil)
	cerr := withFD(f, func(old int) {
		if err = unix.Fstat(old, &st); err == nil {
			fd, err = unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0)
		}
	})
	if err = errors.Join(cerr, err); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		unix.Close(fd)
		return nil, fmt.Errorf("a descriptor that is no pipe: %w", syscall.EINVAL)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "pipe"), nil
}

// terminal makes a pty of this host's for the user. With utf8 a character that is erased may have several bytes.
func terminal(rows, cols uint16, uid uint32, utf8 bool) (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("terminal: /dev/ptmx: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("terminal: %w", err)
			unix.Close(fd)
		}
	}()
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	name := "/dev/pts/" + strconv.Itoa(n)
	if err := os.Chown(name, int(uid), -1); err != nil {
		return nil, nil, err
	}
	if rows == 0 || cols == 0 {
		rows, cols = 24, 80
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
		return nil, nil, err
	}
	if utf8 {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return nil, nil, err
		}
		t.Iflag |= unix.IUTF8
		if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
			return nil, nil, err
		}
	}
	sfd, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd), "ptmx"), os.NewFile(uintptr(sfd), name), nil
}

// typeEOF tells whoever reads a terminal line by line that no more follows.
func typeEOF(master *os.File) error {
	t, err := (*unix.Termios)(nil), error(nil)
	if cerr := withFD(master, func(fd int) { t, err = unix.IoctlGetTermios(fd, unix.TCGETS) }); cerr != nil || err != nil {
		return errors.Join(cerr, err)
	}
	if t.Lflag&unix.ICANON == 0 {
		return nil
	}
	_, err = master.Write([]byte{t.Cc[unix.VEOF]})
	return err
}
