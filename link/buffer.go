package link

import (
	"math/bits"
	"sync"
)

// buffer is a message that is received. One that goes to a handler is given back when the handler returns; one that
// goes to a caller is his.
type buffer struct {
	b     []byte
	class int // index in pools, -1 for none
}

const (
	minClass = 9  // 512 bytes
	maxClass = 23 // 8 MiB, above MaxMessage and its head
)

// buffers is the pool of message buffers, one for each power of two. It holds memory, not state.
var buffers [maxClass + 1]sync.Pool

func getBuffer(n int) *buffer {
	class := max(minClass, bits.Len(uint(max(n, 1)-1)))
	if b, ok := buffers[class].Get().(*buffer); ok {
		b.b = b.b[:n]
		return b
	}
	return &buffer{b: make([]byte, n, 1<<class), class: class}
}

// newBuffer gives memory that will not come back.
func newBuffer(n int) *buffer { return &buffer{b: make([]byte, n), class: -1} }

func (b *buffer) free() {
	if b != nil && b.class >= 0 {
		buffers[b.class].Put(b)
	}
}
