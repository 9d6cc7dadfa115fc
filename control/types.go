package control

import (
	"time"

	"github.com/onehost/onehost/names"
)

// DefaultPath is where a daemon listens unless told otherwise (flag, then ONEHOST_CONTROL).
const DefaultPath = "/run/onehost/control.sock"

// Operations, the Op of a Request.
const (
	OpStatus  = "status"  // StatusReply
	OpHosts   = "hosts"   // HostsReply
	OpInit    = "init"    // InitRequest, StatusReply
	OpToken   = "token"   // TokenRequest, TokenReply
	OpJoin    = "join"    // JoinRequest, StatusReply
	OpLeave   = "leave"   // LeaveRequest, StatusReply
	OpDrain   = "drain"   // DrainRequest, DrainReply: the host takes no new jobs
	OpResume  = "resume"  // DrainRequest, DrainReply: it takes jobs again
	OpHeld    = "held"    // DrainRequest, DrainReply: nothing changes
	OpSession = "session" // SessionRequest, SessionReply; then PlaceRequest/PlaceReply and ReleaseNote on the same connection
	OpExec    = "exec"    // ExecRequest with descriptors; then JobEvent from the daemon and JobOrder to it; then perhaps the next one, see JobEvent.Next
)

// StatusReply says who this daemon is. Cluster is empty while it belongs to none.
type StatusReply struct {
	Cluster     names.ClusterName `json:"cluster"`
	Name        names.HostName    `json:"name"`
	Number      names.Host        `json:"number"`
	Incarnation names.Incarnation `json:"incarnation"`
	Addr        string            `json:"addr"` // host:port of the link listener
	Version     string            `json:"version"`
}

// Host is one row of `onehost hosts`.
type Host struct {
	Name        names.HostName    `json:"name"`
	Number      names.Host        `json:"number"`
	Incarnation names.Incarnation `json:"incarnation"`
	State       string            `json:"state"` // alive, drained, left, failed
	Since       time.Time         `json:"since"` // when the state began, by the registry's clock
	Address     string            `json:"address"`
	Slots       int               `json:"slots"` // jobs the host takes at a time
	Jobs        int               `json:"jobs"`  // remote and local jobs running there now
	Load        float64           `json:"load"`  // CPUs in use over CPUs it may use, 0..1 and above
	Voter       bool              `json:"voter"` // it is one of the hosts that keep the registry
}

// HostsReply lists every host the registry remembers, by number.
type HostsReply struct {
	Hosts []Host `json:"hosts"`
	// Standstill says that too few voters can be heard for the registry to change. Then a host that cannot be heard is listed as
	// failed by what the daemon that answers sees itself.
	Standstill bool `json:"standstill,omitempty"`
}

// InitRequest makes this host the first of a new cluster.
type InitRequest struct {
	Cluster names.ClusterName `json:"cluster"`
	Name    names.HostName    `json:"name,omitempty"` // default: the kernel's host name
	Addr    string            `json:"addr,omitempty"` // host:port that peers reach it by; default: chosen by the daemon
}

// TokenRequest asks for the join token; Rotate makes a new one and voids the old.
type TokenRequest struct {
	Rotate bool `json:"rotate,omitempty"`
}

// TokenReply carries the join token and an address to join by.
type TokenReply struct {
	Token string `json:"token"`
	Addr  string `json:"addr"`
}

// JoinRequest joins the cluster that listens at Addr.
type JoinRequest struct {
	Addr     string         `json:"addr"`
	Token    string         `json:"token"`
	Name     names.HostName `json:"name,omitempty"`
	SelfAddr string         `json:"self_addr,omitempty"`
}

// LeaveRequest takes a host out of the cluster; Host empty means this one.
type LeaveRequest struct {
	Host names.HostName `json:"host,omitempty"`
}

// DrainRequest names the host that takes no new jobs, or takes them again; Host empty means this one.
type DrainRequest struct {
	Host names.HostName `json:"host,omitempty"`
}

// JobsUnknown are the Jobs of a host that does not say how many it has, or of which another host does not say how many it has sent there.
const JobsUnknown = -1

// DrainReply says what there is of the draining of a host.
type DrainReply struct {
	Host  names.HostName `json:"host"`
	Was   string         `json:"was"`   // its state before
	State string         `json:"state"` // and now
	Jobs  int            `json:"jobs"`  // of other homes that are still there, while it is drained; or JobsUnknown
}

// Fallbacks: what happens to a job whose host is lost or refuses it.
const (
	FallbackAuto  = ""      // make's recipes run again elsewhere; other commands fail
	FallbackRetry = "retry" // every job runs again elsewhere
	FallbackNever = "never" // no job runs again
)

// SessionRequest opens a session: one `onehost run`. The connection is its life; when it closes, the daemon ends
// everything the session started elsewhere.
type SessionRequest struct {
	Pid     int              `json:"pid"`
	Hosts   []names.HostName `json:"hosts,omitempty"` // only these may be used; empty: all
	Slots   int              `json:"slots,omitempty"` // home's slots; -1: as the daemon chooses
	NoLocal bool             `json:"no_local,omitempty"`
	// Resume opens the session again, of this number, whose connection ended with an earlier daemon; Used are the hosts that had jobs of it.
	Resume uint64       `json:"resume,omitempty"`
	Used   []names.Host `json:"used,omitempty"`
}

