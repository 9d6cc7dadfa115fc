package session

import (
	"errors"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/intercept"
	"github.com/onehost/onehost/place"
	"github.com/onehost/onehost/sys"
)

// Bounds of what is read of an exec's words: enough for the rules. The job itself is read at the new image, in full.
const (
	maxPath  = 4096
	maxWords = 4096
	maxBytes = 128 << 10
)

// Reasons of this package for keeping a candidate here.
const (
	reasonLocal    = "--local"
	reasonNoDaemon = "no daemon"
	reasonSetuid   = "setuid"
	reasonChildren = "has children"
	reasonTraced   = "traced"
	reasonForeign  = "not x86-64"
)

// Exec implements intercept.Handler.
func (s *supervisor) Exec(n *intercept.Notification) {
	pid, err := leader(n.TID) // any thread may exec
	if err != nil {
		n.Continue()
		return
	}
	s.mu.Lock()
	back := s.ghosts[pid]
	known := s.spreaders[pid] != nil
	settled := s.locals[pid] != nil
	parents := len(s.spreaders) > 0
	joining := len(s.joining) > 0
	s.mu.Unlock()
	if back != nil {
		s.backHome(back)
		n.Continue()
		return
	}
	file, argvAt, err := target(n)
	if err != nil {
		n.Continue() // the kernel has the right errno
		return
	}
	argv, err := n.ReadStrings(argvAt, maxWords, maxBytes)
	if err != nil && len(argv) == 0 {
		n.Continue()
		return
	}
	spreads := s.rules.Spreader(file.name, argv)
	if joining {
		if joined := s.joined(pid); joined != nil { // run inside of this run, become its command
			s.wg.Go(func() { s.candidate(n, pid, file, argv, joined, spreads, sys.ProcStat{}) })
			return
		}
	}
	var parent *spreader
	var st sys.ProcStat
	if parents && !settled && !known {
		// The keeper's other children are orphans that came to it as their subreaper: daemons and what was left in the background. Nobody waits for
		// them, and neither must the session.
		if st, err = sys.ReadProcStat(pid); err == nil && (st.Ppid != s.keeper || pid == s.command) {
			s.mu.Lock()
			parent = s.spreaders[st.Ppid]
			s.mu.Unlock()
		}
	}
	if parent == nil {
		if spreads != known && n.Valid() {
			if _, ok := file.look(); ok {
				s.spread(pid, file.name, spreads)
				if spreads && s.rules.Joins(file.name, argv) {
					s.join(pid, &spreader{image: "onehost"})
				}
			}
		}
		n.Continue()
		return
	}
	s.wg.Go(func() { s.candidate(n, pid, file, argv, parent, spreads, st) })
}

// join records that a process is a onehost run, about to become its command; by is whose candidate that is.
func (s *supervisor) join(pid int, by *spreader) {
	s.mu.Lock()
	if s.spreaders[pid] != nil { // which forgets it when it ends
		s.joining[pid] = by
		s.gate.Hold(true)
	}
	s.mu.Unlock()
}

// joined takes what join recorded for the process; nil for any other. It is no spreader by that any more.
func (s *supervisor) joined(pid int) *spreader {
	s.mu.Lock()
	defer s.mu.Unlock()
	by := s.joining[pid]
	if by != nil {
		delete(s.joining, pid)
		s.gate.Hold(len(s.joining) > 0)
		s.forgetSpreaderLocked(pid)
	}
	return by
}

// candidate decides about an exec that may go elsewhere, and sees it through. pid is the process, and st what is known of it.
func (s *supervisor) candidate(n *intercept.Notification, pid int, file execFile, argv []string, parent *spreader, spreads bool, st sys.ProcStat) {
	kind, ok := file.look()
	if !ok || !n.Valid() { // a search of PATH, mostly
		n.Continue()
		return
	}
	j := &job{id: s.jobs.Add(1), pid: pid, command: commandLine(file.name, argv), began: time.Now(), ppid: st.Ppid}
	j.again = s.cfg.Fallback == control.FallbackRetry || (s.cfg.Fallback != control.FallbackNever && parent.rerun)
	reason, stay := s.rules.Stay(file.name, argv, func(name string) (string, bool) { return script(n.TID, file, name) })
	stays := true
	switch {
	case spreads && s.rules.Joins(file.name, argv): // its command is the job
		s.spread(pid, file.name, true)
		s.join(pid, parent)
		n.Continue()
		return
	case spreads:
		s.spread(pid, file.name, true)
		if reason == "" {
			reason = place.ReasonSpreader
		}
	case stay && (reason != place.ReasonCheap || !s.cfg.NoLocal):
	case kind != "":
		reason = kind
	case s.cfg.Local:
		reason = reasonLocal
	case children(pid, st.Threads == 1):
		reason = reasonChildren
	default:
		stays = false
	}
	if stays {
		s.stays(j, reason)
		n.Continue()
		return
	}
	j.work = s.rules.Describe(file.name, argv, func(name string) int64 { return size(n.TID, name) })
	to, err := s.where(j)
	switch {
	case err != nil:
		s.stays(j, reasonNoDaemon)
		n.Continue()
	case to.Refused: // home is forbidden
		s.report.Say("no host can take (" + to.Reason + "): " + j.command)
		n.Fail(unix.EHOSTUNREACH)
	case to.Host == 0:
		s.local(j, to.Reason, true)
		n.Continue()
	default:
		j.host, j.hostName = to.Host, to.Name
		s.away.Add(1)
		defer s.away.Done()
		s.goes(n, j)
	}
}

