//go:build linux

package sys

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call is one system call to be made, here or by a child that has somebody else's rights (StartAs). It is made once.
type Call struct {
	nr    uintptr
	args  [6]uintptr
	keep  []any // the memory that arguments point to
	value uintptr
	errno syscall.Errno
}

// NewCall names a system call and those of its arguments that are numbers.
func NewCall(nr int, args ...int) *Call {
	c := &Call{nr: uintptr(nr)}
	for i, a := range args {
		c.args[i] = uintptr(a)
	}
	return c
}

// Buffer makes b's memory an argument; a null pointer if b is empty.
func (c *Call) Buffer(arg int, b []byte) *Call {
	if len(b) > 0 {
		c.keep = append(c.keep, b)
		c.args[arg] = uintptr(unsafe.Pointer(&b[0]))
	}
	return c
}

// Span is a piece of another process's memory.
type Span struct{ Base, Len uint64 }

// Vectors makes the arguments arg and arg+1 those of process_vm_readv and process_vm_writev that name one's own memory, b, and the
// next two the other's.
func (c *Call) Vectors(arg int, b []byte, spans []Span) *Call {
	if len(b) > 0 {
		own := &Span{uint64(uintptr(unsafe.Pointer(&b[0]))), uint64(len(b))}
		c.keep = append(c.keep, b, own)
		c.args[arg], c.args[arg+1] = uintptr(unsafe.Pointer(own)), 1
	}
	if len(spans) > 0 {
		c.keep = append(c.keep, spans)
		c.args[arg+2], c.args[arg+3] = uintptr(unsafe.Pointer(&spans[0])), uintptr(len(spans))
	}
	return c
}

// Do makes the call on this thread. It may block as the call does.
func (c *Call) Do() {
	c.value, _, c.errno = syscall.Syscall6(c.nr, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5])
	runtime.KeepAlive(c.keep)
}

// Result gives what the call returned, once it was made.
func (c *Call) Result() (int, syscall.Errno) { return int(c.value), c.errno }

// Identity is the rights of a process: ids real, effective and saved, supplementary groups, effective capabilities.
type Identity struct {
	UID, GID     [3]uint32
	Groups       []uint32
	Capabilities uint64
}

// StartAs starts a child that takes on the identity, makes the calls one after the other, and ends. The calls' results may be read when
// the child has been waited for (by its number; it ends with SIGCHLD); until then p must be kept. A process of its own
// and not a thread: to a thread the kernel allows everything about its own process, which is the daemon, and a thread with a user's
// ids could be killed by that user, with all the rest of it. The memory is shared, but nobody without CAP_SYS_PTRACE may look into
// it: the change of ids makes it undumpable.
//
// Capabilities the caller has not got himself are left out. ENOSYS: this architecture has no such children.
func StartAs(id *Identity, calls ...*Call) (p *Program, pid int, errno syscall.Errno) {
	if !sharesMemory {
		return nil, 0, syscall.ENOSYS
	}
	p = &Program{}
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
		return nil, 0, syscall.EPERM
	}
	for i := range data {
		have := id.Capabilities >> (32 * i)
		data[i] = unix.CapUserData{Effective: data[i].Permitted & uint32(have), Permitted: data[i].Permitted & uint32(have)}
	}
	p.keep = append(p.keep, hdr, data)
	p.add("capset", stepPlain, unix.SYS_CAPSET, uintptr(unsafe.Pointer(hdr)), uintptr(unsafe.Pointer(data)))
	p.add("prctl(PR_SET_DUMPABLE)", stepPlain, unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	for _, c := range calls {
		c.errno = syscall.EINTR // unless it is made
		p.steps = append(p.steps, step{nr: c.nr, kind: stepCall, a: c.args, call: c})
		p.names = append(p.names, "call")
		p.keep = append(p.keep, c)
	}
	pid, errno = Clone(p, CloneOptions{Cgroup: -1, Report: -1})
	return p, pid, errno
}

// Failed gives the step that failed before the calls were made, in a child of StartAs that has ended; 0 if none did.
func (p *Program) Failed() (step string, errno syscall.Errno) {
	if p.failed == 0 {
		return "", 0
	}
	return p.StepName(p.failed - 1), p.errno
}
