package netfs_test

import (
	"bufio"
	"context"
	"os/exec"
	"testing"
	"time"
)

// TestFlushEnded has one job end while another goes on with a temporary file, which is nobody else's affair.
func TestFlushEnded(t *testing.T) {
	h := newHome(t, t.TempDir())
	x := h.mount(t)
	c := exec.Command("unshare", "--pid", "--fork", "/bin/sh", "-c", `cd "$0"
		sh -c 'echo mine > quick; :'
		sh -c 'echo secret > tmp; echo; read x; rm tmp; :'
		:`, x.dir)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	outPipe, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewScanner(outPipe)
	if err := c.Start(); err != nil {
		t.Skip("no unshare here: ", err)
	}
	t.Cleanup(func() { _ = c.Wait() })
	t.Cleanup(func() { _ = in.Close() })
	if !out.Scan() {
		t.Fatal("the second job did not begin")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := x.FlushEnded(ctx); err != nil {
		t.Fatal(err)
	}
	want(t, h.path("quick"), "mine\n")
	want(t, h.path("tmp"), "")
	if err := x.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	want(t, h.path("tmp"), "secret\n")
}
