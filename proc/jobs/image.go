package jobs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/jobs/jobspb"
	"github.com/onehost/onehost/sys"
)

// refusal is why a process cannot go: its text is the reason people see, so it is short.
type refusal string

func (r refusal) Error() string { return string(r) }

// status is what /proc/PID/status says of a process.
type status struct {
	state      byte
	tracer     int // the thread that traces it
	umask      uint32
	uids, gids []uint32
	groups     []uint32
	blocked    uint64
	ignored    uint64
	capEff     uint64
	noNewPrivs bool
	filters    int
	parent     uint32
	group      uint32
	session    uint32
}

// readImage reads all that makes the stopped process pid what it is from /proc, so that nobody can claim anything. who
// must be root or the user the process wholly belongs to. An error that is a refusal means that the process must
// stay at home.
func readImage(who control.Caller, pid int) (*jobspb.Exec, error) {
	if pid < 1 || pid > names.MaxNative {
		return nil, refusal("pid over " + strconv.Itoa(names.MaxNative))
	}
	dir := "/proc/" + strconv.Itoa(pid)
	st, err := readStatus(dir + "/status")
	if err != nil {
		return nil, err
	}
	for _, uid := range st.uids {
		if who.UID != 0 && uid != who.UID {
			return nil, fmt.Errorf("process %d belongs to user %d: %w", pid, uid, unix.EPERM)
		}
	}
	if st.state != 't' {
		return nil, fmt.Errorf("process %d is not stopped at its exec: %w", pid, unix.EBUSY)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", who.Pid, st.tracer)); err != nil {
		return nil, fmt.Errorf("process %d is not held by its session: %w", pid, unix.EPERM)
	}
	if err := mayGo(dir, st); err != nil {
		return nil, err
	}
	x := &jobspb.Exec{
		Pid: uint32(pid), Umask: st.umask, SigMask: st.blocked, SigIgnored: st.ignored,
		Uids: st.uids, Gids: st.gids, Groups: st.groups, NoNewPrivs: st.noNewPrivs,
		Ppid: st.parent, Pgid: st.group, Sid: st.session,
	}
	if x.Exe, err = existing(dir + "/exe"); err != nil {
		return nil, err
	}
	if x.Cwd, err = existing(dir + "/cwd"); err != nil {
		return nil, err
	}
	if x.CwdIno, err = named(dir+"/cwd", x.Cwd); err != nil {
		return nil, err
	}
	x.Exe = called(pid, x.Exe, x.Cwd)
	if x.Argv, err = strung(dir + "/cmdline"); err != nil {
		return nil, err
	}
	if x.Env, err = strung(dir + "/environ"); err != nil {
		return nil, err
	}
	withoutFifo(x.Env)
	prio, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
	if err != nil {
		return nil, fmt.Errorf("priority of process %d: %w", pid, err)
	}
	x.Nice = int32(20 - prio) // the system call gives 20-nice, to stay positive
	if x.Scheduler, err = sys.Scheduler(pid); err != nil {
		return nil, fmt.Errorf("scheduling policy of process %d: %w", pid, err)
	}
	if sys.RealTime(x.Scheduler) {
		return nil, refusal("real-time")
	}
	if x.IoPrio, err = sys.IOPriority(pid); err != nil {
		return nil, fmt.Errorf("priority of input and output of process %d: %w", pid, err)
	}
	if x.Rlimits, err = ReadLimits(dir + "/limits"); err != nil {
		return nil, err
	}
	slack, err := slurp(dir + "/timerslack_ns")
	if err != nil {
		return nil, err
	}
	if x.TimerSlack, err = strconv.ParseUint(string(bytes.TrimSpace(slack)), 10, 64); err != nil {
		return nil, fmt.Errorf("timer slack of process %d: %w", pid, err)
	}
	return x, nil
}

// mayGo refuses a process whose world is not the home's plain one: other name spaces or root, privileges that a nest
// could not give it exactly, a sandbox of its own.
func mayGo(dir string, st *status) error {
	own, err := ourWorld()
	if err != nil {
		return err
	}
	for ns, ours := range own.namespaces {
		its, err := os.Readlink(dir + "/ns/" + ns)
		if err != nil {
			return err
		}
		if ours != its && (ns != "mnt" || !sameMounts(dir)) {
			return refusal(ns + " namespace")
		}
	}
	if root, err := os.Readlink(dir + "/root"); err != nil || root != "/" {
		return refusal("chroot")
	}
	euid := st.uids[1]
	switch {
	case st.uids[0] != euid || st.gids[0] != st.gids[1]:
		return refusal("set-uid")
	case euid == 0 && st.capEff != own.capabilities, euid != 0 && st.capEff != 0:
		return refusal("capabilities")
	case st.filters > 1:
		return refusal("sandbox") // one filter is the session's
	}
	if p, err := slurp(dir + "/personality"); err != nil || strings.Trim(string(p), "0\n") != "" {
		return refusal("personality")
	}
	return nil
}

