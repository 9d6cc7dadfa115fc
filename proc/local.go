package proc

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"

	"github.com/onehost/onehost/names"
)

// Local is a number of this host's own pid space, whether somebody has it or not: the kernel is asked at each operation.
type Local struct{ pid atomic.Int32 }

// table has a Local for every number of a pid space, so that none is ever made anew. Its pages are touched as they are used.
var table [names.MaxLease + 1]Local

// Here gives the process of a number, above 0, of this host's own pid space.
func Here(pid int) *Local {
	if pid >= len(table) { // pid_max is higher than it should be
		l := new(Local)
		l.pid.Store(int32(pid))
		return l
	}
	l := &table[pid]
	l.pid.Store(int32(pid)) // the same each time
	return l
}

func (l *Local) number() int { return int(l.pid.Load()) }

// Where implements Process.
func (l *Local) Where(context.Context) (names.Host, error) {
	if _, err := os.Stat("/proc/" + strconv.Itoa(l.number())); err != nil {
		return names.Here, syscall.ESRCH
	}
	return names.Here, nil
}

// atoi reads a number, 0 for what is none.
func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// statusField gives what follows a key in /proc/PID/status, as words; none if the process is gone.
func statusField(pid int, key string) []string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(b) {
		k, value, _ := bytes.Cut(line, []byte(":"))
		if string(k) != key {
			continue
		}
		var words []string
		for f := range bytes.FieldsSeq(value) {
			words = append(words, string(f))
		}
		return words
	}
	return nil
}

// depth says in how many pid name spaces, from ours inwards, a process has a number; 0 if it is gone.
func depth(pid int) int { return len(statusField(pid, "NSpid")) }
