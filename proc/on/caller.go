package on

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/proc/jobs"
	"github.com/onehost/onehost/proc/on/onpb"
)

// softFiles is the soft limit of open files that a command begins with, if its hard limit is not lower: a Go program, as the caller may be one,
// raises its own.
const softFiles = 1024

// readCaller reads from the kernel what the caller is, so that nobody can claim anything. It refuses one whose confinement could not
// be taken along.
func readCaller(who control.Caller) (*onpb.Start, error) {
	dir := "/proc/" + strconv.Itoa(who.Pid)
	data, err := os.ReadFile(dir + "/status")
	if err != nil {
		return nil, fmt.Errorf("the caller is not to be seen: %w", err)
	}
	x := &onpb.Start{}
	var bounding, permitted uint64
	var uids, gids []uint32
	filters := uint64(0)
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		var err error
		switch key {
		case "Umask":
			var n uint64
			n, err = strconv.ParseUint(value, 8, 32)
			x.Umask = uint32(n)
		case "Uid":
			uids, err = ids(value)
		case "Gid":
			gids, err = ids(value)
		case "Groups":
			x.Groups, err = ids(value)
		case "CapPrm":
			permitted, err = strconv.ParseUint(value, 16, 64)
		case "CapBnd":
			bounding, err = strconv.ParseUint(value, 16, 64)
		case "NoNewPrivs":
			x.NoNewPrivs = value == "1"
		case "Seccomp_filters":
			filters, err = strconv.ParseUint(value, 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("%s/status: %s: %w", dir, key, err)
		}
	}
	if len(uids) != 4 || len(gids) != 4 {
		return nil, fmt.Errorf("%s/status: no ids: %w", dir, syscall.ENOTSUP)
	}
	x.Uid, x.Gid = uids[1], gids[1]
	if x.Uid != who.UID || x.Gid != who.GID {
		return nil, control.Refuse(syscall.EPERM, "the caller has changed who he is since he connected")
	}
	if err := unconfined(dir, filters); err != nil {
		return nil, err
	}
	x.Capabilities = bounding
	if x.Uid == 0 { // executing a program would give back what is in the bounding set
		x.Capabilities &= permitted
	}
	prio, err := unix.Getpriority(unix.PRIO_PROCESS, who.Pid)
	if err != nil {
		return nil, fmt.Errorf("nice value of the caller: %w", err)
	}
	x.Nice = int32(20 - prio) // the system call gives 20-nice, to stay positive
	limits, err := jobs.ReadLimits(dir + "/limits")
	if err != nil {
		return nil, err
	}
	for _, l := range limits {
		soft := l.Cur
		if l.Resource == unix.RLIMIT_NOFILE {
			soft = min(l.Max, softFiles)
		}
		x.Limits = append(x.Limits, soft, l.Max)
	}
	return x, nil
}

func ids(s string) ([]uint32, error) {
	var ns []uint32
	for f := range strings.FieldsSeq(s) {
		n, err := strconv.ParseUint(f, 10, 32)
		if err != nil {
			return nil, err
		}
		ns = append(ns, uint32(n))
	}
	return ns, nil
}

// unconfined refuses a caller who lives in a smaller world than this daemon: on another host he would be out of it. One seccomp filter may
// be a session's.
func unconfined(dir string, filters uint64) error {
	refuse := func(what string) error {
		return control.Refuse(syscall.EPERM, "a program in %s cannot start commands on hosts: it would leave its confinement", what)
	}
	if filters > 1 {
		return refuse("a sandbox (seccomp)")
	}
	mine, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return err
	}
	its, err := os.Readlink(dir + "/ns/user")
	if err != nil {
		return fmt.Errorf("the caller is not to be seen: %w", err)
	}
	if mine != its {
		return refuse("another user name space")
	}
	var root, ours unix.Stat_t
	if err := unix.Stat("/", &ours); err != nil {
		return err
	}
	if err := unix.Stat(filepath.Join(dir, "root"), &root); err != nil {
		return fmt.Errorf("the caller is not to be seen: %w", err)
	}
	if root.Dev != ours.Dev || root.Ino != ours.Ino {
		return refuse("another root")
	}
	return nil
}
