package names

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"
)

func TestErrno(t *testing.T) {
	_, missing := os.Open("/no/such/file")
	for _, c := range []struct {
		err  error
		want syscall.Errno
	}{
		{nil, 0},
		{syscall.ENOSPC, syscall.ENOSPC},
		{syscall.Errno(0), syscall.EIO},
		{fmt.Errorf("write x: %w", syscall.EDQUOT), syscall.EDQUOT},
		{missing, syscall.ENOENT},
		{fmt.Errorf("h3: %w", HostDown), syscall.EHOSTDOWN},
		{errors.Join(errors.New("x"), syscall.EBUSY), syscall.EBUSY},
		{fmt.Errorf("%w: %w", syscall.EHOSTDOWN, syscall.ECONNRESET), syscall.EHOSTDOWN},
		{context.Canceled, syscall.ECANCELED},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), syscall.ETIMEDOUT},
		{os.ErrDeadlineExceeded, syscall.ETIMEDOUT},
		{fs.ErrNotExist, syscall.ENOENT},
		{fs.ErrExist, syscall.EEXIST},
		{fs.ErrPermission, syscall.EACCES},
		{fs.ErrInvalid, syscall.EINVAL},
		{fs.ErrClosed, syscall.EBADF},
		{errors.ErrUnsupported, syscall.ENOTSUP},
		{errors.New("anything"), syscall.EIO},
	} {
		if got := Errno(c.err); got != c.want {
			t.Errorf("Errno(%v) is %d (%v), want %d (%v)", c.err, got, got, c.want, c.want)
		}
	}
}

func TestKinds(t *testing.T) {
	seen := map[syscall.Errno]Kind{}
	for k := HostDown; k <= Refused; k++ {
		e := Errno(k)
		if other, twice := seen[e]; e == syscall.EIO || twice {
			t.Errorf("kind %d (%v) is %v, as is kind %d", k, k, e, other)
		}
		seen[e] = k
		if wrapped := fmt.Errorf("x: %w", k); !errors.Is(wrapped, k) || !errors.Is(wrapped, e) {
			t.Errorf("%v is not found when wrapped", k)
		}
	}
	for _, k := range []Kind{0, Refused + 1, 255} {
		if Errno(k) != syscall.EIO || k.Error() == "" {
			t.Errorf("kind %d: %v, %q", k, Errno(k), k.Error())
		}
	}
}
