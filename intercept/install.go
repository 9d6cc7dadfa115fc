package intercept

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// ErrInside says that the process is inside a session already: its filter has a listener, and there can be only one.
var ErrInside = errors.New("already inside a session")

// Install puts the calling thread under the filter and returns its listener. The goroutine stays locked to the
// thread: what follows must be an exec (or sending the listener away and then an exec), from the same goroutine. Unless the
// process is root, setuid programs lose their privilege from here on (PR_SET_NO_NEW_PRIVS).
func Install() (listener *os.File, err error) {
	prog, err := Filter()
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	if os.Geteuid() != 0 {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return nil, fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", err)
		}
	}
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	fd, err := sys.SeccompFilter(prog, flags|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	if errors.Is(err, syscall.EINVAL) { // before 5.19; a signal then repeats the notification
		fd, err = sys.SeccompFilter(prog, flags)
	}
	switch {
	case errors.Is(err, syscall.EBUSY):
		return nil, ErrInside
	case errors.Is(err, syscall.EACCES) && os.Geteuid() == 0: // root without CAP_SYS_ADMIN, as in a container
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return nil, fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", err)
		}
		if fd, err = sys.SeccompFilter(prog, flags|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV); err != nil {
			return nil, fmt.Errorf("seccomp: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("seccomp: %w (onehost needs CONFIG_SECCOMP_FILTER and a kernel of 5.9 or newer)", err)
	}
	return os.NewFile(uintptr(fd), "seccomp"), nil
}
