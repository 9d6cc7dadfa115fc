// Package onehost is onehost for Go programs: the hosts of the cluster, commands on them, and their processes.
//
// Every function asks the daemon of this host, onehostd(8), over its control socket: the one that ONEHOST_CONTROL names, else
// /run/onehost/control.sock. It acts with the rights of this process, as the kernel tells the daemon. Each call opens a connection of
// its own, so all functions may be called by any number of goroutines.
//
// Blocking. A call lasts as long as its context at most. Without a deadline it lasts as long as the daemon takes: a host that
// crashed, or is cut off, is known within a second or two, after which what asked for it fails.
//
// Errors. They are whole sentences, and wrap the errno that a local system call would have given: errors.Is(err, syscall.ESRCH)
// for a process that is not there, syscall.EPERM for one that is another user's, syscall.EHOSTDOWN for a host that does not answer.
// ErrNoDaemon says that no daemon runs here.
//
// Processes are named by their cluster-wide number, of type Pid: the host in the upper 16 bits, the host's own number in the lower; host 0 is
// this host. See onehost-names(7).
package onehost

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// ErrNoDaemon says that nobody listens at the control socket.
var ErrNoDaemon = control.ErrNoDaemon

// Pid is the number of a process in the cluster.
type Pid = names.Pid

// Host is one host of a cluster. Load is the CPUs in use over those that it may use; Slots and Jobs count remote jobs, not processes.
type Host = control.Host

// Process is one process of the cluster. CPU is a duration, RSS bytes.
type Process = control.Proc

// Place says where a process runs, and which host its number is of.
type Place = control.WhereReply

// Status is how a process ended: with Code, or by Signal if that is not 0. Known is false if nobody could learn it.
type Status = control.WaitReply

// socket is the path of the control socket; empty: the usual one.
func socket() string { return os.Getenv("ONEHOST_CONTROL") }

// GetClustByName lists the hosts of a cluster that are up, by their numbers. The empty name is the cluster of this host, which is the only
// one that this host knows: another name gives ENOENT. A host in no cluster gives ENOTCONN.
func GetClustByName(ctx context.Context, name string) ([]Host, error) {
	var st control.StatusReply
	if err := control.Call(ctx, socket(), control.OpStatus, struct{}{}, &st); err != nil {
		return nil, err
	}
	if name != "" && names.ClusterName(name) != st.Cluster {
		return nil, fmt.Errorf("no cluster %q is known here: %w", name, syscall.ENOENT)
	}
	var r control.HostsReply
	if err := control.Call(ctx, socket(), control.OpHosts, struct{}{}, &r); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(r.Hosts, func(h Host) bool { return h.State != "alive" && h.State != "drained" }), nil
}

// Incomplete is the error of a List that could not ask every host: the key is the host, the value why.
type Incomplete map[names.HostName]string

func (e Incomplete) Error() string {
	var parts []string
	for h, why := range e {
		parts = append(parts, fmt.Sprintf("%s: %s", h, why))
	}
	slices.Sort(parts)
	return "hosts that could not be asked: " + strings.Join(parts, "; ")
}

// List lists the processes of all hosts that are up, each once. When some hosts could not be asked it gives the processes of the others
// together with an Incomplete.
func List(ctx context.Context) ([]Process, error) {
	r, err := control.Procs(ctx, socket(), control.ProcsRequest{})
	if err != nil {
		return nil, err
	}
	if len(r.Failed) > 0 {
		return r.Procs, Incomplete(r.Failed)
	}
	return r.Procs, nil
}

// Where says where a process runs. ESRCH: it is not there.
func Where(ctx context.Context, pid Pid) (Place, error) {
	var r control.WhereReply
	err := control.Call(ctx, socket(), control.OpWhere, control.PidRequest{Pid: pid}, &r)
	return r, err
}

// Kill sends a signal to a process, wherever it runs, as kill(2) does to a local one: it returns when the signal is pending there, not
// when it has been handled. Signal 0 only asks. ESRCH: the process is not there; EPERM: this user may not.
func Kill(ctx context.Context, pid Pid, sig syscall.Signal) error {
	return control.Call(ctx, socket(), control.OpKill, control.KillRequest{Pid: pid, Signal: int(sig)}, &struct{}{})
}

// KillGroup sends a signal to all members of a process group, on all hosts, as kill(2) does with a negative number.
func KillGroup(ctx context.Context, group Pid, sig syscall.Signal) error {
	return control.Call(ctx, socket(), control.OpKill, control.KillRequest{Pid: group, Group: true, Signal: int(sig)}, &struct{}{})
}

// Wait waits until a process has ended, which need not be a child of this one. It says how if somebody could learn that: see
// Status. ESRCH: it is not there, or was waited for by its parent long ago.
func Wait(ctx context.Context, pid Pid) (Status, error) {
	var r control.WaitReply
	err := control.Call(ctx, socket(), control.OpWait, control.PidRequest{Pid: pid}, &r)
	return r, err
}
