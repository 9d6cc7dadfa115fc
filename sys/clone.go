//go:build linux

package sys

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Program is what a cloned child does before it becomes another program: a list of raw system calls, made beforehand, the
// last of which is execve. The child has one thread and no part in the Go runtime, so nothing but raw calls may run in it: no
// allocation, no lock, no stack growth.
//
// The steps run in the order they were added. The first that fails ends the child; Clone's pipe then carries its index
// and errno. A Program is built and run once, by one goroutine. The child runs in the caller's memory, on a stack that belongs to
// the Program: whoever calls Clone must keep the Program until the child is known to have become another program or been waited for.
type Program struct {
	steps  []step
	names  []string
	keep   []any // the memory the steps point to
	stack  []byte
	report uintptr
	bad    error
	state  *programState // of one that makes calls; nil otherwise
}

const (
	stepPlain  = iota
	stepSave   // remember the result
	stepUse    // the first argument is the remembered result
	stepReport // the result is the descriptor that failures are written to from here on
	stepSame   // no call: fails with ESTALE unless the inode number that fstat has left is the one wanted
	stepCall   // its result is kept, and a failure ends nothing
	stepOther  // fails with EPERM if the result is the first argument
	stepTry    // a failure is reported, and the next step taken
	stepSearch // likewise, if it only says that the file is not the one, as execvp has it
)

type step struct {
	nr   uintptr
	kind uintptr
	a    [6]uintptr
	ino  *uint64 // of stepSame, which wants a[0]
	res  *result // of stepCall
}

func (p *Program) add(name string, kind int, nr uintptr, args ...uintptr) {
	s := step{nr: nr, kind: uintptr(kind)}
	copy(s.a[:], args)
	p.steps = append(p.steps, s)
	p.names = append(p.names, name)
}

// StepName names the step a failure reported by its index, for a person to read.
func (p *Program) StepName(i int) string {
	if i < 0 || i >= len(p.names) {
		return "unknown step"
	}
	return p.names[i]
}

func (p *Program) str(s string) uintptr {
	b, err := unix.BytePtrFromString(s)
	if err != nil {
		p.bad = syscall.EINVAL
		return 0
	}
	p.keep = append(p.keep, b)
	return uintptr(unsafe.Pointer(b))
}

func (p *Program) strs(list []string) uintptr {
	v := make([]*byte, len(list)+1)
	for i, s := range list {
		b, err := unix.BytePtrFromString(s)
		if err != nil {
			p.bad = syscall.EINVAL
			return 0
		}
		v[i] = b
	}
	p.keep = append(p.keep, v)
	return uintptr(unsafe.Pointer(&v[0]))
}

func (p *Program) words(w ...uint64) uintptr {
	v := append([]uint64(nil), w...)
	p.keep = append(p.keep, v)
	return uintptr(unsafe.Pointer(&v[0]))
}

// Setpgid makes the child the leader of a process group of its own; pass is as in CloneOptions.
func (p *Program) Setpgid(pass uint64) {
	p.add("setpgid", stepPlain, unix.SYS_SETPGID, 0, 0, uintptr(pass))
}

// ReportTo moves the descriptor that failures are written to.
func (p *Program) ReportTo(from, to int) {
	p.add("dup3 of the report pipe", stepReport, unix.SYS_DUP3, uintptr(from), uintptr(to), unix.O_CLOEXEC)
}

// Dup makes to the same open file as from; they must differ.
func (p *Program) Dup(from, to int, cloexec bool) {
	var flags uintptr
	if cloexec {
		flags = unix.O_CLOEXEC
	}
	p.add("dup3", stepPlain, unix.SYS_DUP3, uintptr(from), uintptr(to), flags)
}

// Open opens path as descriptor to, which must be in use already (as a placeholder), so that open cannot pick that number
// itself.
func (p *Program) Open(path string, flags int, to int) {
	dirfd := unix.AT_FDCWD
	p.add("open "+path, stepSave, unix.SYS_OPENAT, uintptr(dirfd), p.str(path), uintptr(flags|unix.O_CLOEXEC), 0)
	p.add("dup3", stepUse, unix.SYS_DUP3, 0, uintptr(to), 0)
	p.add("close", stepUse, unix.SYS_CLOSE)
}

// InoBits are the bits of an inode number that OpenSame and ChdirSame compare: a tree of several devices may use the others to
// tell these apart.
const InoBits = 1<<48 - 1

// OpenSame is Open for a file that must still be the one known by its inode number. path must hold no symbolic link: whoever may
// change a directory of it could otherwise have anything opened with the rights of the caller (ELOOP, ESTALE).
func (p *Program) OpenSame(path string, flags int, ino uint64, to int) {
	p.openSame(path, flags, ino)
	p.add("dup3", stepUse, unix.SYS_DUP3, 0, uintptr(to), 0)
	p.add("close", stepUse, unix.SYS_CLOSE)
}

