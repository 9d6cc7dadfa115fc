package sys

import (
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kept says what StartKept starts. All of it is made ready before the fork: after it nothing may be allocated.
type Kept struct {
	Path string
	Argv []string
	Env  []string

	Filter     []unix.SockFilter // put on the command alone
	NoNewPrivs bool
	NoFile     unix.Rlimit // the command's RLIMIT_NOFILE; the runtime raised ours
	Before     []*Call     // made by the command first of all, in this order; one that fails ends it

	Sock int // the command sends its listener there by SCM_RIGHTS
	Life int // read end of a pipe: when its writers are gone the keeper ends its children; a byte in it is answered by a KeeperAnswer
	Note int // the keeper writes KeeperNotes there
	// Killer are the arguments the keeper execs /proc/self/exe with when Life ended and children are left.
	Killer []string
}

// KeeperNote is one record of the Note pipe.
type KeeperNote struct {
	Kind   int32 // one of the Keeper constants
	Pid    int32 // of the command; of KeeperWitness: of the witness
	Status int32 // wait status; the errno of KeeperFailed
	Step   int32 // of KeeperFailed: which call failed
}

// KeeperNoteSize is the size of a KeeperNote in bytes.
const KeeperNoteSize = int(unsafe.Sizeof(KeeperNote{}))

// Kinds of KeeperNote.
const (
	KeeperStarted = 1 // the command's process exists
	KeeperFailed  = 2 // it could not be made, or its filter or exec failed
	KeeperStatus  = 3 // the command ended, stopped or continued
	KeeperWitness = 4 // the witness exists; the first of all notes
	KeeperAnswer  = 5 // what had become of the command when a byte of Life was read has been told
)

// Steps of KeeperFailed.
const (
	StepFork    = 1
	StepPrivs   = 2
	StepSeccomp = 3
	StepSend    = 4
	StepExec    = 5
	StepBefore  = 100 // and above: the calls of Kept.Before
)

// ParseKeeperNote reads a record of the Note pipe; b holds at least KeeperNoteSize bytes.
func ParseKeeperNote(b []byte) KeeperNote {
	return *(*KeeperNote)(unsafe.Pointer(&b[:KeeperNoteSize][0]))
}

// kept is Kept made ready for code that runs without the Go runtime.
type kept struct {
	path, self  *byte
	argv, env   []*byte
	killer      []*byte
	prog        unix.SockFprog
	privs       bool
	nofile      unix.Rlimit
	before      []*Call
	sock        int
	life, note  int
	mask        uint64 // the caller's signal mask
	all         uint64
	msg         unix.Msghdr
	iov         unix.Iovec
	data        [1]byte
	oob         [4]uint64 // aligned for a cmsghdr
	oobFD       *int32
	rec         KeeperNote
	info        [32]int32 // struct signalfd_siginfo
	poll        [2]unix.PollFd
	zero        [4]uint64
	act         [4]uint64
	status      int32
	cmd         int
	witness     int
	listenFlags [2]uintptr
	counts      *SignalCounts
}

// SignalCounts says how often the witness got each signal. It is memory that witness and supervisor share.
type SignalCounts struct {
	n *[65]uint32 // by signal; SIGCHLD is not counted
	b []byte
}

func newSignalCounts() (*SignalCounts, error) {
	b, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	return &SignalCounts{n: (*[65]uint32)(unsafe.Pointer(&b[0])), b: b}, nil
}

// Of gives the count of one signal, 1 to 64.
func (c *SignalCounts) Of(sig int) uint32 { return atomic.LoadUint32(&c.n[sig]) }

// Close gives the memory back; no other method may be called any more.
func (c *SignalCounts) Close() error { return unix.Munmap(c.b) }

// StartKept forks a keeper, a subreaper that blocks all signals, and lets it fork a witness and the command under the filter. It returns the
// keeper's pid and pidfd, and the signals that the witness will get. None of them execs on the way, so this costs three forks and no start of a program.
//
// The witness stays in the caller's process group, and lives as long as the keeper. The keeper leads a session of its own: what kills the group
// kills the caller with it, and somebody has to be left who kills all the others.
//
// Both run the loops below without the Go runtime: no allocation, no stack growth, no other
// thread. They close every descriptor but their own.
func StartKept(k *Kept) (pid, pidfd int, counts *SignalCounts, err error) {
	p, err := prepare(k)
	if err != nil {
		return 0, -1, nil, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	pid, pidfd, e := fork(p)
	runtime.KeepAlive(p)
	if e != 0 {
		_ = p.counts.Close()
		return 0, -1, nil, e
	}
	return pid, pidfd, p.counts, nil
}

func prepare(k *Kept) (*kept, error) {
	p := &kept{privs: k.NoNewPrivs, nofile: k.NoFile, before: k.Before, sock: k.Sock, life: k.Life, note: k.Note, all: ^uint64(0)}
	var err error
	if p.path, err = syscall.BytePtrFromString(k.Path); err != nil {
		return nil, err
	}
	if p.self, err = syscall.BytePtrFromString("/proc/self/exe"); err != nil {
		return nil, err
	}
	if p.argv, err = syscall.SlicePtrFromStrings(k.Argv); err != nil {
		return nil, err
	}
	if p.env, err = syscall.SlicePtrFromStrings(k.Env); err != nil {
		return nil, err
	}
	if p.killer, err = syscall.SlicePtrFromStrings(k.Killer); err != nil {
		return nil, err
	}
	p.prog = unix.SockFprog{Len: uint16(len(k.Filter)), Filter: &k.Filter[0]}
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	p.listenFlags = [2]uintptr{flags | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, flags}
	p.iov.Base = &p.data[0]
	p.iov.SetLen(1)
	p.msg.Iov = &p.iov
	p.msg.SetIovlen(1)
	oob := unsafe.Slice((*byte)(unsafe.Pointer(&p.oob)), len(p.oob)*8)
	copy(oob, unix.UnixRights(0))
	p.msg.Control = &oob[0]
	p.msg.SetControllen(unix.CmsgSpace(4))
	p.oobFD = (*int32)(unsafe.Pointer(&oob[unix.CmsgLen(0)]))
	p.counts, err = newSignalCounts()
	return p, err
}

//go:norace
func fork(p *kept) (pid, pidfd int, e syscall.Errno) {
	var fd int32 = -1
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.all)), uintptr(unsafe.Pointer(&p.mask)), 8, 0, 0)
	n, _, e := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD|unix.CLONE_PIDFD), 0, uintptr(unsafe.Pointer(&fd)), 0, 0, 0)
	if n == 0 && e == 0 {
		keep(p) // never returns
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.mask)), 0, 8, 0, 0)
	return int(n), int(fd), e
}

