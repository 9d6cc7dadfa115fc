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
