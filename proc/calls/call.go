package calls

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc"
)

// Space resolves pids.
type Space interface {
	Process(pid names.Pid) proc.Process
	Group(pid names.Pid) proc.Process
	Self() names.Host // this host
	// SignalLeased sends to all that jobs of this home have forked elsewhere.
	SignalLeased(ctx context.Context, who *proc.Caller, sig int) error
}

// Call is one system call of a thread that waits.
type Call struct {
	TID  int // on this host
	Nr   int
	Args [6]uint64
	Who  *proc.Caller
	Home names.Host // of the caller

	mem   *os.File // the memory that the thread had when it made the call
	apart bool     // its plain numbers are of a pid name space that is not ours
	space Space
	cont  bool // a process was meant that is this host's own and by its plain number
}

// Answer is how a call ends.
type Answer struct {
	Value    int64
	Errno    syscall.Errno
	Continue bool
	File     *os.File // to be put into the caller's table; its number there is the value. The receiver closes it
}

// lateTime is how long a thread may take from being notified to lying still.
const lateTime = 100 * time.Millisecond

// Read reads the call in which the thread waits, which the caller closes. ESRCH: there is no such thread, or it waits in no call.
//
// The thread's user may have it go on at any moment, and become a program with other rights. So all that is read is of one moment: while
// a thread does not run, the kernel counts no switch of it.
func Read(tid int) (*Call, error) {
	for end := time.Now().Add(lateTime); ; time.Sleep(50 * time.Microsecond) {
		c, still, err := look(tid)
		if err != nil {
			return nil, fmt.Errorf("thread %d: %w", tid, err)
		}
		if still {
			return c, nil
		}
		c.Close()
		if time.Now().After(end) {
			return nil, fmt.Errorf("thread %d waits in no call: %w", tid, syscall.ESRCH)
		}
	}
}

// look reads all of a call, and reports whether the thread lay still meanwhile: it did not run when its call was read, and was switched away
// from no later than when the first status was. That says how often only at its end, so the rights are those of a second one.
func look(tid int) (_ *Call, still bool, err error) {
	dir := "/proc/" + strconv.Itoa(tid)
	var read [4][]byte
	c := &Call{TID: tid}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	ours := false
	for i, name := range [...]string{"/status", "/status", "/syscall", "/status"} {
		if i == 1 { // the memory and the user name space that it has now
			ours = proc.InOwn("user", tid)
			if c.mem, err = os.OpenFile(dir+"/mem", os.O_RDWR, 0); err != nil {
				return nil, false, syscall.ESRCH
			}
		}
		if read[i], err = os.ReadFile(dir + name); err != nil {
			return nil, false, syscall.ESRCH
		}
	}
	line := strings.TrimSpace(string(read[2]))
	if was := switches(read[0]); line == "running" || was == "" || was != switches(read[3]) {
		return c, false, nil
	}
	if c.Nr, c.Args, err = parse(line); err != nil {
		return nil, false, err
	}
	if c.Who, err = proc.ParseCaller(read[1]); err == nil && !ours {
		c.Who.Capabilities = 0
	}
	return c, true, err
}

// switches gives the lines of /proc/TID/status that say how often the thread was switched away from.
func switches(status []byte) string {
	i := bytes.Index(status, []byte("voluntary_ctxt_switches:"))
	if i < 0 {
		return ""
	}
	return string(status[i:])
}

// Close gives up the caller's memory.
func (c *Call) Close() {
	if c.mem != nil {
		c.mem.Close()
	}
}

// parse reads a line of /proc/TID/syscall: the number, six arguments, stack pointer and program counter.
func parse(line string) (nr int, args [6]uint64, err error) {
	f := strings.Fields(line)
	if len(f) != 9 {
		return 0, args, syscall.ESRCH // -1: blocked, but in no call
	}
	if nr, err = strconv.Atoi(f[0]); err != nil {
		return 0, args, syscall.EINVAL
	}
	for i := range args {
		if args[i], err = strconv.ParseUint(f[i+1], 0, 64); err != nil {
			return 0, args, syscall.EINVAL
		}
	}
	return nr, args, nil
}

