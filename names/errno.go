package names

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// Kind is a kind of failure that hosts tell each other about, beside the kernel's own. It is an error, meant to be
// wrapped: fmt.Errorf("h3: %w", names.HostDown).
type Kind uint8

// The kinds, and the errno a program sees.
const (
	HostDown       Kind = iota + 1 // EHOSTDOWN: the host is dead, or the link to it
	UnknownHost                    // EHOSTUNREACH: the cluster has no such host
	NotJoined                      // ENETDOWN: this host belongs to no cluster
	OldIncarnation                 // ESTALE: a word from an earlier life of a host
	WrongVersion                   // EPROTONOSUPPORT: the peer speaks another version of the protocol
	Refused                        // EACCES: the peer did not prove who it is
)

var kinds = [...]struct {
	errno syscall.Errno
	text  string
}{
	HostDown:       {syscall.EHOSTDOWN, "host is down"},
	UnknownHost:    {syscall.EHOSTUNREACH, "the cluster has no such host"},
	NotJoined:      {syscall.ENETDOWN, "this host belongs to no cluster"},
	OldIncarnation: {syscall.ESTALE, "the host has begun a new life since"},
	WrongVersion:   {syscall.EPROTONOSUPPORT, "the peer speaks another version of the protocol"},
	Refused:        {syscall.EACCES, "the peer did not prove who it is"},
}

// Error gives the kind in words.
func (k Kind) Error() string {
	if k == 0 || int(k) >= len(kinds) {
		return "unknown kind of error"
	}
	return kinds[k].text
}

// Unwrap gives the errno, so that errors.Is(err, syscall.EHOSTDOWN) holds for HostDown.
func (k Kind) Unwrap() error {
	if k == 0 || int(k) >= len(kinds) {
		return syscall.EIO
	}
	return kinds[k].errno
}

// Errno gives the errno that stands for err in an answer to the kernel or to another host: 0 for nil, the first errno
// that err wraps, or the nearest one to what err is; EIO when nothing fits.
func Errno(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		if e == 0 {
			return syscall.EIO // an error that says "success" is a mistake of its maker, not a success
		}
		return e
	}
	for _, k := range [...]struct {
		err   error
		errno syscall.Errno
	}{
		{context.Canceled, syscall.ECANCELED},
		{context.DeadlineExceeded, syscall.ETIMEDOUT},
		{os.ErrDeadlineExceeded, syscall.ETIMEDOUT},
		{fs.ErrNotExist, syscall.ENOENT},
		{fs.ErrExist, syscall.EEXIST},
		{fs.ErrPermission, syscall.EACCES},
		{fs.ErrInvalid, syscall.EINVAL},
		{fs.ErrClosed, syscall.EBADF},
		{errors.ErrUnsupported, syscall.ENOTSUP},
	} {
		if errors.Is(err, k.err) {
			return k.errno
		}
	}
	return syscall.EIO
}
