package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/jobs/jobspb"
)

// Method is the stream that carries a job.
const Method = "proc.exec"

// siKernel is the si_code of a signal the kernel itself sent, such as ^C at a terminal.
const siKernel = 0x80

// HomeTree is what a home needs of its file server: Drain makes every change so far known and gives the number that the
// helper must have applied; Lost returns when what a helper that is lost from sight leaves behind half made has been removed.
type HomeTree interface {
	Drain(ctx context.Context, to names.Host) (seq uint64, err error)
	Lost(ctx context.Context, helper names.Host, inc names.Incarnation)
}

// HomeFiles ships the inherited descriptors of the process job, which its session's supervisor run holds too: ns are their
// numbers. An unshippable one is an error that is the reason.
type HomeFiles interface {
	Describe(job, run int, ns []int, files []*os.File) (desc []byte, release func(), err error)
	// Resume takes what an earlier daemon described for the process job back from its session. doubt: what became of the last read or write is not
	// known, so the process cannot go on; it may begin again.
	Resume(job int, desc []byte, ns []int, files []*os.File) (release func(), doubt, err error)
	Winsize(desc []byte) (rows, cols uint16, ok bool) // of the terminal among what was described
}

// Links gives the connection to a host.
type Links interface {
	Conn(ctx context.Context, h names.Host) (*link.Conn, error)
}

// Carriers gives the connections to what runs this home's jobs on other hosts: one process there, which may outlive its host's daemon.
type Carriers interface {
	Conn(ctx context.Context, h names.Host) (*link.Conn, error) // it is made if there is none
	Find(ctx context.Context, h names.Host) (*link.Conn, error) // ESRCH: there is none
	// Back gives another connection to the one whose connection was lost. ESRCH: it is over, and nothing is left of what it ran; another error:
	// ask again.
	Back(ctx context.Context, was *link.Conn) (*link.Conn, error)
}

// HomeConfig is what a Home is made of.
type HomeConfig struct {
	Tree     HomeTree
	Files    HomeFiles
	Carriers Carriers
	Lease    func(helper names.Host, has int) (first, last int, err error)
}

// Home is the home's end of jobs.
type Home struct {
	cfg     HomeConfig
	stopped atomic.Bool

	mu       sync.Mutex              // guards what follows
	sessions map[uint64]*openSession // by their numbers, which nobody can guess: who knows one may take the session up again
	kept     map[jobKey]*image       // until the job has ended or its session has
	runs     map[int]*watched        // runs with jobs elsewhere, by pid
	away     map[int]AwayJob         // what runs elsewhere now, by pid
	going    map[int]names.Host      // what has been sent there and not been heard of yet, by pid
}

type jobKey struct{ session, job uint64 }

// image is what a home keeps of a job so that it can begin again.
type image struct {
	exec    *jobspb.Exec // its Ppid, FsSeq and Home are guarded by Home.mu
	release func()       // closes the descriptors; more than once is allowed
}

// NewHome makes the home's end.
func NewHome(cfg HomeConfig) *Home {
	return &Home{cfg: cfg, sessions: map[uint64]*openSession{}, kept: map[jobKey]*image{}, runs: map[int]*watched{}, away: map[int]AwayJob{}, going: map[int]names.Host{}}
}

// OpenSession says that a session of the user begins; DropSession ends it.
func (h *Home) OpenSession(session uint64, uid uint32) {
	h.mu.Lock()
	h.sessions[session] = &openSession{uid: uid, hosts: map[names.Host]bool{}}
	h.mu.Unlock()
}

// ResumeSession is OpenSession for a session that has outlived the daemon which opened it, and has had jobs on hosts. They are told.
func (h *Home) ResumeSession(session uint64, uid uint32, hosts []names.Host) error {
	h.mu.Lock()
	if h.sessions[session] != nil {
		h.mu.Unlock()
		return fmt.Errorf("session %d is open: %w", session, syscall.EBUSY)
	}
	s := &openSession{uid: uid, hosts: map[names.Host]bool{}}
	for _, host := range hosts {
		s.hosts[host] = true
	}
	h.sessions[session] = s
	h.mu.Unlock()
	go h.tellElsewhere(claimMethod, session, hosts)
	return nil
}

// mayUse refuses whoever speaks of a session that is another user's, or none.
func (h *Home) mayUse(session uint64, who control.Caller) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch s := h.sessions[session]; {
	case s == nil:
		return fmt.Errorf("session %d is not open: %w", session, syscall.ESRCH)
	case s.uid != who.UID:
		return fmt.Errorf("session %d is another user's: %w", session, syscall.EPERM)
	}
	return nil
}

// ServeExec handles control.OpExec: the jobs of one session, one after the other. It returns when a job was refused or lost, or the session
// closes the connection.
func (h *Home) ServeExec(ctx context.Context, who control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
	return h.serveJobs(ctx, who, c, body, files, h.serveJob)
}

// jobServer is serveJob, or what a test has in its place.
type jobServer func(ctx context.Context, who control.Caller, s *said, req *control.ExecRequest, files []*os.File) error

