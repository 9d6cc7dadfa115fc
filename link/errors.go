package link

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrClosed is wrapped, with EHOSTDOWN, by the error of everything that was under way when a connection ended.
var ErrClosed = errors.New("link: connection closed")

// RemoteError is the error of a handler at the other end.
type RemoteError struct {
	Errno syscall.Errno // never 0
	Text  string
}

// Error gives the text of the handler's error.
func (e *RemoteError) Error() string {
	if e.Text == "" {
		return e.Errno.Error()
	}
	return e.Text
}

// Unwrap gives the errno.
func (e *RemoteError) Unwrap() error { return e.Errno }

// closedError says that the connection to peer ended, and why.
type closedError struct {
	peer  Peer
	cause error
}

func (e *closedError) Error() string {
	return fmt.Sprintf("link to host %v (%s) closed: %v", e.peer.Number, e.peer.Name, e.cause)
}

// Unwrap puts EHOSTDOWN before the cause: whatever the network called it, to a program the host is down.
func (e *closedError) Unwrap() []error { return []error{ErrClosed, syscall.EHOSTDOWN, e.cause} }

// errPeer is a peer that breaks the protocol; the connection ends with it.
func errPeer(format string, args ...any) error {
	return fmt.Errorf("the peer broke the protocol: "+format, args...)
}