// Perform carries out the call of a caller of the home; it ends in bounded time. pid is the caller's process, in its home's space.
func (c *Call) Perform(ctx context.Context, s Space, home names.Host, pid int) Answer {
	ctx, cancel := context.WithTimeout(ctx, 2*proc.OperationTime)
	defer cancel()
	c.space, c.Home = s, home
	c.Who.Pid = names.MakePid(home, pid)
	do := table[c.Nr]
	if do == nil {
		return Answer{Errno: syscall.ENOSYS}
	}
	a := do(ctx, c)
	if c.cont && a.File == nil { // it was not called: see target
		return Answer{Continue: true}
	}
	return a
}

// table has what can be carried out.
var table = map[int]func(context.Context, *Call) Answer{
	unix.SYS_KILL:                  kill,
	unix.SYS_TKILL:                 tkill,
	unix.SYS_TGKILL:                tgkill,
	unix.SYS_RT_SIGQUEUEINFO:       sigqueue,
	unix.SYS_RT_TGSIGQUEUEINFO:     tgsigqueue,
	unix.SYS_PIDFD_OPEN:            pidfdOpen,
	unix.SYS_WAIT4:                 noChild,
	unix.SYS_WAITID:                noChild,
	unix.SYS_GETPGID:               getpgid,
	unix.SYS_GETSID:                getsid,
	unix.SYS_SETPGID:               setpgid,
	unix.SYS_GETPRIORITY:           getpriority,
	unix.SYS_SETPRIORITY:           setpriority,
	unix.SYS_IOPRIO_GET:            ioprioGet,
	unix.SYS_IOPRIO_SET:            ioprioSet,
	unix.SYS_SCHED_GETAFFINITY:     getaffinity,
	unix.SYS_SCHED_SETAFFINITY:     setaffinity,
	unix.SYS_SCHED_GETSCHEDULER:    getscheduler,
	unix.SYS_SCHED_SETSCHEDULER:    setscheduler,
	unix.SYS_SCHED_GETPARAM:        getparam,
	unix.SYS_SCHED_SETPARAM:        setparam,
	unix.SYS_SCHED_GETATTR:         getattr,
	unix.SYS_SCHED_SETATTR:         setattr,
	unix.SYS_SCHED_RR_GET_INTERVAL: rrInterval,
	unix.SYS_PRLIMIT64:             prlimit,
	unix.SYS_PROCESS_VM_READV:      vmRead,
	unix.SYS_PROCESS_VM_WRITEV:     vmWrite,
	unix.SYS_PTRACE:                ptrace,
	unix.SYS_KCMP:                  refusedFor(0, 1),
	unix.SYS_MIGRATE_PAGES:         refusedFor(0),
	unix.SYS_MOVE_PAGES:            refusedFor(0),
	unix.SYS_GET_ROBUST_LIST:       refusedFor(0),
}

// number gives an argument that is an int to the kernel.
func (c *Call) number(arg int) int { return int(int32(uint32(c.Args[arg]))) }

// pid gives an argument that names a process, with a home's number.
func (c *Call) pid(arg int) names.Pid { return c.full(names.Pid(uint32(c.Args[arg]))) }

func (c *Call) full(pid names.Pid) names.Pid {
	if pid.Host() == names.Here {
		return names.MakePid(c.Home, pid.Local())
	}
	return pid
}

// process finds the process that an argument names.
func (c *Call) process(arg int) proc.Process { return c.plain(arg, c.space.Process(c.pid(arg))) }

// group finds the process group that an argument names.
func (c *Call) group(arg int) proc.Process { return c.plain(arg, c.space.Group(c.pid(arg))) }

// plain makes nobody of a local process named by its plain number: the kernel can do that itself, and shall.
func (c *Call) plain(arg int, p proc.Process) proc.Process {
	if _, local := p.(*proc.Local); (local || c.apart) && c.Home == c.space.Self() && names.Pid(uint32(c.Args[arg])).Host() == names.Here {
		c.cont = true
		return proc.Nobody
	}
	return p
}

// ours gives a number of the space of the process that pid names as the caller knows it.
func (c *Call) ours(pid names.Pid, n int) int64 {
	if n == 0 || pid.Host() == c.Home {
		return int64(n)
	}
	return int64(names.MakePid(pid.Host(), n))
}

func value(n int64, err error) Answer {
	if err != nil {
		return fails(err)
	}
	return Answer{Value: n}
}

func fails(err error) Answer { return Answer{Errno: names.Errno(err)} }

func done(err error) Answer { return value(0, err) }
