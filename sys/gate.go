package sys

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bounds of what a gate knows of.
const (
	GatePids    = 1 << 22 // one more than the largest pid a Linux kernel gives
	gateNames   = 64
	gateNameLen = 62
	gateName    = 256 // bytes of a name that are looked at; a longer one is told
	gateStat    = 512
	gatePage    = 4096
	futexWait   = 0
)

// Gate answers the execs of a session that concern nobody, on a thread of its own without the Go runtime. A shell script is thousands of
// them; to wake a goroutine for each costs several times what looking at it does, most of it the runtime's watching over its own
// threads. All other notifications are handed out by Receive.
//
// An exec concerns nobody when its file and first word are none of the names given, its thread is not Watched, and neither is its
// parent, unless the process is Settled.
type Gate struct {
	s    *gateState
	mem  []byte
	out  *os.File // read end
	wake int
}

// gateState is what the thread and the rest of the process share. It lies outside of Go's heap.
type gateState struct {
	alive     uint32 // cleared by the kernel when the thread has ended
	hold      uint32
	command   uint32
	spreaders int32
	listener  int32
	wake, out int32
	names     uint32
	name      [gateNames]struct {
		len   uint8
		whole bool // to be compared with all of the path
		b     [gateNameLen]byte
	}
	poll   [2]unix.PollFd
	notif  SeccompNotif
	resp   SeccompResp
	local  [2]unix.Iovec
	remote [2]unix.RemoteIovec
	word   uint64
	path   [gateName]byte
	proc   [32]byte
	stat   [gateStat]byte
	stack  [16 << 10]byte

	watched, settled [GatePids / 32]uint32 // sets of pids
}

// NewGate makes the gate of a listener and starts its thread. Execs of names, last parts of paths or whole paths, are always told, and so are those
// of the process command. ENOSYS: there is none on this machine; ENAMETOOLONG: too many names or too long ones.
func NewGate(listener int, names []string, command int) (*Gate, error) {
	mem, err := unix.Mmap(-1, 0, int(unsafe.Sizeof(gateState{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("gate: %w", err)
	}
	g := &Gate{mem: mem, s: (*gateState)(unsafe.Pointer(&mem[0])), wake: -1}
	var pipe [2]int
	fail := func(err error) (*Gate, error) {
		if g.wake >= 0 {
			unix.Close(g.wake)
		}
		_ = unix.Munmap(mem)
		return nil, err
	}
	if len(names) > gateNames {
		return fail(fmt.Errorf("gate: %d names: %w", len(names), syscall.ENAMETOOLONG))
	}
	for i, name := range names {
		if len(name) > gateNameLen {
			return fail(fmt.Errorf("gate: %s: %w", name, syscall.ENAMETOOLONG))
		}
		n := &g.s.name[i]
		n.len = uint8(copy(n.b[:], name))
		for _, c := range []byte(name) {
			n.whole = n.whole || c == '/'
		}
	}
	g.s.names, g.s.command = uint32(len(names)), uint32(command)
	g.s.local[0].Base, g.s.local[1].Base = &g.s.path[0], (*byte)(unsafe.Pointer(&g.s.word)) // the thread must not write pointers
	if g.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fail(fmt.Errorf("gate: %w", err))
	}
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return fail(fmt.Errorf("gate: %w", err))
	}
	g.s.listener, g.s.wake, g.s.out = int32(listener), int32(g.wake), int32(pipe[1])
	tid, errno := startGate(g.s)
	if errno != 0 {
		unix.Close(pipe[0])
		unix.Close(pipe[1])
		return fail(errno)
	}
	shortSlice(tid)
	_ = unix.SetNonblock(pipe[0], true) // so that a goroutine can wait for it
	g.out = os.NewFile(uintptr(pipe[0]), "gate")
	return g, nil
}

// gateSlice is much less than the 3 ms that others have.
const gateSlice = 100 * time.Microsecond

// shortSlice lets a thread finish what it is at before those that it wakes run. One that answers an exec and is still there to run when the
// caller goes on makes the kernel move that, with its caches cold, to a CPU which is idle: a gate answers in much less than a slice, and sleeps.
// Kernels before 6.12 have one slice for all.
func shortSlice(tid int) {
	if attr, err := unix.SchedGetAttr(tid, 0); err == nil {
		attr.Runtime = uint64(gateSlice)
		_ = unix.SchedSetAttr(tid, attr, 0) // else it is slower
	}
}

// Receive gives the next notification that concerns somebody; it blocks until there is one. io.EOF: nobody is left under the filter, or
// Stop was called.
func (g *Gate) Receive(n *SeccompNotif) error {
	b := unsafe.Slice((*byte)(unsafe.Pointer(n)), unsafe.Sizeof(*n))
	_, err := io.ReadFull(g.out, b) // written at once, so never in part
	return err
}

// Stop ends the thread; Receive gives what it has told already, then io.EOF.
func (g *Gate) Stop() {
	_, _ = unix.Write(g.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // fails only when it is readable already
}

// Close gives everything back. It may be called once, when Receive has given an error; no method may be called after.
func (g *Gate) Close() error {
	g.Stop()
	g.out.Close()                            // a thread that was about to tell something gets EPIPE
	pause := unix.NsecToTimespec(int64(1e6)) // microseconds are the rule; the kernel wakes who waits for the word to change
	for end := time.Now().Add(5 * time.Second); ; {
		tid := atomic.LoadUint32(&g.s.alive)
		if tid == 0 {
			break
		}
		if time.Now().After(end) {
			return errors.New("gate: its thread does not end") // its memory stays
		}
		_, _, _ = syscall.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&g.s.alive)), futexWait, uintptr(tid), uintptr(unsafe.Pointer(&pause)), 0, 0)
	}
	unix.Close(g.wake)
	return unix.Munmap(g.mem)
}

// Watch says that the process is one whose own execs, and whose children's, are to be told; or that it is no longer.
func (g *Gate) Watch(pid int, on bool) { mark(&g.s.watched, pid, on) }

// Settle says that the process stays what it is whoever its parent is; or that it is forgotten.
func (g *Gate) Settle(pid int, on bool) { mark(&g.s.settled, pid, on) }

// Spreaders adds to the number of watched processes that can have children. While there are none no parent need be looked at.
func (g *Gate) Spreaders(more int) { atomic.AddInt32(&g.s.spreaders, int32(more)) }

// Hold says that every exec is to be told from now on; or no longer.
func (g *Gate) Hold(on bool) {
	v := uint32(0)
	if on {
		v = 1
	}
	atomic.StoreUint32(&g.s.hold, v)
}

func mark(set *[GatePids / 32]uint32, pid int, on bool) {
	if pid <= 0 || pid >= GatePids {
		return
	}
	if bit := uint32(1) << (pid % 32); on {
		atomic.OrUint32(&set[pid/32], bit)
	} else {
		atomic.AndUint32(&set[pid/32], ^bit)
	}
}
