package member

import (
	"fmt"
	"syscall"
)

// Refusal is the registry saying no: one line for a person, and its kind.
type Refusal struct {
	Text  string
	Errno syscall.Errno
}

// The kinds of refusals.
const (
	errTaken  = syscall.EEXIST    // a name that is in use
	errLeft   = syscall.ENXIO     // a host that is no member
	errStale  = syscall.ESTALE    // a life that is over
	errToken  = syscall.EACCES    // a token that does not open
	errFull   = syscall.ENOSPC    // no host number is left
	errState  = syscall.EINVAL    // a command that makes no sense now
	errLeader = syscall.EAGAIN    // no leader at this moment
	errNone   = syscall.ENOTCONN  // this host belongs to no cluster
	errDown   = syscall.EHOSTDOWN // a host that is not up
)

func (r *Refusal) Error() string { return r.Text }

// Unwrap gives the errno, so that errors.Is works, also across a link.
func (r *Refusal) Unwrap() error { return r.Errno }

func refuse(kind syscall.Errno, format string, args ...any) error {
	return &Refusal{Text: fmt.Sprintf(format, args...), Errno: kind}
}
