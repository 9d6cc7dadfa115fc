package proc

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

func words(b []byte) iter.Seq[string] { return strings.FieldsSeq(string(b)) }

func hexDigit(c byte) int { return strings.IndexByte("0123456789abcdef", c) }

func TestParseCaller(t *testing.T) {
	const status = "Name:\tUid: 7\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapEff:\t00000000000000a0\n"
	want := &Caller{UID: [3]uint32{1, 2, 3}, GID: [3]uint32{5, 6, 7}, Groups: []uint32{9, 10}, Capabilities: 0xa0}
	if got, err := ParseCaller([]byte(status)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, cut := range []string{"Uid:\t1\t2\t3\t4\n", "Gid:\t5\t6\t7\t8\n", "Groups:\t9 10 \n", "CapEff:\t00000000000000a0\n", "\t3\t4", "00a0", "10 "} {
		if got, err := ParseCaller([]byte(strings.Replace(status, cut, "x", 1))); err == nil {
			t.Errorf("without %q: %+v", cut, got)
		}
	}
	us, err := ReadCaller(os.Getpid())
	if err != nil || us.UID[1] != uint32(os.Geteuid()) || us.GID[1] != uint32(os.Getegid()) {
		t.Errorf("this process: %+v, %v", us, err)
	}
	if c, err := ReadCaller(1 << 30); err == nil {
		t.Errorf("nobody: %+v", c)
	}
}

func FuzzParseCaller(f *testing.F) {
	f.Add([]byte("Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t\nCapEff:\t00\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseCaller(b); (c == nil) != (err != nil) {
			t.Fatal(fmt.Sprint(c, err))
		}
	})
}

// TestOwnUsers: a user who made a name space of users of his own has all capabilities there, and none here.
func TestOwnUsers(t *testing.T) {
	needRoot(t)
	cmd := exec.Command("unshare", "--user", "--map-root-user", "sh", "-c", "echo ready; sleep 1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: user, Gid: user}}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	defer func() {
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait() // killed
	}()
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		t.Skip("this machine gives users no name spaces")
	}
	b, err := os.ReadFile("/proc/" + itoa(cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	if c, err := ParseCaller(b); err != nil || c.Capabilities == 0 {
		t.Fatalf("it has no capability there: %+v, %v", c, err)
	}
	c, err := ReadCaller(cmd.Process.Pid)
	if err != nil || c.Capabilities != 0 || c.UID != [3]uint32{user, user, user} {
		t.Fatalf("%+v, %v", c, err)
	}
	if err := Here(sleeper(t, 0).Process.Pid).Signal(t.Context(), c, Signal{}); !errors.Is(err, syscall.EPERM) {
		t.Errorf("it may signal root's: %v", err)
	}
	if us, err := ReadCaller(os.Getpid()); err != nil || us.Capabilities == 0 {
		t.Errorf("this process: %+v, %v", us, err)
	}
}