// world is what this daemon has that a process must have too if it is to go; it does not change while the daemon runs.
type world struct {
	namespaces   map[string]string // what the links of /proc/self/ns say
	capabilities uint64
}

var knownWorld atomic.Pointer[world]

// ourWorld reads it once. A failure, for want of a descriptor, say, is not kept.
func ourWorld() (*world, error) {
	if w := knownWorld.Load(); w != nil {
		return w, nil
	}
	w := &world{namespaces: map[string]string{}}
	for _, ns := range []string{"mnt", "net", "user", "pid", "ipc"} {
		link, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil {
			return nil, err
		}
		w.namespaces[ns] = link
	}
	st, err := readStatus("/proc/self/status")
	if err != nil {
		return nil, err
	}
	w.capabilities = st.capEff
	knownWorld.Store(w)
	return w, nil
}

// slurped is what files are read to. What is made of them has the size that they have: it is kept as long as a job lives.
var slurped = sync.Pool{New: func() any { return new(make([]byte, 0, 8<<10)) }}

// maxSlurped is the most that is kept to read to: an environment may be megabytes.
const maxSlurped = 128 << 10

// slurp reads a file of /proc by bare system calls: a dozen are read for each job, and each by os.ReadFile costs twice as many.
func slurp(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	room := slurped.Get().(*[]byte)
	data := (*room)[:0]
	defer func() {
		if cap(data) <= maxSlurped {
			*room = data
			slurped.Put(room)
		}
	}()
	for {
		if len(data) == cap(data) {
			data = slices.Grow(data, len(data))
		}
		n, err := unix.Read(fd, data[len(data):cap(data)])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, fmt.Errorf("%s: %w", path, err)
		case n == 0:
			return bytes.Clone(data), nil
		default:
			data = data[:len(data)+n]
		}
	}
}

// existing reads the link of /proc to a file and refuses one whose file has no name any more.
func existing(link string) (string, error) {
	path, err := os.Readlink(link)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, " (deleted)") {
		return "", refusal("deleted file")
	}
	return path, nil
}

// named gives the inode number of the directory that the link of /proc leads to, and refuses one that another host could not find by
// its path: something else has the name now, or every host has its own.
func named(link, path string) (uint64, error) {
	if names.EveryHostsOwn(path) {
		return 0, refusal("directory of the kernel")
	}
	var is, has unix.Stat_t
	if err := unix.Stat(link, &is); err != nil {
		return 0, err
	}
	if err := unix.Lstat(path, &has); err != nil || has.Dev != is.Dev || has.Ino != is.Ino {
		return 0, refusal("hidden directory")
	}
	return is.Ino, nil
}

// strung reads a file of strings that each end with a zero byte.
func strung(path string) ([][]byte, error) {
	data, err := slurp(path)
	if err != nil {
		return nil, err
	}
	data = bytes.TrimSuffix(data, []byte{0})
	if len(data) == 0 {
		return nil, nil
	}
	return bytes.Split(data, []byte{0}), nil
}

func readStatus(path string) (*status, error) {
	data, err := slurp(path)
	if err != nil {
		return nil, err
	}
	st := &status{}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, ":")
		if err := st.set(key, strings.TrimSpace(value)); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, key, err)
		}
	}
	if len(st.uids) != 4 || len(st.gids) != 4 || st.state == 0 {
		return nil, fmt.Errorf("%s: %w", path, errors.ErrUnsupported)
	}
	return st, nil
}

func (st *status) set(key, value string) (err error) {
	switch key {
	case "State":
		if value != "" {
			st.state = value[0]
		}
	case "TracerPid":
		st.tracer, err = strconv.Atoi(value)
	case "Umask":
		var u uint64
		u, err = strconv.ParseUint(value, 8, 32)
		st.umask = uint32(u)
	case "Uid":
		st.uids, err = numbers(value)
	case "Gid":
		st.gids, err = numbers(value)
	case "Groups":
		st.groups, err = numbers(value)
	case "SigBlk":
		st.blocked, err = strconv.ParseUint(value, 16, 64)
	case "SigIgn":
		st.ignored, err = strconv.ParseUint(value, 16, 64)
	case "CapEff":
		st.capEff, err = strconv.ParseUint(value, 16, 64)
	case "NoNewPrivs":
		st.noNewPrivs = value == "1"
	case "Seccomp_filters":
		st.filters, err = strconv.Atoi(value)
	case "PPid":
		st.parent, err = first(value)
	case "NSpgid":
		st.group, err = first(value)
	case "NSsid":
		st.session, err = first(value)
	}
	return err
}

// first gives the first of numbers that are one for each pid name space: the outermost, ours.
func first(s string) (uint32, error) {
	ns, err := numbers(s)
	if err != nil || len(ns) == 0 {
		return 0, err
	}
	return ns[0], nil
}

func numbers(s string) ([]uint32, error) {
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