// ChdirSame changes to a directory that must still be the one known by its inode number, as OpenSame.
func (p *Program) ChdirSame(path string, ino uint64) {
	p.openSame(path, unix.O_PATH|unix.O_DIRECTORY, ino)
	p.add("chdir "+path, stepUse, unix.SYS_FCHDIR)
	p.add("close", stepUse, unix.SYS_CLOSE)
}

func (p *Program) openSame(path string, flags int, ino uint64) {
	dirfd := unix.AT_FDCWD
	how := &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_NO_SYMLINKS}
	st := new(unix.Stat_t)
	p.keep = append(p.keep, how, st)
	p.add("open "+path, stepSave, unix.SYS_OPENAT2, uintptr(dirfd), p.str(path), uintptr(unsafe.Pointer(how)), unsafe.Sizeof(*how))
	p.add("stat "+path, stepUse, unix.SYS_FSTAT, 0, uintptr(unsafe.Pointer(st)))
	p.add(path+", which is another now", stepSame, 0, uintptr(ino&InoBits))
	p.steps[len(p.steps)-1].ino = &st.Ino
}

// CloseRange closes the descriptors first..last.
func (p *Program) CloseRange(first, last uint) {
	p.add("close_range", stepPlain, unix.SYS_CLOSE_RANGE, uintptr(first), uintptr(last), 0)
}

// Chdir changes the working directory.
func (p *Program) Chdir(path string) { p.add("chdir "+path, stepPlain, unix.SYS_CHDIR, p.str(path)) }

// Umask sets the file mode creation mask.
func (p *Program) Umask(mask uint32) { p.add("umask", stepPlain, unix.SYS_UMASK, uintptr(mask)) }

// Rlimit sets one resource limit.
func (p *Program) Rlimit(resource int, soft, hard uint64) {
	p.add("prlimit", stepPlain, unix.SYS_PRLIMIT64, 0, uintptr(resource), p.words(soft, hard), 0)
}

// Nice sets the nice value, -20..19.
func (p *Program) Nice(n int) {
	p.add("setpriority", stepPlain, unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, uintptr(n))
}

// Scheduler sets the scheduling policy: one without a priority of its own.
func (p *Program) Scheduler(policy uint32) {
	p.add("sched_setscheduler", stepPlain, unix.SYS_SCHED_SETSCHEDULER, 0, uintptr(policy), p.words(0))
}

// IOPriority sets the class and level of the child's input and output, as ioprio_get gives them.
func (p *Program) IOPriority(prio uint32) {
	const whoProcess = 1
	p.add("ioprio_set", stepPlain, unix.SYS_IOPRIO_SET, whoProcess, 0, uintptr(prio))
}

// TimerSlack sets by how many ns timers may be late; 0 stands for 50 µs, with which the kernel starts its first process.
func (p *Program) TimerSlack(ns uint64) {
	if ns == 0 { // to the kernel it means what the parent has, and the parent may be a daemon that is late on purpose
		ns = 50_000
	}
	p.add("prctl(PR_SET_TIMERSLACK)", stepPlain, unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, uintptr(ns), 0, 0, 0)
}

// Credentials sets the supplementary groups and the real, effective, saved and file system ids, in this order.
func (p *Program) Credentials(groups []uint32, gid, uid [4]uint32) {
	var ptr uintptr
	if len(groups) > 0 {
		g := append([]uint32(nil), groups...)
		p.keep = append(p.keep, g)
		ptr = uintptr(unsafe.Pointer(&g[0]))
	}
	p.add("setgroups", stepPlain, unix.SYS_SETGROUPS, uintptr(len(groups)), ptr)
	p.add("setresgid", stepPlain, unix.SYS_SETRESGID, uintptr(gid[0]), uintptr(gid[1]), uintptr(gid[2]))
	p.add("setfsgid", stepPlain, unix.SYS_SETFSGID, uintptr(gid[3]))
	p.add("setresuid", stepPlain, unix.SYS_SETRESUID, uintptr(uid[0]), uintptr(uid[1]), uintptr(uid[2]))
	if uid[3] != uid[1] { // setresuid has set it to the effective id already
		p.add("setfsuid", stepPlain, unix.SYS_SETFSUID, uintptr(uid[3]))
	}
}

