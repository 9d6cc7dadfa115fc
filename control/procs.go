package control

import (
	"time"

	"github.com/onehost/onehost/names"
)

// Operations on processes of the whole cluster. A pid's host part 0 is the host whose daemon is asked.
const (
	OpProcs = "procs" // ProcsRequest, one or more ProcsReply; see Procs
	OpWhere = "where" // PidRequest, WhereReply
	OpKill  = "kill"  // KillRequest, an empty reply
	OpWait  = "wait"  // PidRequest, WaitReply once the process has ended
	OpCall  = "call"  // CallRequest, CallReply; a session's, about a system call of one of its processes
	OpLook  = "look"  // nothing, and then any number of LookRequest, LookReply
	OpOn    = "on"    // the terminal or the standard descriptors of a command on another host; its messages are package proc/on's
)

// ProcsRequest asks for the processes of hosts.
type ProcsRequest struct {
	Hosts []names.HostName `json:"hosts,omitempty"` // only these; empty: all that are alive
	// Recent: users, names and commands may be some seconds old. For a display that asks again and again, which costs each host a third then.
	Recent bool `json:"recent,omitempty"`
}

// Proc is one process of the cluster, a row of `onehost ps`.
type Proc struct {
	Pid     names.Pid      `json:"pid"`  // host part: its home's number, never 0
	Name    string         `json:"name"` // HOST:PID, by the home's name
	Home    names.HostName `json:"home"`
	Host    names.HostName `json:"host"` // where it runs
	PPid    names.Pid      `json:"ppid"` // 0: none
	PGid    names.Pid      `json:"pgid"`
	Session names.Pid      `json:"session"`
	User    string         `json:"user"` // as its home knows the real uid; the number if it has no name
	UID     uint32         `json:"uid"`
	State   string         `json:"state"` // one letter, as in proc(5); "?" if only its home could be asked
	TTY     string         `json:"tty,omitempty"`
	Nice    int            `json:"nice"`
	CPU     time.Duration  `json:"cpu"`              // used so far, in ns
	RSS     int64          `json:"rss"`              // bytes
	Started time.Time      `json:"started"`          // by the clock of its host
	Comm    string         `json:"comm"`             // the short name, at most 15 bytes
	Command string         `json:"command"`          // its words, joined by blanks, at most 16 KiB; [comm] if it has none
	Kernel  bool           `json:"kernel,omitempty"` // a thread of the kernel
}

// ProcsReply lists every process once, by pid. A process that runs elsewhere is listed as what runs, not as its ghost; only if its host does not list it,
// being asked too early or not at all, is it listed by what its home knows, in the state "?" and without figures.
type ProcsReply struct {
	Procs []Proc `json:"procs"`
	// Read says when each host read its processes, by its own clock: CPU time is up to that moment.
	Read map[names.HostName]time.Time `json:"read,omitempty"`
	// Failed says which hosts could not be asked, and why.
	Failed map[names.HostName]string `json:"failed,omitempty"`
	More   bool                      `json:"more,omitempty"` // another one follows, with further processes
}

// PidRequest names a process.
type PidRequest struct {
	Pid names.Pid `json:"pid"`
}

// WhereReply says where a process runs.
type WhereReply struct {
	Pid  names.Pid      `json:"pid"` // with its home's number as host part
	Home names.HostName `json:"home"`
	Host names.HostName `json:"host"`
}

// KillRequest sends a signal with the rights of the connection's user.
type KillRequest struct {
	Pid    names.Pid `json:"pid"`
	Group  bool      `json:"group,omitempty"` // to the process group Pid
	Signal int       `json:"signal"`          // 0 only asks whether it could be sent
}

// WaitReply says how a process ended. Where it was no child of the daemon's the status cannot be had: Known is false.
type WaitReply struct {
	Known  bool `json:"known"`
	Code   int  `json:"code,omitempty"`
	Signal int  `json:"signal,omitempty"`
	Core   bool `json:"core,omitempty"`
}

// CallRequest says that a thread of the caller's session waits in a system call that concerns another host. The daemon reads the call,
// its arguments and whose it is from the kernel: nothing can be claimed.
type CallRequest struct {
	TID int `json:"tid"`
}

// CallReply is how the call ends; a descriptor that it gives comes with the message. Continue: nothing of it concerns another host.
type CallReply struct {
	Value    int64 `json:"value,omitempty"`
	Errno    int   `json:"errno,omitempty"`
	Continue bool  `json:"continue,omitempty"`
}

// LookRequest asks for what /proc shows of a process, for a thread that waits for it. The rights are those of the connection's user, unless that is
// root: then they are the thread's, as far as the connection has them too.
type LookRequest struct {
	TID     int    `json:"tid"`
	Request []byte `json:"request"` // a message of package proc/procpb, whose caller does not count
}

// LookReply answers a LookRequest.
type LookReply struct {
	Reply []byte `json:"reply"` // likewise
}
