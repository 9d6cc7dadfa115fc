package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// fakeProcs are the processes of the cluster of three hosts: ada's make on h1 with a compiler on h2, what every host has, and names that somebody chose
// to disturb the terminals of others.
func fakeProcs() []control.Proc {
	proc := func(home, host names.HostName, pid, parent names.Pid, uid uint32, state, command string) control.Proc {
		comm, _, _ := strings.Cut(command, " ")
		user := map[uint32]string{0: "root", 1000: "ada"}[uid]
		if user == "" {
			user = fmt.Sprint(uid)
		}
		return control.Proc{
			Pid: pid, Name: fmt.Sprintf("%s:%d", home, pid.Local()), Home: home, Host: host, PPid: parent, PGid: pid, Session: names.MakePid(pid.Host(), 10),
			User: user, UID: uid, State: state, CPU: 90 * time.Second, RSS: 5 << 20, Started: time.Now().Add(-time.Hour), Comm: comm, Command: command,
		}
	}
	at := func(h names.Host, pid int) names.Pid { return names.MakePid(h, pid) }
	list := []control.Proc{
		proc("h1", "h1", at(1, 1), 0, 0, "S", "init"),
		proc("h1", "h1", at(1, 2), 0, 0, "S", "[kthreadd]"),
		proc("h1", "h1", at(1, 10), at(1, 1), 1000, "S", "bash"),
		proc("h1", "h1", at(1, 11), at(1, 10), 1000, "S", "make -j8"),
		proc("h1", "h2", at(1, 12), at(1, 11), 1000, "R", "cc -c a.c"),
		proc("h1", "h2", at(1, 32768), at(1, 12), 1000, "Z", "cc1"),
		proc("h2", "h2", at(2, 1), 0, 0, "S", "init"),
		proc("h2", "h2", at(2, 7), at(2, 1), 4711, "S", "evil \x1b[2J\nx\u202e"),
	}
	list[1].Kernel = true
	list[3].Nice, list[3].CPU, list[3].RSS, list[3].TTY = 5, 26*time.Hour, 100<<20, "pts/0"
	list[3].Started = time.Now().Add(-1040 * time.Hour) // of so long a time a busy machine's seconds change no digit
	list[4].CPU = 180 * time.Second
	return list
}

func (d *daemon) serveProcs(_ context.Context, _ control.Caller, c *control.Conn, body json.RawMessage, _ []*os.File) error {
	var req control.ProcsRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return err
	}
	if slices.Contains(req.Hosts, "h9") {
		return control.Refuse(syscall.ENOENT, "no host %q in this cluster: 'onehost hosts' lists them", "h9")
	}
	r := control.ProcsReply{Procs: slices.DeleteFunc(fakeProcs(), func(p control.Proc) bool { return len(req.Hosts) > 0 && !slices.Contains(req.Hosts, p.Host) })}
	now := time.Now()
	r.Read = map[names.HostName]time.Time{"h1": now, "h2": now}
	if slices.Contains(req.Hosts, "h12") {
		r.Failed = map[names.HostName]string{"h12": "no answer within 1.8s"}
	}
	return r.Send(c)
}

// serveWhere knows the processes of h1, and 7 that may not be asked for.
func serveWhere(r control.PidRequest) (any, error) {
	for _, p := range fakeProcs() {
		if p.Pid == r.Pid || r.Pid == names.Pid(p.Pid.Local()) && p.Home == "h1" {
			return control.WhereReply{Pid: p.Pid, Home: p.Home, Host: p.Host}, nil
		}
	}
	return nil, fmt.Errorf("pid %d: there is none: %w", r.Pid, syscall.ESRCH)
}

func (d *daemon) serveKill(r control.KillRequest) (any, error) {
	switch {
	case r.Pid == names.MakePid(2, 1):
		return nil, fmt.Errorf("kill: %w", syscall.EPERM)
	case r.Pid == names.MakePid(12, 1):
		return nil, fmt.Errorf("h12: %w", names.HostDown)
	case r.Pid.Local() == 999:
		return nil, fmt.Errorf("kill: %w", syscall.ESRCH)
	}
	if r.Signal == 0 {
		return struct{}{}, nil
	}
	// The script sees what arrived by the file it names.
	return struct{}{}, d.note(fmt.Sprintf("%d %d group=%v\n", r.Pid, r.Signal, r.Group))
}

func (d *daemon) note(line string) error {
	f, err := os.OpenFile(d.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(line)
	return err
}

func serveWait(r control.PidRequest) (any, error) {
	switch r.Pid.Local() {
	case 3:
		return control.WaitReply{Known: true, Code: 3}, nil
	case 9:
		return control.WaitReply{Known: true, Signal: 9}, nil
	case 999:
		return nil, fmt.Errorf("wait: %w", syscall.ESRCH)
	}
	return control.WaitReply{}, nil
}
