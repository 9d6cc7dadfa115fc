package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/jobs/jobspb"
	"github.com/onehost/onehost/proc/nest"
)

// Tree is the tree of a home on this helper.
type Tree interface {
	Root() string        // directory that is the root of the nest
	Binds() []nest.Bind  // mounts on top of it
	AbortFile() *os.File // aborts the FUSE connection when written to; nil if there is none
	Applied(ctx context.Context, seq uint64) error
	Flush(ctx context.Context) error      // every write is at the home
	FlushEnded(ctx context.Context) error // so is what jobs that have ended wrote
	Abort()                               // the home is gone: everything fails at once
	Unmount(ctx context.Context) error
}

// HelperFiles makes the descriptors of a job from what the home described.
type HelperFiles interface {
	Open(ctx context.Context, conn *link.Conn, desc []byte, t Tree, n *nest.Nest) ([]nest.FD, FileSet, error)
}

// FileSet is the descriptors of one job.
type FileSet interface {
	Release()                         // closes this process's copies, once the job has its own
	Watch(pids func() ([]int, error)) // the job has started; pids are its processes
	SetWinsize(rows, cols uint16)     // the home's terminal has another size
	Drain(ctx context.Context) error  // everything written to them is at the home
	Attach(conn *link.Conn)           // the home is reached by another connection
	Close()
}

// HelperConfig is what a Helper is made of.
type HelperConfig struct {
	Mount func(ctx context.Context, home link.Peer) (Tree, error)
	Files HelperFiles
	Links Links
	// Call carries out what a process of a home, running here, asks of other processes; nil: there are none.
	Call func(ctx context.Context, home names.Host, c nest.Call) nest.Result
	// Drained reports whether this host takes no new jobs; nil: it always does.
	Drained func() bool
	// Counted hears how many jobs run here, whenever that changes. It must not block. nil: nobody does.
	Counted func(jobs int)
	Log     *slog.Logger
}

// Helper is the helper's end of jobs: one nest for each home.
type Helper struct {
	cfg HelperConfig

	mu       sync.Mutex
	homes    map[names.Host]*home
	hosted   map[hostedKey]*hosted
	jobs     int
	starting int // of these, how many are not in hosted yet
	closed   bool
}

// home is the nest of one life of one home; ready is closed when it is made or could not be, and life is over when it ends.
type home struct {
	incarnation names.Incarnation // the last that was heard of; guarded by Helper.mu
	ready       chan struct{}
	life        context.Context
	gone        context.CancelFunc // ends life
	err         error
	tree        Tree
	nest        *nest.Nest
	left        map[uint64][]*nest.Process // by session: ended jobs with descendants that live; guarded by Helper.mu
	over        []uint64                   // sessions that have ended, the latest last; guarded likewise
	claimed     map[uint64]bool            // since the home's daemon was started again: sessions that are there; nil: it was not; likewise
	judged      bool                       // whoever has not been claimed by now is gone; likewise
}

// NewHelper makes the helper's end.
func NewHelper(cfg HelperConfig) *Helper {
	return &Helper{cfg: cfg, homes: map[names.Host]*home{}, hosted: map[hostedKey]*hosted{}}
}

// Register serves the stream of jobs on r.
func (h *Helper) Register(r *link.Router) {
	r.HandleStream(Method, h.serve)
	r.HandleStream(ResumeMethod, h.serveResume)
	r.HandleCall(WarmMethod, h.serveWarm)
	r.HandleCall(endMethod, h.serveEnd)
	r.HandleCall(claimMethod, h.serveClaim)
}

// Jobs says how many jobs run here now.
func (h *Helper) Jobs() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.jobs
}

// count counts the jobs that run here.
func (h *Helper) count(by int) {
	h.mu.Lock()
	h.countLocked(by)
	h.mu.Unlock()
}

func (h *Helper) countLocked(by int) {
	h.jobs += by
	if h.cfg.Counted != nil {
		h.cfg.Counted(h.jobs)
	}
}

// sender sends events by a stream.
func sender(ctx context.Context, s *link.Stream) func(*jobspb.Event) error {
	return func(ev *jobspb.Event) error {
		msg, err := proto.Marshal(ev)
		if err != nil {
			return err
		}
		return s.Send(ctx, msg)
	}
}

// serve runs one job, until it has ended and the home has heard of that. When the home ends the stream all of it is killed; when the connection
// ends it is kept for a while, see hosted.
func (h *Helper) serve(ctx context.Context, r *link.Request, s *link.Stream) error {
	var x jobspb.Exec
	if err := proto.Unmarshal(r.Body, &x); err != nil {
		return fmt.Errorf("bad exec message: %w: %w", err, syscall.EBADMSG)
	}
	h.mu.Lock()
	h.countLocked(1)
	h.starting++ // before drained looks: whoever knows that this host is drained finds every job that still begins
	h.mu.Unlock()
	send := sender(ctx, s)
	j, err := h.begin(ctx, r, &x)
	if err != nil {
		h.mu.Lock()
		h.countLocked(-1)
		h.starting--
		h.mu.Unlock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, errDrained) {
			h.cfg.Log.Warn("job refused", "home", r.From.Name, "pid", x.Pid, "err", err)
		}
		return send(&jobspb.Event{Kind: jobspb.Event_REFUSED, Reason: err.Error()})
	}
	_ = send(&jobspb.Event{Kind: jobspb.Event_STARTED}) // attach sees a stream that has ended
	return j.attach(ctx, r.Conn, s, send, false)
}

