package space

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/proc"
	"github.com/onehost/onehost/proc/procpb"
)

// TestLooker: only root is believed that he looks for somebody else, and gains nothing by it.
func TestLooker(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a process of another user needs root")
	}
	s := cluster(t, 1)[1].space
	const user = 65534
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	users, roots := control.Caller{Pid: cmd.Process.Pid, UID: user, GID: user}, control.Caller{Pid: os.Getpid()}
	own, err := proc.ReadCaller(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		who  control.Caller
		tid  int
		uid  uint32
		caps uint64
		err  bool
	}{
		{"a user for himself", users, users.Pid, user, 0, false},
		{"a user for root", users, roots.Pid, user, 0, false},
		{"a user for nobody", users, 1 << 22, user, 0, false},
		{"root for a user", roots, users.Pid, user, 0, false},
		{"root for himself", roots, roots.Pid, 0, own.Capabilities, false},
		{"root, not for anybody", roots, 0, 0, own.Capabilities, false},
		{"root for one who is gone", roots, 1 << 22, 0, 0, true},
		{"root from outside, whose numbers are others", control.Caller{}, users.Pid, 0, ^uint64(0), false},
		{"a user by another's process", control.Caller{Pid: os.Getpid(), UID: user, GID: user}, users.Pid, 0, 0, true},
	} {
		got, err := s.looker(c.who, c.tid)
		if (err != nil) != c.err || err == nil && (got.UID != [3]uint32{c.uid, c.uid, c.uid} || got.Capabilities != c.caps) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

// TestServeLooks: one connection serves any number of looks, and nothing else.
func TestServeLooks(t *testing.T) {
	h := cluster(t, 2)
	path := filepath.Join(t.TempDir(), "socket")
	srv, err := control.Listen(path, h[1].space.Handlers(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	c, err := control.Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Open(control.OpLook, struct{}{}); err != nil {
		t.Fatal(err)
	}
	pid := uint32(os.Getpid())
	look := []*procpb.Look{{Kind: uint32(proc.LookRead), Path: []byte("comm"), Size: 100}}
	for _, k := range []struct {
		name  string
		req   *procpb.Request
		bytes []byte
		errno syscall.Errno
	}{
		{"a look", &procpb.Request{Pid: pid, Op: procpb.Op_LOOK, Looks: look}, nil, 0},
		{"a look at another host's", &procpb.Request{Pid: 2<<16 | pid, Op: procpb.Op_LOOK, Looks: look}, nil, 0},
		{"a signal", &procpb.Request{Pid: pid, Op: procpb.Op_SIGNAL, Args: []int64{9}}, nil, syscall.EBADMSG},
		{"no message", nil, []byte{0xff}, syscall.EBADMSG},
		{"a host that there is not", &procpb.Request{Pid: 9<<16 | pid, Op: procpb.Op_LOOK, Looks: look}, nil, syscall.ESRCH},
		{"another look", &procpb.Request{Pid: pid, Op: procpb.Op_LOOK, Looks: look}, nil, 0},
	} {
		msg := k.bytes
		if k.req != nil {
			if msg, err = proto.Marshal(k.req); err != nil {
				t.Fatal(err)
			}
		}
		var reply control.LookReply
		if err := c.Send(control.LookRequest{Request: msg}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Receive(&reply); err != nil {
			t.Fatal(err)
		}
		var got procpb.Reply
		if err := proto.Unmarshal(reply.Reply, &got); err != nil || syscall.Errno(got.Errno) != k.errno || k.errno == 0 && len(got.Views) != 1 {
			t.Errorf("%s: %v, %v", k.name, &got, err)
		}
	}
}