// stays lets a job run here that holds no slot.
func (s *supervisor) stays(j *job, reason string) { s.local(j, reason, false) }

// local records a job that runs here; slot says whether it holds one.
func (s *supervisor) local(j *job, reason string, slot bool) {
	if reason == "" {
		reason = "home"
	}
	s.report.JobLocal(j.id, j.command, reason)
	s.settle(j.pid, func() {
		if slot {
			s.daemon.release(j.id, 0) // what it used is known to its parent only
		}
		s.report.JobDone(j.id, -1, 0, time.Since(j.began))
	})
}

// where asks the daemon.
func (s *supervisor) where(j *job) (control.PlaceReply, error) {
	if s.daemon == nil {
		return control.PlaceReply{}, errNoDaemon
	}
	return s.daemon.place(s.ctx, control.PlaceRequest{
		Job: j.id, Command: j.command, Kind: j.work.Kind, Bytes: j.work.Bytes, Moves: j.work.Moves, Avoid: j.avoid,
	}, s.cfg.NoLocal)
}

// size is that of the regular file which a thread knows by the name; 0 if there is none.
func size(tid int, name string) int64 {
	var st unix.Stat_t
	if err := unix.Stat(seenBy(tid, name), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0
	}
	return st.Size
}

// execFile is the file of an exec as its caller names it, and how we name it.
type execFile struct {
	name string // the caller's
	path string // ours, through /proc
}

// target reads what an execve or execveat is about: the file, and where its argv lies.
func target(n *intercept.Notification) (execFile, uint64, error) {
	at, pathArg, argvArg, flags := int32(unix.AT_FDCWD), n.Args[0], n.Args[1], uint64(0)
	if n.Nr == unix.SYS_EXECVEAT {
		at, pathArg, argvArg, flags = int32(uint32(n.Args[0])), n.Args[1], n.Args[2], n.Args[4]
	}
	name, err := n.ReadString(pathArg, maxPath)
	if err != nil {
		return execFile{}, 0, err
	}
	proc := "/proc/" + strconv.Itoa(n.TID)
	f := execFile{name: name}
	switch {
	case strings.HasPrefix(name, "/"):
		f.path = proc + "/root" + name
	case name == "" && flags&unix.AT_EMPTY_PATH != 0:
		f.path = proc + "/fd/" + strconv.Itoa(int(at))
		if f.name, err = os.Readlink(f.path); err != nil {
			return execFile{}, 0, err
		}
	case name == "":
		return execFile{}, 0, unix.ENOENT
	case at == unix.AT_FDCWD:
		f.path = proc + "/cwd/" + name
	default:
		f.path = proc + "/fd/" + strconv.Itoa(int(at)) + "/" + name
	}
	return f, argvArg, nil
}

// look reports whether the exec of the file is likely to work: a regular file with an x bit that is ELF or a script. stay is
// the reason why it could not become a ghost, if so. The kernel decides in the end.
func (f execFile) look() (stay string, ok bool) {
	var st unix.Stat_t
	if err := unix.Stat(f.path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return "", false
	}
	if st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		return reasonSetuid, true
	}
	fd, err := unix.Open(f.path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return "", errors.Is(err, unix.EACCES) // executable and not readable: the caller may
	}
	defer unix.Close(fd)
	if _, err := unix.Fgetxattr(fd, "security.capability", nil); err == nil {
		return reasonSetuid, true // file capabilities; a traced exec would lose them
	}
	var head [20]byte
	got, err := unix.Pread(fd, head[:], 0)
	if err != nil || got < 2 {
		return "", false
	}
	if head[0] == '#' && head[1] == '!' {
		return "", true
	}
	if got < len(head) || string(head[:4]) != "\x7fELF" {
		return "", false // ENOEXEC, or a format of binfmt_misc
	}
	if head[4] != 2 || head[18] != 62 { // ELFCLASS64, EM_X86_64
		return reasonForeign, true
	}
	return "", true
}

// commandLine is how a job is shown: the name of its program and its arguments.
func commandLine(name string, argv []string) string {
	if len(argv) == 0 {
		return path.Base(name)
	}
	line := path.Base(name)
	if rest := strings.Join(argv[1:], " "); rest != "" {
		line += " " + rest
	}
	const most = 4096
	if len(line) > most {
		line = line[:most]
	}
	return line
}