func (h *Home) serveJobs(ctx context.Context, who control.Caller, c *control.Conn, body json.RawMessage, files []*os.File, serve jobServer) error {
	var session uint64
	for {
		var req control.ExecRequest
		if err := json.Unmarshal(body, &req); err != nil {
			closeAll(files)
			return fmt.Errorf("bad exec request: %w: %w", err, syscall.EINVAL)
		}
		if session != 0 && req.Session != session {
			closeAll(files)
			return fmt.Errorf("exec request of session %d on a connection of another: %w", req.Session, syscall.EPERM)
		}
		session = req.Session
		if err := h.mayUse(session, who); err != nil { // each time: it may have ended
			closeAll(files)
			return err
		}
		s := &said{c: c}
		err := serve(ctx, who, s, &req, files)
		if err != nil || !s.over() {
			return err
		}
		var next control.Request
		files, err = c.Receive(&next)
		switch {
		case errors.Is(err, io.EOF): // the session is gone, or has no more jobs for it
			return nil
		case err != nil:
			return err
		}
		if next.Op != control.OpExec {
			closeAll(files)
			return fmt.Errorf("operation %q on a connection of jobs: %w", next.Op, syscall.EINVAL)
		}
		body = next.Body
	}
}

// serveJob sees one job to its end, its loss, or that of its session.
func (h *Home) serveJob(ctx context.Context, who control.Caller, s *said, req *control.ExecRequest, files []*os.File) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := s.c
	conn, err := h.conn(ctx, req)
	if err != nil {
		closeAll(files)
		return c.Send(control.JobEvent{Kind: lostOr(req.Again || req.Resume, control.JobRefused), Host: req.Host, Reason: "host unreachable", Forgotten: req.Resume})
	}
	if req.Resume {
		return h.resume(ctx, who, s, conn, req, files)
	}
	key := jobKey{req.Session, req.Job}
	img, err := h.image(who, key, req, files)
	if err != nil {
		if why, ok := errors.AsType[refusal](err); ok {
			return c.Send(control.JobEvent{Kind: control.JobRefused, Host: req.Host, Reason: string(why)})
		}
		return err
	}
	ghost := func() error { return nil }
	if !req.Again {
		if err := c.Send(control.JobEvent{Kind: control.JobCaptured, Host: req.Host}); err != nil {
			h.Drop(req.Session, req.Job)
			return nil // the session is gone: nobody is left to tell
		}
		ghost = s.ghost
	}
	ev, err := h.drive(ctx, conn, s, who.Pid, req, img, ghost)
	if err != nil {
		h.Drop(req.Session, req.Job)
		return nil // there is no ghost: the process was killed, or the session is gone
	}
	return h.last(c, req, ev)
}

func lostOr(again bool, kind string) string {
	if again {
		return control.JobLost
	}
	return kind
}

// image gives the kept image of a job that begins again, or reads and keeps that of a new one.
func (h *Home) image(who control.Caller, key jobKey, req *control.ExecRequest, files []*os.File) (*image, error) {
	if req.Again {
		closeAll(files)
		h.mu.Lock()
		defer h.mu.Unlock()
		img := h.kept[key]
		if img == nil {
			return nil, fmt.Errorf("job %d of session %d is not known: %w", req.Job, req.Session, syscall.ESRCH)
		}
		return img, nil
	}
	if len(files) != len(req.FDs) {
		closeAll(files)
		return nil, fmt.Errorf("exec request: %d descriptors named, %d sent: %w", len(req.FDs), len(files), syscall.EINVAL)
	}
	x, err := readImage(who, req.Pid)
	if err != nil {
		closeAll(files)
		return nil, err
	}
	ns := make([]int, len(req.FDs))
	for i, fd := range req.FDs {
		ns[i] = fd.N
	}
	desc, release, err := h.cfg.Files.Describe(req.Pid, who.Pid, ns, files)
	closeAll(files)
	if err != nil {
		return nil, refusal(err.Error())
	}
	x.Session, x.Job, x.Fds = req.Session, req.Job, desc
	img := &image{exec: x, release: sync.OnceFunc(release)}
	return img, h.keep(key, img)
}

// keep keeps an image for as long as its session lasts.
func (h *Home) keep(key jobKey, img *image) error {
	h.mu.Lock()
	_, open := h.sessions[key.session]
	if open {
		h.kept[key] = img
	}
	h.mu.Unlock()
	if !open { // it ended meanwhile, and nobody would drop the image
		img.release()
		return fmt.Errorf("session %d has ended: %w", key.session, syscall.ESRCH)
	}
	return nil
}

// Drop forgets the image of a job and closes its descriptors.
func (h *Home) Drop(session, job uint64) {
	h.mu.Lock()
	img := h.kept[jobKey{session, job}]
	delete(h.kept, jobKey{session, job})
	h.mu.Unlock()
	if img != nil {
		img.release()
	}
}

