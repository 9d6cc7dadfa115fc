package calls

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/proc"
)

// Handler serves control.OpCall: about calls of threads of this host's own pid space. Only root and the thread's own user may speak of one.
func Handler(s Space) control.Handler {
	return func(ctx context.Context, who control.Caller, conn *control.Conn, body json.RawMessage, files []*os.File) error {
		for _, f := range files {
			f.Close()
		}
		var r control.CallRequest
		if err := json.Unmarshal(body, &r); err != nil {
			return fmt.Errorf("bad call request: %w: %w", err, syscall.EINVAL)
		}
		if r.TID <= 0 {
			return fmt.Errorf("bad call request: thread %d: %w", r.TID, syscall.EINVAL)
		}
		c, err := Read(r.TID)
		if err != nil {
			return err
		}
		defer c.Close()
		if who.UID != 0 && who.UID != c.Who.UID[0] {
			return fmt.Errorf("thread %d is another user's: %w", r.TID, syscall.EPERM)
		}
		c.apart = !proc.InOwn("pid", r.TID)
		a := c.Perform(ctx, s, s.Self(), leader(r.TID))
		reply := control.CallReply{Value: a.Value, Errno: int(a.Errno), Continue: a.Continue}
		if a.File == nil {
			return conn.Send(reply)
		}
		defer a.File.Close()
		return conn.Send(reply, a.File)
	}
}

// leader gives the process that a thread is of; itself if it has just ended.
func leader(tid int) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		return tid
	}
	for line := range bytes.Lines(b) {
		if v, ok := bytes.CutPrefix(line, []byte("Tgid:")); ok {
			if n, err := strconv.Atoi(string(bytes.TrimSpace(v))); err == nil {
				return n
			}
		}
	}
	return tid
}
