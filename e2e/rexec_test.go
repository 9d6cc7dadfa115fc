package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost"
)

// rexecEnv makes the test program be a Go program in a host that uses package onehost.
const rexecEnv = "ONEHOST_E2E_REXEC"

// rexecProgram is that program: it says what it sees.
func rexecProgram(w io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	hosts, err := onehost.GetClustByName(ctx, "")
	if err != nil {
		return err
	}
	for _, h := range hosts {
		fmt.Fprintln(w, h.Name, h.Number, h.State)
	}
	var out, errs bytes.Buffer
	p, err := onehost.Rexec(ctx, "h2", onehost.Cmd{
		Args: []string{"sh", "-c", `uname -n; echo $$ $X >&2; tr a-z A-Z; exit 3`}, Env: []string{"X=y"}, Stdin: strings.NewReader("in\n"), Stdout: &out, Stderr: &errs,
	})
	if err != nil {
		return err
	}
	var exit *onehost.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.Code != 3 {
		return fmt.Errorf("the end: %w", err)
	}
	if want := fmt.Sprintf("%d y\n", p.Pid.Local()); errs.String() != want || p.Pid.Host() != 2 {
		return fmt.Errorf("it is %v and says %q, want %q", p.Pid, errs.String(), want)
	}
	fmt.Fprint(w, out.String())
	short, end := context.WithCancel(ctx)
	defer end()
	if p, err = onehost.Rexec(ctx, "2", onehost.Cmd{Args: []string{"sleep", "1000"}}); err != nil {
		return err
	}
	if err := p.Signal(unix.SIGTERM); err != nil {
		return err
	}
	if err := p.Wait(); !errors.As(err, &exit) || exit.Signal != unix.SIGTERM {
		return fmt.Errorf("a signal: %w", err)
	}
	if err := rexecByNumber(ctx); err != nil {
		return err
	}
	if p, err = onehost.Rexec(short, "h2", onehost.Cmd{Args: []string{"sleep", "1000"}}); err != nil {
		return err
	}
	end()
	if err := p.Wait(); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("cancelled: %w", err)
	}
	return nil
}

// rexecByNumber speaks of a command there by its number.
func rexecByNumber(ctx context.Context) error {
	p, err := onehost.Rexec(ctx, "h2", onehost.Cmd{Args: []string{"sleep", "1000"}})
	if err != nil {
		return err
	}
	if at, err := onehost.Where(ctx, p.Pid); err != nil || at.Home != "h2" || at.Host != "h2" || at.Pid != p.Pid {
		return fmt.Errorf("where: %+v, %w", at, err)
	}
	list, err := onehost.List(ctx)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	if !slices.ContainsFunc(list, func(q onehost.Process) bool { return q.Pid == p.Pid && q.Host == "h2" && q.Command == "sleep 1000" }) {
		return fmt.Errorf("%v is not among the %d listed", p.Pid, len(list))
	}
	waited := make(chan error, 1)
	go func() {
		_, err := onehost.Wait(ctx, p.Pid)
		waited <- err
	}()
	if err := onehost.Kill(ctx, p.Pid, unix.SIGUSR1); err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	var exit *onehost.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.Signal != unix.SIGUSR1 {
		return fmt.Errorf("killed: %w", err)
	}
	if err := <-waited; err != nil && !errors.Is(err, unix.ESRCH) { // it may be gone before it is looked for
		return fmt.Errorf("wait: %w", err)
	}
	if err := onehost.Kill(ctx, p.Pid, 0); !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill of what is gone: %w", err)
	}
	return nil
}

// TestRexec: a Go program uses the cluster.
func TestRexec(t *testing.T) {
	c := cluster(t, 2)
	h1 := c.Host("h1")
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	put := h1.Command(t.Context(), "sh", "-c", "cat > /root/program && chmod 755 /root/program")
	put.Stdin = self
	if err := put.Run(); err != nil {
		t.Fatal(err)
	}
	r := job{host: h1, env: []string{rexecEnv + "=yes"}}.sh(t, "/root/program")
	if r.out != "h1 1 alive\nh2 2 alive\nh2\nIN\n" || r.status != 0 {
		t.Error(r)
	}
	gone(t, 3*time.Second, there("sleep"))
	nothingLeft(t, c)
}