// DropSession forgets a session and all its images, and ends what its jobs left on other hosts. It waits for them, some seconds at
// most.
func (h *Home) DropSession(session uint64) {
	var gone []*image
	h.mu.Lock()
	s := h.sessions[session]
	delete(h.sessions, session)
	for k, img := range h.kept {
		if k.session == session {
			gone = append(gone, img)
			delete(h.kept, k)
		}
	}
	h.mu.Unlock()
	for _, img := range gone {
		img.release()
	}
	if s != nil && !h.stopped.Load() {
		h.mu.Lock()
		hosts := slices.Collect(maps.Keys(s.hosts))
		h.mu.Unlock()
		h.tellElsewhere(endMethod, session, hosts)
	}
}

// drive runs a job of the run on the helper and gives its last event. It begins when ghost returns: its parent is to find one process, wherever it looks,
// and while that is traced it can neither be waited for nor traced as others can. An error is ghost's.
func (h *Home) drive(ctx context.Context, conn *link.Conn, said *said, run int, req *control.ExecRequest, img *image, ghost func() error) (control.JobEvent, error) {
	ready, err := h.ready(ctx, req, img)
	if gerr := ghost(); gerr != nil {
		return control.JobEvent{}, gerr
	}
	var s *link.Stream
	if err == nil {
		h.sent(req.Session, req.Host)
		h.isGoing(req.Pid, req.Host)
		s, err = conn.Open(context.WithoutCancel(ctx), Method, nil, ready)
	}
	if err != nil {
		h.notAway(req.Pid)
		return control.JobEvent{Kind: control.JobLost, Host: req.Host, Reason: err.Error()}, nil //nolint:nilerr // the event says so
	}
	return h.carry(ctx, &leg{conn: conn, stream: s}, said, run, req, img), nil
}

// ready makes what the helper is sent.
func (h *Home) ready(ctx context.Context, req *control.ExecRequest, img *image) ([]byte, error) {
	about, err := h.about(req.Host)
	if err != nil {
		return nil, err
	}
	seq, err := h.cfg.Tree.Drain(ctx, req.Host)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	img.exec.FsSeq, img.exec.Home = seq, about
	// Arguments and environment may be megabytes, more than a header should be: they all travel as the body.
	return proto.Marshal(img.exec)
}

// about says what a helper must know to make the nest of this home.
func (h *Home) about(helper names.Host) (*jobspb.Home, error) {
	first, last, err := h.cfg.Lease(helper, 0)
	if err != nil {
		return nil, err
	}
	hostname, err := os.Hostname()
	return &jobspb.Home{Hostname: hostname, PidFirst: uint32(first), PidLast: uint32(last)}, err
}

// toGroup tells which signals go to the whole process group of a job. What the terminal sends does. So do SIGSTOP and SIGCONT:
// a shell stops and continues the group that the ghost is in, of which the ghost can tell its own part only, and a
// job that was continued in part would hang.
func toGroup(o control.JobOrder) bool {
	switch unix.Signal(o.Signal) {
	case unix.SIGSTOP, unix.SIGCONT:
		return true
	case unix.SIGCHLD:
		return false
	}
	return o.Group || o.Code == siKernel
}

// order passes one order of the session on.
func (h *Home) order(ctx context.Context, o *control.JobOrder, pass func(*jobspb.Order) error, to names.Host, img *image) error {
	if o.Parent != 0 {
		h.mu.Lock()
		img.exec.Ppid = uint32(o.Parent)
		h.mu.Unlock()
		return pass(&jobspb.Order{N: o.N, Ppid: uint32(o.Parent)})
	}
	seq, err := h.cfg.Tree.Drain(ctx, to)
	if err != nil {
		return err
	}
	out := &jobspb.Order{N: o.N, Signal: int32(o.Signal), Code: o.Code, Value: o.Value, Sender: uint32(o.Sender), SenderUid: o.UID, Group: toGroup(*o), FsSeq: seq}
	if o.Signal == int(unix.SIGWINCH) {
		if rows, cols, ok := h.cfg.Files.Winsize(img.exec.Fds); ok {
			out.Rows, out.Cols = uint32(rows), uint32(cols)
		}
	}
	return pass(out)
}

// kinds are those of events that a session is told of.
var kinds = map[jobspb.Event_Kind]string{
	jobspb.Event_STOPPED: control.JobStopped, jobspb.Event_CONTINUED: control.JobContinued, jobspb.Event_EXITED: control.JobExited,
	jobspb.Event_REFUSED: control.JobRefused, jobspb.Event_REGROUPED: control.JobRegrouped,
}

func event(host names.Host, ev *jobspb.Event) control.JobEvent {
	return control.JobEvent{
		Kind: kinds[ev.Kind], Host: host, Code: int(ev.Code), Signal: int(ev.Signal), Core: ev.Core, Reason: ev.Reason,
		User: time.Duration(ev.UserNs), System: time.Duration(ev.SystemNs), MaxRSS: ev.MaxRss,
		Group: int(ev.Pgid), Session: ev.Session, Done: ev.Done,
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
