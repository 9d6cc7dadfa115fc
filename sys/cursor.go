package sys

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bounds of the time between two looks of a cursor, in nanoseconds: while numbers are given out, and while none are.
const (
	cursorBusy  = 1_000_000
	cursorQuiet = 2_000_000
)

// Cursor sets the next number of a pid name space back before it leaves a range, by a thread without the Go runtime, as a Gate has, and with
// real-time priority where that is allowed. It is there as long as the process, and at rest until Watch(true).
type Cursor struct {
	s   *cursorState
	out *os.File // read end
}

// cursorState is what the thread and the rest of the process share. It lies outside of Go's heap.
type cursorState struct {
	next, out   int32 // descriptors: of ns_last_pid, and the write end
	on          int32 // a futex: the thread sleeps while it is 0
	first, last int32 // the range
	turn        int32 // where it is time to go back
	seen        int32 // the last number at the last look
	priority    int32
	said        [1]byte
	pause       unix.Timespec
	text        [16]byte
	stack       [16 << 10]byte
}

// What a cursor says.
const (
	CursorBack = 'b' // it went back to the first number of the range
	CursorOut  = 'o' // it went back, and numbers outside of the range may have been given out
)

// NewCursor starts the thread for the name space whose ns_last_pid the descriptor is of, which must stay open. ENOSYS: there is none on
// this machine.
func NewCursor(next int) (*Cursor, error) {
	if !hasGate {
		return nil, syscall.ENOSYS
	}
	mem, err := unix.Mmap(-1, 0, int(unsafe.Sizeof(cursorState{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("cursor: %w", err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil { // what does not fit is said already
		_ = unix.Munmap(mem)
		return nil, fmt.Errorf("cursor: %w", err)
	}
	c := &Cursor{s: (*cursorState)(unsafe.Pointer(&mem[0]))}
	c.s.next, c.s.out, c.s.priority = int32(next), int32(pipe[1]), 1
	c.s.pause.Nsec = cursorBusy
	if errno := startCursor(c.s); errno != 0 {
		unix.Close(pipe[0])
		unix.Close(pipe[1])
		_ = unix.Munmap(mem)
		return nil, errno
	}
	c.out = os.NewFile(uintptr(pipe[0]), "cursor")
	return c, nil
}

// Range says what numbers may be given out, and how many may be until it goes back to the first.
func (c *Cursor) Range(first, last, turn int) {
	atomic.StoreInt32(&c.s.turn, int32(first)) // whatever it sees in between, it goes back
	atomic.StoreInt32(&c.s.last, int32(last))
	atomic.StoreInt32(&c.s.first, int32(first))
	atomic.StoreInt32(&c.s.turn, int32(first+turn))
}

// Watch has it look from now on, or rest.
func (c *Cursor) Watch(on bool) {
	v := int32(0)
	if on {
		v = 1
	}
	if atomic.SwapInt32(&c.s.on, v) == v || !on {
		return
	}
	const futexWake = 1
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&c.s.on)), futexWake, 1, 0, 0, 0)
}

// Said waits for the thread to say something, and gives the gravest.
func (c *Cursor) Said() (byte, error) {
	var buf [64]byte
	n, err := c.out.Read(buf[:])
	said := byte(CursorBack)
	for _, b := range buf[:max(n, 0)] {
		said = max(said, b)
	}
	return said, err
}
