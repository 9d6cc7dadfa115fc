package netfs_test

import (
	"bufio"
	"context"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// apart runs a script in the tree, in a pid name space of its own as jobs have, until it has written a line. end ends its input, and waits.
func (x *helper) apart(t *testing.T, script string) (end func()) {
	t.Helper()
	c := exec.Command("unshare", "--pid", "--fork", "/bin/sh", "-c", "cd \"$0\"\n"+script+"\n:", x.dir)
	to, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	from, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Skip("no unshare here: ", err)
	}
	end = sync.OnceFunc(func() {
		_ = to.Close()
		_ = c.Wait()
	})
	t.Cleanup(end)
	if !bufio.NewScanner(from).Scan() {
		t.Fatal("the second job did not begin")
	}
	return end
}

// TestFlushEnded has one job end while another goes on with a temporary file, which is nobody else's affair.
func TestFlushEnded(t *testing.T) {
	h := newHome(t, t.TempDir())
	x := h.mount(t)
	x.apart(t, `sh -c 'echo mine > quick; :'
		sh -c 'echo secret > tmp; echo; read x; rm tmp; :'`)
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
