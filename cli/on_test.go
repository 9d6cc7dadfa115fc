package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// fakeDeath gives the status that a shell would show.
func fakeDeath(code int, signal syscall.Signal) int {
	if signal != 0 {
		return 128 + int(signal)
	}
	return code
}

// onHere answers control.OpOn for the hosts h2, where commands run on this machine, lost, which is lost in their midst, slow, where
// nothing ever begins, and late, which makes a file when it begins, says so when there is another, and writes which signal it gets.
func onHere(_ context.Context, _ control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
	var req control.OnRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return err
	}
	var words []byte
	for last := false; !last; {
		var w control.OnWords
		if _, err := c.Receive(&w); err != nil {
			return err
		}
		words, last = append(words, w.Data...), w.Last
	}
	list := strings.Split(strings.TrimSuffix(string(words), "\x00"), "\x00")
	if req.Host == "slow" {
		_, err := c.Receive(&control.OnOrder{})
		return err
	}
	if req.Host == "late" {
		return late(c, list[0], list[1], files)
	}
	if req.Host != "h2" && req.Host != "lost" {
		return control.Refuse(syscall.ENOENT, "no host %q in this cluster; there are h2, lost", req.Host)
	}
	argv := list[:req.Args]
	if len(argv) == 0 {
		argv = []string{"sh"}
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, list[req.Args:]...)
	cmd.Stdin, cmd.Stdout = files[0], files[1]
	if cmd.Stderr = files[1]; !req.TTY {
		cmd.Stderr = files[2]
	}
	err := cmd.Start()
	for _, f := range files {
		f.Close()
	}
	if err != nil {
		if e, ok := errors.AsType[*exec.Error](err); ok && errors.Is(e.Err, exec.ErrNotFound) {
			err = syscall.ENOENT
		}
		return c.Send(control.OnEvent{Kind: control.OnRefused, Errno: names.Errno(err), Reason: argv[0] + ": " + names.Errno(err).Error()})
	}
	if err := c.Send(control.OnEvent{Kind: control.OnStarted, Host: "h2", Pid: names.MakePid(2, 9)}); err != nil {
		return err
	}
	_ = cmd.Wait()
	if req.Host == "lost" {
		return control.Refuse(syscall.EHOSTDOWN, "host lost is lost")
	}
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	e := control.OnEvent{Kind: control.OnExited, Code: ws.ExitStatus()}
	if ws.Signaled() {
		e.Code, e.Signal = 0, int(ws.Signal())
	}
	return c.Send(e)
}

func late(c *control.Conn, begun, tell string, files []*os.File) error {
	if err := os.WriteFile(begun, nil, 0o600); err != nil {
		return err
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(tell); err == nil {
			break
		}
		if time.Now().After(end) {
			return errors.New("nobody made " + tell)
		}
	}
	if err := c.Send(control.OnEvent{Kind: control.OnStarted, Host: "h2", Pid: names.MakePid(2, 9)}); err != nil {
		return err
	}
	var o control.OnOrder
	if _, err := c.Receive(&o); err != nil {
		return err
	}
	fmt.Fprintf(files[1], "signal %d\n", o.Signal)
	for _, f := range files {
		f.Close()
	}
	return c.Send(control.OnEvent{Kind: control.OnExited})
}