// keep is the keeper's whole life.
//
//go:norace
//go:nosplit
func keep(p *kept) {
	syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0, 0)
	n, _, e := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if e != 0 {
		tell(p, KeeperFailed, int32(e), StepFork)
		exit(1)
	}
	if n == 0 {
		watch(p)
	}
	p.witness = int(n)
	p.cmd = p.witness
	tell(p, KeeperWitness, 0, 0)
	p.cmd = 0
	n, _, e = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if e != 0 {
		tell(p, KeeperFailed, int32(e), StepFork)
		exit(1)
	}
	if n == 0 {
		command(p)
	}
	p.cmd = int(n)
	syscall.RawSyscall(unix.SYS_SETSID, 0, 0, 0) // now that both are in the caller's group
	tell(p, KeeperStarted, 0, 0)
	signals, _, e := syscall.RawSyscall6(unix.SYS_SIGNALFD4, ^uintptr(0), uintptr(unsafe.Pointer(&p.all)), 8, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK, 0, 0)
	if e != 0 {
		exit(1)
	}
	// Keep life, note and signals, the numbers of which are in no order.
	low, mid, high := uintptr(p.life), uintptr(p.note), signals
	if low > mid {
		low, mid = mid, low
	}
	if mid > high {
		mid, high = high, mid
	}
	if low > mid {
		low, mid = mid, low
	}
	closeRange(0, low)
	closeRange(low+1, mid)
	closeRange(mid+1, high)
	closeRange(high+1, 1<<31)
	for {
		reap(p)
		p.poll[0] = unix.PollFd{Fd: int32(p.life), Events: unix.POLLIN}
		p.poll[1] = unix.PollFd{Fd: int32(signals), Events: unix.POLLIN}
		syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p.poll[0])), 2, 0, 0, 8, 0)
		if p.poll[1].Revents != 0 {
			for {
				n, _, _ := syscall.RawSyscall(unix.SYS_READ, signals, uintptr(unsafe.Pointer(&p.info[0])), 128)
				if n != 128 {
					break
				}
			}
		}
		if p.poll[0].Revents&unix.POLLIN != 0 {
			if n, _, _ := syscall.RawSyscall(unix.SYS_READ, uintptr(p.life), uintptr(unsafe.Pointer(&p.data[0])), 1); n == 1 {
				reap(p)
				tell(p, KeeperAnswer, 0, 0)
			}
			continue // what was written comes before the end of the file
		}
		if p.poll[0].Revents != 0 {
			syscall.RawSyscall(unix.SYS_KILL, uintptr(p.witness), uintptr(unix.SIGKILL), 0)
			syscall.RawSyscall6(unix.SYS_WAIT4, uintptr(p.witness), 0, unix.WALL, 0, 0, 0)
			if !reap(p) {
				exit(0)
			}
			syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(p.self)), uintptr(unsafe.Pointer(&p.killer[0])), uintptr(unsafe.Pointer(&p.env[0])))
			exit(1)
		}
	}
}

