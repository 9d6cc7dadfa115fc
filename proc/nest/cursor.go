package nest

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cursor keeps the kernel's next number for a process of this pid name space inside the leased block.
type cursor struct {
	fd          int // ns_last_pid
	first, last int
	high        int // above this it goes back to first
}

// newCursor sets the name space's pid_max and cursor; proc is its /proc.
func newCursor(proc, first, last int) (*cursor, error) {
	if err := setPidMax(proc, last+1); err != nil {
		return nil, err
	}
	fd, err := unix.Openat(proc, "sys/kernel/ns_last_pid", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("ns_last_pid (needs a kernel with CONFIG_CHECKPOINT_RESTORE): %w", err)
	}
	c := &cursor{fd: fd, first: first, last: last, high: last - (last-first+1)/4}
	if errno := c.reset(); errno != 0 {
		return nil, fmt.Errorf("ns_last_pid: %w", errno)
	}
	return c, nil
}

// setPidMax gives the name space its own pid_max. Before 6.14 there is one for all, which is not ours to change: then it
// must be high enough already, and nothing stops a number above the block but the guard.
func setPidMax(proc, limit int) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	var major, minor int
	release := unix.ByteSliceToString(u.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("kernel release %q: %w", release, err)
	}
	if major > 6 || major == 6 && minor >= 14 {
		if err := writeAt(proc, "sys/kernel/pid_max", strconv.Itoa(limit)); err != nil {
			return fmt.Errorf("pid_max of the nest: %w", err)
		}
		return nil
	}
	fd, err := unix.Openat(proc, "sys/kernel/pid_max", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("pid_max: %w", err)
	}
	defer unix.Close(fd)
	if n, errno := readNumber(fd); errno != 0 || n < limit {
		return fmt.Errorf("kernel.pid_max is %d and this kernel (%s, before 6.14) has one for all name spaces: set it to %d: %w", n, release, limit, syscall.ERANGE)
	}
	return nil
}

// guard looks where the cursor is and brings it back when it comes near the end of the block or has left it. Numbers that are in use are
// skipped by the kernel. It says how soon to look again: the more room there is, the later.
func (c *cursor) guard() time.Duration {
	n, errno := readNumber(c.fd)
	if errno != 0 || n < c.first-1 || n > c.high {
		_ = c.reset() // cannot fail where it did not at the start
		n = c.first - 1
	}
	return guardEvery * time.Duration(c.last-n) / time.Duration(c.last-c.high)
}

func (c *cursor) reset() syscall.Errno {
	_, err := unix.Pwrite(c.fd, []byte(strconv.Itoa(c.first-1)), 0)
	return errnoOf(err)
}

func readNumber(fd int) (int, syscall.Errno) {
	var buf [32]byte
	n, err := unix.Pread(fd, buf[:], 0)
	if err != nil {
		return 0, errnoOf(err)
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil {
		return 0, syscall.EINVAL
	}
	return v, 0
}
