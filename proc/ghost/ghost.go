package ghost

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/intercept"
	"github.com/onehost/onehost/names"
)

// The two pids a stub kills to talk to its supervisor: of a host that cannot be.
const (
	Hello   names.Pid = 0x7fff0001 // asks for its socket: answer with Attach
	Restore names.Pid = 0x7fff0002 // asks for its descriptors: answer with PutBack
)

// Orders, as the stub has them.
const (
	orderExit   = 1
	orderDie    = 2
	orderStop   = 3
	orderReexec = 4
	orderGroup  = 5
	orderSetsid = 6
)

// maxPath bounds the path of a Reexec, in bytes; the stub's buffer holds it and 16 more.
const maxPath = 4096

// Signal is one signal that a ghost got.
type Signal struct {
	Number int
	Code   int32  // si_code: SI_KERNEL from the terminal, SI_USER from kill(2)
	Pid    uint32 // sender, 0 when the kernel
	UID    uint32
	Value  int64 // si_value
}

// Ghost is one ghost's supervisor end. Its methods may be called by several goroutines, Receive by one.
type Ghost struct {
	Pid int

	sock *os.File // ours

	mu     sync.Mutex // guards theirs
	theirs *os.File   // the stub's end, until it has it; nil then
}

// New prepares the socket of the ghost that pid is about to become.
func New(pid int) (*Ghost, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	return &Ghost{Pid: pid, sock: os.NewFile(uintptr(fds[0]), "ghost"), theirs: os.NewFile(uintptr(fds[1]), "ghost's")}, nil
}

// Attach answers the kill of Hello.
func (g *Ghost) Attach(n *intercept.Notification) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.theirs == nil || n.ReturnFD(g.theirs) != nil {
		n.Fail(syscall.EIO) // the stub ends itself
	}
	g.letGoLocked()
}

// Died says that the process of the ghost is gone: one that died before Attach would not be seen by Receive.
func (g *Ghost) Died() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.letGoLocked()
}

// letGoLocked closes our copy of the stub's end, without which its death would not be seen.
func (g *Ghost) letGoLocked() {
	if g.theirs != nil {
		g.theirs.Close()
		g.theirs = nil
	}
}

// Close ends the conversation; a stub that lives dies by SIGKILL.
func (g *Ghost) Close() {
	g.Died()
	g.sock.Close()
}

// Receive waits for the next signal; io.EOF says that the ghost is gone, or execs after Reexec.
func (g *Ghost) Receive() (Signal, error) {
	var b [128]byte
	n, err := g.sock.Read(b[:])
	if err != nil {
		if errors.Is(err, syscall.ECONNRESET) { // it died with an order unread
			err = io.EOF
		}
		return Signal{}, err
	}
	if n < len(b) {
		return Signal{}, fmt.Errorf("ghost %d: a message of %d bytes", g.Pid, n)
	}
	e := binary.NativeEndian
	return Signal{
		Number: int(e.Uint32(b[0:])),
		Code:   int32(e.Uint32(b[8:])),
		Pid:    e.Uint32(b[12:]),
		UID:    e.Uint32(b[16:]),
		Value:  int64(e.Uint64(b[48:])),
	}, nil
}

// Exit ends the ghost with the code.
func (g *Ghost) Exit(code int) error { return g.order(orderExit, code, 0, "") }

// Die ends the ghost by the signal, so that its parent sees the same in wait. It leaves no core file.
func (g *Ghost) Die(signal int) error {
	if signal == int(unix.SIGKILL) {
		return unix.Kill(g.Pid, unix.SIGKILL) // works on a stopped ghost too
	}
	return g.order(orderDie, signal, 0, "")
}

// Stop stops the ghost by the signal, one of SIGSTOP, SIGTSTP, SIGTTIN and SIGTTOU, unless it has got another number of SIGCONTs than were received of it:
// then one is on the way that came after what the stop is for.
func (g *Ghost) Stop(signal int, continues uint32) error {
	return g.order(orderStop, signal, uint64(continues), "")
}

// Setpgid moves the ghost to a process group, or to one of its own if the group is its pid.
func (g *Ghost) Setpgid(group int) error { return g.order(orderGroup, group, 0, "") }

// Setsid makes the ghost the leader of a session of its own.
func (g *Ghost) Setsid() error { return g.order(orderSetsid, 0, 0, "") }

// Reexec makes the ghost run its command here after all: path first, then the image it was made of, with the signal mask.
// The ghost asks for Restore first. Its descriptors, and the exec that follows, are the supervisor's to see to.
func (g *Ghost) Reexec(path string, mask uint64) error {
	if len(path) >= maxPath {
		path = "/proc/self/exe"
	}
	return g.order(orderReexec, 0, mask, path)
}

func (g *Ghost) order(op, arg int, mask uint64, path string) error {
	b := make([]byte, 16, 16+len(path)+1)
	e := binary.NativeEndian
	e.PutUint32(b[0:], uint32(op))
	e.PutUint32(b[4:], uint32(arg))
	e.PutUint64(b[8:], mask)
	b = append(b, path...)
	b = append(b, 0)
	if _, err := g.sock.Write(b); err != nil {
		return fmt.Errorf("ghost %d: %w", g.Pid, err)
	}
	return nil
}

// PutBack answers the kill of Restore: the descriptors go to the numbers they had.
func PutBack(n *intercept.Notification, fds []Kept) {
	for _, fd := range fds {
		if err := n.AddFD(fd.File.Fd, fd.N); err != nil {
			n.Fail(syscall.EMFILE) // the stub ends itself: the command must not run with descriptors missing
			return
		}
	}
	n.Return(0)
}
