package nest

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"github.com/onehost/onehost/intercept"
	"github.com/onehost/onehost/sys"
)

// maker is the thread of the init that makes the jobs, and nothing else. It alone is under the nest's filter, which all that it makes
// inherit.
//
// Its own calls must not be notified, for the runtime may have stopped all goroutines, the one that answers too, while it is in
// one. The filter lets through what it makes by a number that nobody else knows (pass), and tgkill of the init's own threads; the
// runtime makes threads on others than a locked one.
type maker struct {
	pass   uint64
	orders chan making
}

type making struct {
	program *sys.Program
	options sys.CloneOptions
	made    chan<- made
}

type made struct {
	pid   int
	errno syscall.Errno
}

// newMaker starts the thread and gives the listener of its filter; forks has the making of processes notified too.
func newMaker(first, last int, forks bool) (*maker, *intercept.Listener, error) {
	var secret [8]byte
	_, _ = rand.Read(secret[:]) // it never fails
	m := &maker{pass: binary.NativeEndian.Uint64(secret[:]), orders: make(chan making)}
	filter, err := intercept.Nests{First: uint32(first), Last: uint32(last), Pass: m.pass, Forks: forks}.Filter()
	if err != nil {
		return nil, nil, err
	}
	type listener struct {
		fd  int
		err error
	}
	ready := make(chan listener)
	go func() {
		runtime.LockOSThread() // never undone: without the goroutine the thread ends too
		fd, err := sys.SeccompInstall(filter)
		ready <- listener{fd, err}
		if err != nil {
			return
		}
		for o := range m.orders {
			pid, errno := sys.Clone(o.program, o.options)
			o.made <- made{pid, errno}
		}
	}()
	l := <-ready
	switch {
	case errors.Is(l.err, syscall.EBUSY):
		return nil, nil, fmt.Errorf("the daemon is inside of a session or of another's seccomp supervision: %w", l.err)
	case l.err != nil:
		return nil, nil, fmt.Errorf("seccomp filter: %w", l.err)
	}
	return m, intercept.NewListener(os.NewFile(uintptr(l.fd), "seccomp")), nil
}

// clone makes a child that runs p. It waits until the child exists.
func (m *maker) clone(p *sys.Program, o sys.CloneOptions) (int, syscall.Errno) {
	c := make(chan made)
	o.Pass = m.pass
	m.orders <- making{p, o, c}
	r := <-c
	return r.pid, r.errno
}
