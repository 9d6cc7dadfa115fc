package sys

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// turnstileForks is how many of the last forks a turnstile remembers: more than it lets through between two looks of Forks, with all that can
// wait to be received.
const turnstileForks = 1 << 12

// Turnstile receives the notifications of a filter on a thread of its own without the Go runtime, as a Gate does, and for the same reason. It
// lets as many forks through as it was told to, and remembers whose; all else is handed out by Receive. It is there as long as the process.
type Turnstile struct {
	s    *turnstileState
	out  *os.File // read end
	read uint32   // forks that Forks has given
}

// turnstileState is what the thread and the rest of the process share. It lies outside of Go's heap.
type turnstileState struct {
	listener, out int32
	left          int32 // forks that may pass
	forks         uint32
	notif         SeccompNotif
	resp          SeccompResp
	stack         [16 << 10]byte
	tids          [turnstileForks]uint32
}

// NewTurnstile starts the thread, which nothing stops. ENOSYS: there is none on this machine.
func NewTurnstile(listener int) (*Turnstile, error) {
	if !hasGate {
		return nil, syscall.ENOSYS
	}
	mem, err := unix.Mmap(-1, 0, int(unsafe.Sizeof(turnstileState{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("turnstile: %w", err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		_ = unix.Munmap(mem)
		return nil, fmt.Errorf("turnstile: %w", err)
	}
	t := &Turnstile{s: (*turnstileState)(unsafe.Pointer(&mem[0]))}
	t.s.listener, t.s.out = int32(listener), int32(pipe[1])
	if errno := startTurnstile(t.s); errno != 0 {
		unix.Close(pipe[0])
		unix.Close(pipe[1])
		_ = unix.Munmap(mem)
		return nil, errno
	}
	_ = unix.SetNonblock(pipe[0], true) // so that a goroutine can wait for it
	t.out = os.NewFile(uintptr(pipe[0]), "turnstile")
	return t, nil
}

// Receive gives the next notification that is not let through; it blocks until there is one. io.EOF: the listener is gone.
func (t *Turnstile) Receive(n *SeccompNotif) error {
	b := unsafe.Slice((*byte)(unsafe.Pointer(n)), unsafe.Sizeof(*n))
	_, err := io.ReadFull(t.out, b) // written at once, so never in part
	return err
}

// Let lets so many forks through from now on, and forgets what was left. When Let(0) has returned Forks knows of all that were let through.
func (t *Turnstile) Let(n int) { atomic.StoreInt32(&t.s.left, int32(n)) }

// Take takes one of those away, and reports whether there was one.
func (t *Turnstile) Take() bool { return atomic.AddInt32(&t.s.left, -1) >= 0 }

// Forks calls f with the thread of every fork let through since the last time, and perhaps with one that was not. It must be called for each
// fork that is handed out, and by one goroutine at a time.
func (t *Turnstile) Forks(f func(tid int)) {
	for end := atomic.LoadUint32(&t.s.forks); t.read != end; t.read++ {
		if tid := atomic.LoadUint32(&t.s.tids[t.read%turnstileForks]); tid != 0 {
			f(int(tid))
		}
	}
}
