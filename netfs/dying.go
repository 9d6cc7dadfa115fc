package netfs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// dying reports whether a thread has been killed: a signal waits for it that ends its process. So has one that is gone.
func dying(tid uint32) bool {
	if tid == 0 {
		return false
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return os.IsNotExist(err)
	}
	return killed(b)
}

// ending is the signals that end a process which does not care about them.
var ending = signals(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS, unix.SIGFPE,
	unix.SIGKILL, unix.SIGUSR1, unix.SIGSEGV, unix.SIGUSR2, unix.SIGPIPE, unix.SIGALRM, unix.SIGTERM, unix.SIGSTKFLT, unix.SIGXCPU,
	unix.SIGXFSZ, unix.SIGVTALRM, unix.SIGPROF, unix.SIGIO, unix.SIGPWR, unix.SIGSYS)

func signals(all ...unix.Signal) (set uint64) {
	for _, s := range all {
		set |= 1 << (s - 1)
	}
	return set
}

// killed reads it from /proc/TID/status.
func killed(status []byte) bool {
	var pending, cared uint64
	for line := range bytes.Lines(status) {
		key, val, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		switch string(key) {
		case "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt":
		default:
			continue
		}
		set, err := strconv.ParseUint(string(bytes.TrimSpace(val)), 16, 64)
		if err != nil {
			continue
		}
		if string(key[3:]) == "Pnd" {
			pending |= set
		} else {
			cared |= set
		}
	}
	return pending&ending&^cared != 0
}
