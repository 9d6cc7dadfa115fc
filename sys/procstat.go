package sys

import (
	"bytes"
	"fmt"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// ProcStat is what is used of /proc/PID/stat, of a process or a thread. Numbers of processes are those of the name space that /proc was mounted in.
type ProcStat struct {
	Pid     int
	Comm    []byte // part of the text it was read from
	State   byte   // as ps shows it: R, S, D, T, t, Z, X, I
	Ppid    int
	Pgid    int
	Session int
	TTY     uint32 // device number as the kernel packs it, 0: none
	Front   int    // the foreground process group of that terminal, -1: none
	Flags   uint64
	Ticks   uint64 // CPU time used, user and system, in units of 10 ms
	Nice    int
	Threads int
	Start   uint64 // ticks since boot
	Pages   int64  // resident

	rest fields
}

// Ended reports whether the process has ended, but for its parent's wait or the ends of its other threads.
func (s *ProcStat) Ended() bool { return s.State == 'Z' || s.State == 'X' }

// ExitCode gives the status of a process that has ended, as wait does; false: it cannot be seen.
func (s *ProcStat) ExitCode() (int32, bool) {
	if !s.Ended() {
		return 0, false
	}
	f := s.rest
	f.skip(27) // from the limit of resident memory to the end of the environment
	code := f.int()
	return int32(code), !f.bad
}

// ReadProcStat reads the state of a process or thread. ESRCH or ENOENT: there is none. It is done at nearly every exec of a session, so by bare
// system calls.
func ReadProcStat(pid int) (ProcStat, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ProcStat{}, err
	}
	defer unix.Close(fd)
	buf := make([]byte, 1024) // a name of 63 bytes, which kernel threads may have, and numbers
	n, err := unix.Read(fd, buf)
	if err != nil {
		return ProcStat{}, err
	}
	return ParseProcStat(buf[:n])
}

var errProcStat = fmt.Errorf("/proc/PID/stat: %w", syscall.EINVAL)

// ParseProcStat reads the text of /proc/PID/stat. What comes after the fields that are used may be anything.
func ParseProcStat(b []byte) (ProcStat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')') // the name may hold anything
	if open < 2 || end < open || b[open-1] != ' ' {
		return ProcStat{}, errProcStat
	}
	s := ProcStat{Comm: b[open+1 : end]}
	var err error
	if s.Pid, err = strconv.Atoi(string(b[:open-1])); err != nil || s.Pid < 1 {
		return ProcStat{}, errProcStat
	}
	f := fields{rest: b[end+1:]}
	state := f.next() // the third
	s.Ppid, s.Pgid, s.Session = int(f.int()), int(f.int()), int(f.int())
	s.TTY, s.Front = uint32(f.int()), int(f.int())
	s.Flags = f.uint()
	f.skip(4) // faults
	s.Ticks = f.uint()
	s.Ticks += f.uint()
	f.skip(3) // CPU time of children, priority
	s.Nice, s.Threads = int(f.int()), int(f.int())
	f.skip(1) // itrealvalue
	s.Start = f.uint()
	f.skip(1) // virtual size
	s.Pages = f.int()
	if f.bad || len(state) != 1 {
		return ProcStat{}, errProcStat
	}
	s.State, s.rest = state[0], f
	return s, nil
}

// fields reads numbers with blanks between; bad says that there were too few or that one was none.
type fields struct {
	rest []byte
	bad  bool
}

func (f *fields) next() []byte {
	b := bytes.TrimLeft(f.rest, " \n")
	n := bytes.IndexAny(b, " \n")
	if n < 0 {
		n = len(b)
	}
	f.rest = b[n:]
	f.bad = f.bad || n == 0
	return b[:n]
}

func (f *fields) skip(n int) {
	for range n {
		f.next()
	}
}

func (f *fields) int() int64 {
	n, err := strconv.ParseInt(string(f.next()), 10, 64)
	f.bad = f.bad || err != nil
	return n
}

func (f *fields) uint() uint64 {
	n, err := strconv.ParseUint(string(f.next()), 10, 64)
	f.bad = f.bad || err != nil
	return n
}
