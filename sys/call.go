//go:build linux

package sys

import (
	"runtime"
	"syscall"
	"unsafe"
)

// Call is one system call to be made, here or by a child that has somebody else's rights (StartAs). It is made once.
type Call struct {
	nr    uintptr
	args  [6]uintptr
	bufs  []buffer
	own   *Span // that the argument ownAt points to; its memory is the first buffer
	spans []Span
	result
}

// buffer is memory that an argument points to; -1: none does by itself.
type buffer struct {
	arg int
	b   []byte
}

// result is how a call ended.
type result struct {
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
		c.bufs = append(c.bufs, buffer{arg, b})
		c.args[arg] = address(b)
	}
	return c
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(&b[0])) }

// Span is a piece of another process's memory.
type Span struct{ Base, Len uint64 }

// Vectors makes the arguments arg and arg+1 those of process_vm_readv and process_vm_writev that name one's own memory, b, and the
// next two the other's.
func (c *Call) Vectors(arg int, b []byte, spans []Span) *Call {
	if len(b) > 0 {
		c.bufs = append(c.bufs, buffer{-1, b})
		c.own = &Span{uint64(address(b)), uint64(len(b))}
		c.args[arg], c.args[arg+1] = uintptr(unsafe.Pointer(c.own)), 1
	}
	if len(spans) > 0 {
		c.spans = spans
		c.args[arg+2], c.args[arg+3] = uintptr(unsafe.Pointer(&spans[0])), uintptr(len(spans))
	}
	return c
}

// Do makes the call on this thread. It may block as the call does.
func (c *Call) Do() {
	c.value, _, c.errno = syscall.Syscall6(c.nr, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5])
	runtime.KeepAlive(c)
}

// Result gives what the call returned, once it was made.
func (c *Call) Result() (int, syscall.Errno) { return int(c.value), c.errno }
