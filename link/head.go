package link

import (
	"encoding/binary"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/onehost/onehost/names"
)

// head is linkpb.Head, read and written by hand: every message has one, and this way it costs no allocation. A test
// holds it against the generated code.
type head struct {
	method  string
	header  []byte
	timeout time.Duration
	errno   syscall.Errno
	text    string
}

// endHead is the head of a reply or an end that carries err.
func endHead(err error) head {
	if err == nil {
		return head{}
	}
	text := err.Error()
	if len(text) > maxText {
		text = text[:maxText]
	}
	return head{errno: names.Errno(err), text: text}
}

const (
	fieldMethod protowire.Number = iota + 1
	fieldHeader
	fieldTimeout
	fieldErrno
	fieldText
)

func (h *head) size() int {
	n := 0
	if h.method != "" {
		n += 1 + protowire.SizeBytes(len(h.method))
	}
	if len(h.header) > 0 {
		n += 1 + protowire.SizeBytes(len(h.header))
	}
	if h.timeout > 0 {
		n += 1 + protowire.SizeVarint(uint64(h.timeout))
	}
	if h.errno != 0 {
		n += 1 + protowire.SizeVarint(uint64(h.errno))
	}
	if h.text != "" {
		n += 1 + protowire.SizeBytes(len(h.text))
	}
	return n
}

func (h *head) append(b []byte) []byte {
	if h.method != "" {
		b = protowire.AppendTag(b, fieldMethod, protowire.BytesType)
		b = protowire.AppendString(b, h.method)
	}
	if len(h.header) > 0 {
		b = protowire.AppendTag(b, fieldHeader, protowire.BytesType)
		b = protowire.AppendBytes(b, h.header)
	}
	if h.timeout > 0 {
		b = protowire.AppendTag(b, fieldTimeout, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(h.timeout))
	}
	if h.errno != 0 {
		b = protowire.AppendTag(b, fieldErrno, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(h.errno))
	}
	if h.text != "" {
		b = protowire.AppendTag(b, fieldText, protowire.BytesType)
		b = protowire.AppendString(b, h.text)
	}
	return b
}

// appendMessage appends the sizes and the head of a message whose body is to follow.
func (h *head) appendMessage(b []byte, body int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(h.size()))
	b = binary.BigEndian.AppendUint32(b, uint32(body))
	return h.append(b)
}

// rawHead is a head as received: method, header and text lie in the received bytes. Unknown fields are passed over: a
// peer of a later minor version may send them.
type rawHead struct {
	method, header, text []byte
	timeout              time.Duration
	errno                syscall.Errno
}

func parseHead(b []byte) (h rawHead, err error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return h, errPeer("head: %w", protowire.ParseError(n))
		}
		b = b[n:]
		switch {
		case typ == protowire.BytesType && (num == fieldMethod || num == fieldHeader || num == fieldText):
			var v []byte
			if v, n = protowire.ConsumeBytes(b); n >= 0 {
				switch num {
				case fieldMethod:
					h.method = v
				case fieldHeader:
					h.header = v
				case fieldText:
					h.text = v
				}
			}
		case typ == protowire.VarintType && (num == fieldTimeout || num == fieldErrno):
			var v uint64
			if v, n = protowire.ConsumeVarint(b); n >= 0 {
				if num == fieldErrno {
					h.errno = syscall.Errno(uint32(v))
				} else if h.timeout = time.Duration(v); h.timeout < 0 {
					h.timeout = 1<<63 - 1
				}
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return h, errPeer("head: %w", protowire.ParseError(n))
		}
		b = b[n:]
	}
	return h, nil
}

// err is the error of a reply or an end, nil for success.
func (h *rawHead) err() error {
	if h.errno == 0 {
		return nil
	}
	return &RemoteError{Errno: h.errno, Text: string(h.text)}
}
