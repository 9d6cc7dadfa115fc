package list

import (
	"bytes"
	"fmt"
	"strconv"
	"syscall"
	"time"
)

// kernelThread is PF_KTHREAD of the flags in /proc/PID/stat.
const kernelThread = 0x00200000

// tick is the unit of times in /proc: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// stat is what a list needs of /proc/PID/stat. Numbers of processes are those of the name space /proc was mounted in.
type stat struct {
	pid     int
	comm    []byte // part of the buffer it was read from
	state   byte
	ppid    int
	pgid    int
	session int
	tty     uint32 // device number as the kernel packs it, 0: none
	flags   uint64
	ticks   uint64 // CPU time used, user and system
	nice    int
	start   uint64 // ticks since boot
	pages   int64  // resident
}

// parseStat reads the text of /proc/PID/stat. What comes after the fields that are needed may be anything.
func parseStat(b []byte) (stat, error) {
	bad := fmt.Errorf("/proc/PID/stat: %w", syscall.EINVAL)
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')') // the name may hold anything
	if open < 2 || end < open || b[open-1] != ' ' {
		return stat{}, bad
	}
	s := stat{comm: b[open+1 : end]}
	var err error
	if s.pid, err = strconv.Atoi(string(b[:open-1])); err != nil || s.pid < 1 {
		return stat{}, bad
	}
	f := fields{rest: b[end+1:]}
	state := f.next() // the third
	s.ppid, s.pgid, s.session = int(f.int()), int(f.int()), int(f.int())
	s.tty = uint32(f.int())
	f.skip(1) // tpgid
	s.flags = f.uint()
	f.skip(4) // faults
	s.ticks = f.uint()
	s.ticks += f.uint()
	f.skip(3) // CPU time of children, priority
	s.nice = int(f.int())
	f.skip(2) // threads, itrealvalue
	s.start = f.uint()
	f.skip(1) // virtual size
	s.pages = f.int()
	if f.bad || len(state) != 1 {
		return stat{}, bad
	}
	s.state = state[0]
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

// status is what a list needs of /proc/PID/status.
type status struct {
	uids [4]uint32 // real, effective, saved, file system
	// Its numbers, from the name space of this /proc down to its own; more than one if it is in a name space below.
	pids, pgids, sids []int
}

// parseStatus reads the text of /proc/PID/status.
func parseStatus(b []byte) (status, error) {
	var s status
	found := false
	for len(b) > 0 {
		line := b
		if n := bytes.IndexByte(b, '\n'); n >= 0 {
			line, b = b[:n], b[n+1:]
		} else {
			b = nil
		}
		if len(line) == 0 || line[0] != 'U' && line[0] != 'N' {
			continue
		}
		switch key, value, _ := bytes.Cut(line, []byte(":\t")); string(key) {
		case "Uid":
			i := 0
			for f := range bytes.FieldsSeq(value) {
				n, err := strconv.ParseUint(string(f), 10, 32)
				if err != nil || i == len(s.uids) {
					return status{}, fmt.Errorf("/proc/PID/status: %w", syscall.EINVAL)
				}
				s.uids[i] = uint32(n)
				i++
			}
			found = i == len(s.uids)
		case "NSpid":
			s.pids = numbers(value)
		case "NSpgid":
			s.pgids = numbers(value)
		case "NSsid":
			s.sids = numbers(value)
		}
	}
	if !found {
		return status{}, fmt.Errorf("/proc/PID/status: %w", syscall.EINVAL)
	}
	return s, nil
}

// numbers reads numbers with blanks between; none for one name space alone, which tells nothing new.
func numbers(b []byte) []int {
	if len(bytes.TrimSpace(b)) == 0 || bytes.IndexByte(b, '\t') < 0 {
		return nil
	}
	var ns []int
	for f := range bytes.FieldsSeq(b) {
		n, err := strconv.Atoi(string(f))
		if err != nil {
			return nil
		}
		ns = append(ns, n)
	}
	return ns
}