// startTime bounds the beginning of a job in a nest that is there: milliseconds, or as long as the home takes to send a
// big program.
const startTime = 20 * time.Second

// start makes the process as soon as this host knows all that the home knew.
func (h *Helper) start(ctx context.Context, conn *link.Conn, hm *home, x *jobspb.Exec) (*nest.Process, FileSet, error) {
	if err := hm.tree.Applied(ctx, x.FsSeq); err != nil {
		return nil, nil, fmt.Errorf("waiting for the changes at home: %w", err)
	}
	fds, set, err := h.cfg.Files.Open(ctx, conn, x.Fds, hm.tree, hm.nest)
	if err != nil {
		return nil, nil, err
	}
	p, err := hm.nest.Start(ctx, spec(x, fds))
	set.Release()
	if err != nil {
		set.Close()
		return nil, nil, err
	}
	set.Watch(p.Pids)
	return p, set, nil
}

// begin starts a job; an error means that it never ran.
func (h *Helper) begin(ctx context.Context, r *link.Request, x *jobspb.Exec) (*hosted, error) {
	if h.drained() {
		return nil, errDrained
	}
	hm, err := h.open(ctx, r.From, x.Home)
	if err != nil {
		return nil, err
	}
	starting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	h.mu.Lock()
	if hm.claimed != nil {
		hm.claimed[x.Session] = true
	}
	old := h.hosted[hostedKey{r.From.Number, x.Session, x.Job}]
	h.mu.Unlock()
	if old != nil { // its home has given it up, and has it begin again
		old.giveUp()
		select {
		case <-old.over:
		case <-starting.Done():
			return nil, fmt.Errorf("it runs here still: %w", starting.Err())
		}
	}
	p, set, err := h.start(starting, r.Conn, hm, x)
	if err != nil {
		if starting.Err() != nil && ctx.Err() == nil {
			h.forget(r.From.Number, hm) // what hangs is its tree or itself: the next job gets new ones
		}
		return nil, err
	}
	return h.host(r.From, hm, x, p, set), nil
}

// kill ends all of a job. A failure means that the nest itself is gone, and the job with it.
func (h *Helper) kill(p *nest.Process) {
	if err := p.Kill(); err != nil && !errors.Is(err, unix.ESRCH) {
		h.cfg.Log.Warn("killing a job", "pid", p.Pid, "err", err)
	}
}

// flushTime bounds the wait for a job's last writes and output to reach a home that answers.
const flushTime = 5 * time.Minute

// ended brings a job's output and writes home and makes its last event. A write that failed late is told, and
// a status of success does not survive it.
func (h *Helper) ended(ctx context.Context, hm *home, set FileSet, ev nest.Event) *jobspb.Event {
	out := &jobspb.Event{
		Kind:   jobspb.Event_EXITED,
		UserNs: ev.User.Nanoseconds(), SystemNs: ev.System.Nanoseconds(), MaxRss: ev.MaxRSS << 10,
	}
	if ev.Status.Signaled() {
		out.Signal, out.Core = int32(ev.Status.Signal()), ev.Status.CoreDump()
	} else {
		out.Code = int32(ev.Status.ExitStatus())
	}
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	err := set.Drain(ctx)
	if ferr := hm.tree.FlushEnded(ctx); ferr != nil {
		err = ferr
	}
	if err != nil {
		out.Reason = "writing to the home: " + err.Error()
		if out.Code == 0 && out.Signal == 0 {
			out.Code = 1
		}
	}
	return out
}

func spec(x *jobspb.Exec, fds []nest.FD) nest.Spec {
	sp := nest.Spec{
		Pid: int(x.Pid), Parent: int(x.Ppid), Group: int(x.Pgid), Session: int(x.Sid), Exe: x.Exe, Cwd: x.Cwd, CwdIno: x.CwdIno, Umask: x.Umask, Nice: int(x.Nice), Scheduler: x.Scheduler, IOPriority: x.IoPrio, TimerSlack: x.TimerSlack,
		Argv: stringsOf(x.Argv), Env: stringsOf(x.Env),
		SigMask: x.SigMask, SigIgnored: x.SigIgnored, Groups: x.Groups, NoNewPrivs: x.NoNewPrivs, FDs: fds,
	}
	copy(sp.UID[:], x.Uids)
	copy(sp.GID[:], x.Gids)
	for _, l := range x.Rlimits {
		sp.Rlimits = append(sp.Rlimits, nest.Rlimit{Resource: int(l.Resource), Soft: l.Cur, Hard: l.Max})
	}
	return sp
}

func stringsOf(bs [][]byte) []string {
	ss := make([]string, len(bs))
	for i, b := range bs {
		ss[i] = string(b)
	}
	return ss
}