// watch is the witness's whole life: it counts what its group gets.
//
//go:norace
//go:nosplit
func watch(p *kept) {
	keeper, _, _ := syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
	syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0)
	if now, _, _ := syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); now != keeper {
		exit(1)
	}
	signals, _, e := syscall.RawSyscall6(unix.SYS_SIGNALFD4, ^uintptr(0), uintptr(unsafe.Pointer(&p.all)), 8, unix.SFD_CLOEXEC, 0, 0)
	if e != 0 {
		exit(1)
	}
	closeRange(0, signals)
	closeRange(signals+1, 1<<31)
	for {
		n, _, e := syscall.RawSyscall(unix.SYS_READ, signals, uintptr(unsafe.Pointer(&p.info[0])), 128)
		if e != 0 && e != unix.EINTR {
			exit(1)
		}
		if e != 0 || n != 128 {
			continue
		}
		if sig := p.info[0]; sig > 0 && sig < int32(len(p.counts.n)) {
			p.counts.n[sig]++
		}
	}
}

// reap takes the states of all children that have changed, and reports whether there are children.
//
//go:norace
//go:nosplit
func reap(p *kept) bool {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&p.status)), unix.WNOHANG|unix.WUNTRACED|unix.WCONTINUED|unix.WALL, 0, 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return false
		}
		if n == 0 {
			return true
		}
		if int(n) == p.cmd {
			tell(p, KeeperStatus, p.status, 0)
		}
	}
}

//go:norace
//go:nosplit
func tell(p *kept, kind, status, step int32) {
	p.rec = KeeperNote{Kind: kind, Pid: int32(p.cmd), Status: status, Step: step}
	syscall.RawSyscall(unix.SYS_WRITE, uintptr(p.note), uintptr(unsafe.Pointer(&p.rec)), unsafe.Sizeof(p.rec))
}

//go:norace
//go:nosplit
func closeRange(from, to uintptr) {
	if from < to {
		syscall.RawSyscall(unix.SYS_CLOSE_RANGE, from, to-1, 0)
	}
}

//go:norace
//go:nosplit
func exit(code int) {
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(code), 0, 0)
	}
}

// command becomes the command: default signals, what comes before, the filter, its listener sent away, exec.
//
//go:norace
//go:nosplit
func command(p *kept) {
	for sig := uintptr(1); sig <= 64; sig++ { // our handlers must not run here; what is ignored stays so
		_, _, e := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&p.act)), 8, 0, 0)
		if e == 0 && p.act[0] > 1 {
			syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&p.zero)), 0, 8, 0, 0)
		}
	}
	syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&p.nofile)), 0, 0, 0)
	for i := range p.before {
		c := p.before[i]
		if _, _, e := syscall.RawSyscall6(c.nr, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5]); e != 0 {
			fail(p, e, StepBefore+int32(i))
		}
	}
	if p.privs {
		if _, _, e := syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); e != 0 {
			fail(p, e, StepPrivs)
		}
	}
	fd, _, e := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, p.listenFlags[0], uintptr(unsafe.Pointer(&p.prog)))
	if e == unix.EINVAL { // before 5.19 there is no WAIT_KILLABLE_RECV
		fd, _, e = syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, p.listenFlags[1], uintptr(unsafe.Pointer(&p.prog)))
	}
	if e != 0 {
		fail(p, e, StepSeccomp)
	}
	*p.oobFD = int32(fd)
	if _, _, e := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(p.sock), uintptr(unsafe.Pointer(&p.msg)), 0); e != 0 {
		fail(p, e, StepSend)
	}
	syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&p.mask)), 0, 8, 0, 0)
	_, _, e = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(p.path)), uintptr(unsafe.Pointer(&p.argv[0])), uintptr(unsafe.Pointer(&p.env[0])))
	fail(p, e, StepExec)
}

//go:norace
//go:nosplit
func fail(p *kept, e syscall.Errno, step int32) {
	tell(p, KeeperFailed, int32(e), step)
	exit(127)
}
