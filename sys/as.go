//go:build linux

package sys

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Identity is the rights of a process: ids real, effective and saved, supplementary groups, effective capabilities.
type Identity struct {
	UID, GID     [3]uint32
	Groups       []uint32
	Capabilities uint64
}

// programState is how far a program that makes calls came.
type programState struct {
	failed int // the step that did, plus one
	errno  syscall.Errno
}

// As is a child that makes calls with somebody else's rights.
type As struct {
	Pid   int
	p     *Program
	calls []*Call
	area  []byte    // shared with a child that has a copy of our memory
	at    []*result // in it, of each call
}

// StartAs starts a child that takes on the identity, makes the calls one after the other, and ends with SIGCHLD. The caller waits for
// it by its number, then calls Finish, and until then must keep what is returned.
//
// It is a process of its own and not a thread. To a thread the kernel allows everything about its own process, which is the daemon;
// and a thread with a user's ids could be killed by that user, with all the rest of it. The child leads a session, so that it is in no group
// that its calls may be about, and shares our memory, which is quick: nobody without CAP_SYS_PTRACE may look into it, for the change of ids
// makes it undumpable. But the kernel lets whoever has a memory do everything with it, by whatever number: so calls that are about
// the memory of other need apart, a child that has a copy, and only such a one can be had on architectures other than amd64. other is the process
// they are about, which may not be the child itself.
//
// Capabilities that this process has not got are left out.
func StartAs(id *Identity, apart bool, other int, calls ...*Call) (*As, syscall.Errno) {
	a := &As{p: &Program{state: &programState{}}, calls: calls}
	for _, c := range calls {
		c.errno = syscall.EINTR // unless it is made
		a.at = append(a.at, &c.result)
	}
	apart = apart || !sharesMemory
	if apart {
		if errno := a.share(); errno != 0 {
			return nil, errno
		}
	}
	if errno := a.p.become(id); errno != 0 {
		a.unshare()
		return nil, errno
	}
	if apart {
		a.p.add("getpid", stepOther, unix.SYS_GETPID, uintptr(other))
	}
	for i, c := range calls {
		a.p.steps = append(a.p.steps, step{nr: c.nr, kind: stepCall, a: c.args, res: a.at[i]})
		a.p.names = append(a.p.names, "call")
	}
	var errno syscall.Errno
	if apart {
		a.Pid, errno = forkCopy(a.p)
	} else {
		a.Pid, errno = Clone(a.p, CloneOptions{Cgroup: -1, Report: -1})
	}
	if errno != 0 {
		a.unshare()
		return nil, errno
	}
	return a, 0
}

// Finish gives the calls of a child that has been waited for their results, and what they have read. It gives the step before them that
// failed, if one did.
func (a *As) Finish() (step string, errno syscall.Errno) {
	if a.area != nil {
		at := a.area[unsafe.Sizeof(programState{}):]
		for i, c := range a.calls {
			c.result = *a.at[i]
			at = at[unsafe.Sizeof(result{}):]
			for _, b := range c.bufs {
				at = at[copy(b.b, at[:len(b.b)])+padding(len(b.b)):]
			}
		}
	}
	if s := a.p.state; s.failed != 0 {
		step, errno = a.p.StepName(s.failed-1), s.errno
	}
	runtime.KeepAlive(a.calls)
	a.unshare()
	return step, errno
}

// unshare gives the shared memory back.
func (a *As) unshare() {
	if a.area != nil {
		a.p.state, a.at = &programState{}, nil // they were in it
		_ = unix.Munmap(a.area)                // it cannot fail for what Mmap gave
		a.area = nil
	}
}

// share moves what the calls read, write and leave into memory that a child with a copy of ours leaves it in.
func (a *As) share() syscall.Errno {
	size := int(unsafe.Sizeof(programState{}))
	for _, c := range a.calls {
		size += int(unsafe.Sizeof(result{}))
		for _, b := range c.bufs {
			size += len(b.b) + padding(len(b.b))
		}
	}
	area, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return syscall.ENOMEM
	}
	a.area = area
	a.p.state = (*programState)(unsafe.Pointer(&area[0]))
	at := area[unsafe.Sizeof(programState{}):]
	for i, c := range a.calls {
		a.at[i] = (*result)(unsafe.Pointer(&at[0]))
		*a.at[i] = c.result
		at = at[unsafe.Sizeof(result{}):]
		for _, b := range c.bufs {
			copy(at, b.b)
			if b.arg >= 0 {
				c.args[b.arg] = address(at)
			} else {
				c.own.Base = uint64(address(at))
			}
			at = at[len(b.b)+padding(len(b.b)):]
		}
	}
	return 0
}

// padding is what brings n bytes to a multiple of eight.
func padding(n int) int { return -n & 7 }

// become takes on an identity.
func (p *Program) become(id *Identity) syscall.Errno {
	p.add("setsid", stepPlain, unix.SYS_SETSID)
	p.add("prctl(PR_SET_KEEPCAPS)", stepPlain, unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
	var groups uintptr
	if len(id.Groups) > 0 {
		g := append([]uint32(nil), id.Groups...)
		p.keep = append(p.keep, g)
		groups = uintptr(unsafe.Pointer(&g[0]))
	}
	p.add("setgroups", stepPlain, unix.SYS_SETGROUPS, uintptr(len(id.Groups)), groups)
	p.add("setresgid", stepPlain, unix.SYS_SETRESGID, uintptr(id.GID[0]), uintptr(id.GID[1]), uintptr(id.GID[2]))
	p.add("setresuid", stepPlain, unix.SYS_SETRESUID, uintptr(id.UID[0]), uintptr(id.UID[1]), uintptr(id.UID[2]))
	hdr := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := new([2]unix.CapUserData)
	if err := unix.Capget(hdr, &data[0]); err != nil {
		return syscall.EPERM
	}
	hdr.Pid = 0
	for i := range data {
		has := data[i].Permitted & uint32(id.Capabilities>>(32*i))
		data[i] = unix.CapUserData{Effective: has, Permitted: has}
	}
	p.keep = append(p.keep, hdr, data)
	p.add("capset", stepPlain, unix.SYS_CAPSET, uintptr(unsafe.Pointer(hdr)), uintptr(unsafe.Pointer(data)))
	p.add("prctl(PR_SET_DUMPABLE)", stepPlain, unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	return 0
}

// forkCopy makes a child that runs p in a copy of this process's memory. It must not be preempted, grow its stack or write a pointer between
// clone3 and its end.
//
//go:norace
//go:noinline
func forkCopy(p *Program) (int, syscall.Errno) {
	ca := &cloneArgs{flags: unix.CLONE_CLEAR_SIGHAND, exitSignal: uint64(unix.SIGCHLD)}
	p.report = ^uintptr(0)
	runtime.LockOSThread() // the signal mask below is the thread's
	defer runtime.UnlockOSThread()
	all, old := ^uint64(0), uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	pid, errno := copyAndRun(ca, p)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	runtime.KeepAlive(ca)
	return int(pid), errno
}

//go:norace
//go:nosplit
//go:noinline
func copyAndRun(ca *cloneArgs, p *Program) (uintptr, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(ca)), unsafe.Sizeof(*ca), 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		run(p)
	}
	return pid, errno
}