// SessionReply names the session and the home.
type SessionReply struct {
	Session uint64         `json:"session"`
	Home    names.HostName `json:"home"`
	CPUs    float64        `json:"cpus"` // CPUs the home may use
}

// PlaceRequest asks where a candidate should run. Seq pairs it with its reply.
type PlaceRequest struct {
	Seq     uint64       `json:"seq"`
	Job     uint64       `json:"job"` // chosen by the session, unique within it
	Command string       `json:"command"`
	Kind    string       `json:"kind,omitempty"`  // of work, as package place describes it
	Bytes   int64        `json:"bytes,omitempty"` // of sources that the command names
	Moves   int64        `json:"moves,omitempty"` // bytes of objects that it names
	Avoid   []names.Host `json:"avoid,omitempty"` // hosts that failed this job
	Release *ReleaseNote `json:"release,omitempty"`
}

// ReleaseNote gives back the slot of a job that ended, or that never began. A PlaceRequest that carries one has no
// reply.
type ReleaseNote struct {
	Job uint64        `json:"job"`
	CPU time.Duration `json:"cpu,omitempty"` // that the job used, where that is known: later ones of its kind are placed by it
}

// PlaceReply says where the job goes. Host 0 means home, and Reason says why.
type PlaceReply struct {
	Seq    uint64         `json:"seq"`
	Job    uint64         `json:"job"`
	Host   names.Host     `json:"host"`
	Name   names.HostName `json:"name"`
	Reason string         `json:"reason,omitempty"` // "no slot", "no host", "home idle" …
	// Refused: home is forbidden and no other host can take it.
	Refused bool `json:"refused,omitempty"`
}

// FD is one inherited descriptor of a process that goes elsewhere; the descriptors themselves come with the message, in
// the order of the list.
type FD struct {
	N int `json:"n"` // its number in the process
}

// ExecRequest sends a process, stopped at PTRACE_EVENT_EXEC, elsewhere. The daemon reads everything else about it from
// /proc, so that a caller can claim nothing.
type ExecRequest struct {
	Session uint64     `json:"session"`
	Job     uint64     `json:"job"`
	Pid     int        `json:"pid"`
	Host    names.Host `json:"host"`
	FDs     []FD       `json:"fds"`
	// Again replays the image kept from the first try under this job number, whose process is a ghost by now.
	Again bool `json:"again,omitempty"`
	// Resume takes up the job, which runs on Host, after its connection ended with an earlier daemon. The descriptors are those of the first try.
	Resume bool `json:"resume,omitempty"`
}

// Kinds of JobEvent.
const (
	JobRefused   = "refused"   // the job cannot go; Reason says why; the process is as it was and may run here
	JobCaptured  = "captured"  // all that is needed of the process has been read: it may become a ghost, and begins elsewhere when it is one
	JobResumed   = "resumed"   // it has been taken up again; the orders up to Done were carried out, those after it are to be sent again
	JobStopped   = "stopped"   // by Signal; its process had got the signals of the orders up to Done by then, and not of later ones
	JobContinued = "continued" // Done is as for JobStopped
	JobRegrouped = "regrouped" // it has moved to the process group Group by setpgid or, if Session is set, setsid
	JobExited    = "exited"    // with Code, or by Signal when that is not 0
	JobLost      = "lost"      // its host or the way to it is gone; Reason says why
)

// JobEvent is what the daemon says of a job.
type JobEvent struct {
	Kind   string        `json:"kind"`
	Host   names.Host    `json:"host,omitempty"`
	Code   int           `json:"code,omitempty"`
	Signal int           `json:"signal,omitempty"`
	Core   bool          `json:"core,omitempty"`
	Reason string        `json:"reason,omitempty"`
	User   time.Duration `json:"user,omitempty"`   // CPU time of the job's whole tree, user
	System time.Duration `json:"system,omitempty"` // and system
	MaxRSS int64         `json:"max_rss,omitempty"`

	Group   int  `json:"group,omitempty"`
	Session bool `json:"session,omitempty"`

	Done      uint64 `json:"done,omitempty"`
	Forgotten bool   `json:"forgotten,omitempty"` // of JobLost: nothing is kept of it, so it cannot begin again elsewhere
	Unbegun   bool   `json:"unbegun,omitempty"`   // of JobLost: it has not begun there, so that it is no second time when it does elsewhere
	Next      bool   `json:"next,omitempty"`      // of JobExited: after an order that is Over the connection takes the next job of its session
}

// JobOrder is what the session says to a job: a signal to pass on, or that its ghost has another parent now. The orders to a job are numbered from 1.
type JobOrder struct {
	N      uint64 `json:"n"`
	Signal int    `json:"signal"`
	Code   int32  `json:"code"`             // si_code: SI_KERNEL means the terminal, so the whole process group gets it
	Value  int64  `json:"value,omitempty"`  // si_value, for rt_sigqueueinfo
	Sender int    `json:"sender,omitempty"` // si_pid and si_uid of a queued one
	UID    uint32 `json:"uid,omitempty"`
	Group  bool   `json:"group,omitempty"` // it was sent to the ghost's whole process group
	Parent int    `json:"parent,omitempty"`
	Ghost  bool   `json:"ghost,omitempty"` // it is the first one, after JobCaptured: the process is a ghost now; it has no number
	Over   bool   `json:"over,omitempty"`  // it is the last one, after JobExited with Next; it has no number
}
