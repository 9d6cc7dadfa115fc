package split

import (
	"context"
	"os"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// TestInterrupted: a command that ^C ends says so, and not only what it was about.
func TestInterrupted(t *testing.T) {
	cmd := &cobra.Command{}
	cmd.SetContext(t.Context())
	err := new(app).interruptible(cmd, func(ctx context.Context) error {
		if err := unix.Kill(os.Getpid(), unix.SIGINT); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if err == nil || err.Error() != "interrupted: context canceled" {
		t.Errorf("got %v", err)
	}
}
