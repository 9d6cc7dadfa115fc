package control_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// TestProcs: a list of any length arrives whole, whatever bytes are in it.
func TestProcs(t *testing.T) {
	const longest = 16 << 10
	var list []control.Proc
	for i := range 3000 {
		list = append(list, control.Proc{
			Pid: names.MakePid(2, i+1), Name: fmt.Sprintf("h2:%d", i+1), Home: "h2", Host: "h3", User: "ada", State: "S", TTY: "pts/1", CPU: time.Duration(i) * time.Hour,
			RSS: 1 << 50, Started: time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC), Comm: strings.Repeat("\"", 15), Command: strings.Repeat("\x01\u2028<>&\\\" x", i%100),
		})
	}
	for i := range 30 { // each of them alone is nearly a packet
		list[100+i].Command = strings.Repeat("\x01", longest)
	}
	for _, want := range []control.ProcsReply{
		{Procs: list, Failed: map[names.HostName]string{"h9": strings.Repeat("\x01", 4096)}, Read: map[names.HostName]time.Time{"h2": time.Unix(7, 0)}},
		{Procs: list[:1]},
		{Failed: map[names.HostName]string{"h9": "gone"}},
	} {
		path := filepath.Join(t.TempDir(), "c.sock")
		srv, err := control.Listen(path, map[string]control.Handler{
			control.OpProcs: func(_ context.Context, _ control.Caller, c *control.Conn, _ json.RawMessage, _ []*os.File) error {
				return want.Send(c)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := control.Procs(t.Context(), path, control.ProcsRequest{})
		srv.Close()
		if err != nil || len(got.Procs) != len(want.Procs) || got.Failed["h9"] != want.Failed["h9"] || got.Procs == nil || !got.Read["h2"].Equal(want.Read["h2"]) {
			t.Fatalf("%v: %d processes, want %d; %v", err, len(got.Procs), len(want.Procs), len(got.Failed))
		}
		for i := range got.Procs {
			if got.Procs[i] != want.Procs[i] {
				t.Fatalf("%d: %+v", i, got.Procs[i])
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := control.Procs(ctx, filepath.Join(t.TempDir(), "none"), control.ProcsRequest{}); err == nil {
		t.Error("an answer from nobody")
	}
}