// NoNewPrivs sets the no_new_privs bit.
func (p *Program) NoNewPrivs() {
	p.add("prctl(PR_SET_NO_NEW_PRIVS)", stepPlain, unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// Ignore sets the disposition of a signal to ignored.
func (p *Program) Ignore(sig int) {
	// struct sigaction of the kernel: handler, flags, restorer, mask; all nought but SIG_IGN.
	p.add("rt_sigaction", stepPlain, unix.SYS_RT_SIGACTION, uintptr(sig), p.words(1, 0, 0, 0), 0, 8)
}

// Default sets the disposition of a signal to the default.
func (p *Program) Default(sig int) {
	p.add("rt_sigaction", stepPlain, unix.SYS_RT_SIGACTION, uintptr(sig), p.words(0, 0, 0, 0), 0, 8)
}

// SigMask sets the mask of blocked signals; bit n-1 is signal n.
func (p *Program) SigMask(mask uint64) {
	p.add("rt_sigprocmask", stepPlain, unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, p.words(mask), 0, 8)
}

// Exec becomes the program at path.
func (p *Program) Exec(path string, argv, env []string) {
	p.add("exec "+path, stepPlain, unix.SYS_EXECVE, p.str(path), p.strs(argv), p.strs(env))
}

// CloneOptions say where the child is made.
type CloneOptions struct {
	Pid    int // its number in the caller's pid name space; 0: the kernel chooses
	Cgroup int // descriptor of the v2 cgroup it is born in; -1: the caller's
	Report int // close-on-exec descriptor that a failure is written to, as two 32-bit words: step, errno
	// Pass is what the call has as its third argument, which the kernel does not look at: a filter can tell by it that the call is ours.
	Pass uint64
}

// cloneArgs is struct clone_args of the kernel, up to and with the cgroup field.
type cloneArgs struct {
	flags, _, childTid, _, exitSignal, stack, stackSize, _, setTid, setTidSize, cgroup uint64
}

// Clone makes a child that runs p. It returns as soon as the child exists; a failed step is read from the pipe whose
// write end is o.Report (end of file there means that execve succeeded). EEXIST: the pid is in use.
func Clone(p *Program, o CloneOptions) (int, syscall.Errno) {
	if p.bad != nil || len(p.steps) == 0 {
		return 0, syscall.EINVAL
	}
	ca := &cloneArgs{flags: unix.CLONE_CLEAR_SIGHAND, exitSignal: uint64(unix.SIGCHLD)}
	if o.Pid != 0 {
		tid := new(int32)
		*tid = int32(o.Pid)
		p.keep = append(p.keep, tid) // in a place that does not move: on this stack it would not be
		ca.setTid, ca.setTidSize = uint64(uintptr(unsafe.Pointer(tid))), 1
	}
	if o.Cgroup >= 0 {
		ca.flags |= unix.CLONE_INTO_CGROUP
		ca.cgroup = uint64(o.Cgroup)
	}
	runtime.LockOSThread() // the signal mask below is the thread's
	defer runtime.UnlockOSThread()
	all, old := ^uint64(0), uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	p.report = uintptr(o.Report)
	pid, errno := cloneAndRun(ca, p, uintptr(o.Pass))
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	runtime.KeepAlive(ca)
	return int(pid), errno
}

// numberOne has an address that does not change, as a variable on a stack's may.
var numberOne int32 = 1

// AwaitNumbers returns when whoever was in the middle of getting a process number, by a fork, when it was called has got it. The kernel gives
// numbers under one lock, which it takes even to find that number 1 is in use. It needs the capability to choose numbers.
func AwaitNumbers() error {
	ca := &cloneArgs{
		flags:  unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM,
		setTid: uint64(uintptr(unsafe.Pointer(&numberOne))), setTidSize: 1,
	}
	_, _, errno := syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(ca)), unsafe.Sizeof(*ca), 0)
	if errno == syscall.EEXIST {
		return nil
	}
	return errno
}

// run is the child. It must not be preempted, grow its stack or write a pointer.
//
//go:norace
//go:nosplit
//go:noinline
func run(p *Program) {
	var saved uintptr
	report := p.report
	for i := range p.steps {
		s := &p.steps[i]
		first := s.a[0]
		if s.kind == stepUse {
			first = saved
		}
		var r uintptr
		var e syscall.Errno
		if s.kind != stepSame {
			r, _, e = syscall.RawSyscall6(s.nr, first, s.a[1], s.a[2], s.a[3], s.a[4], s.a[5])
		} else if *s.ino&InoBits != uint64(s.a[0]) {
			e = syscall.ESTALE
		}
		if s.kind == stepCall {
			s.res.value, s.res.errno = r, e
			continue
		}
		if s.kind == stepOther && r == s.a[0] {
			e = syscall.EPERM
		}
		if e != 0 {
			if p.state != nil {
				p.state.failed, p.state.errno = i+1, e
			}
			words := [2]uint32{uint32(i), uint32(e)}
			syscall.RawSyscall6(unix.SYS_WRITE, report, uintptr(unsafe.Pointer(&words)), unsafe.Sizeof(words), 0, 0, 0)
			if s.kind == stepTry || s.kind == stepSearch && elsewhere(e) {
				continue
			}
			break
		}
		switch s.kind {
		case stepSave:
			saved = r
		case stepReport:
			report = r
		}
	}
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 127, 0, 0, 0, 0, 0)
	}
}
