package intercept

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/sys"
)

const (
	foreigner = 0x7fff0001 // no process can have it, so every call about it is notified
	askers    = 2000
)

// TestMain makes this program also one that asks for descriptors: each kill of the foreigner must give it one.
func TestMain(m *testing.M) {
	if os.Getenv("INTERCEPT_TEST") == "ask" {
		for i := range askers {
			fd, _, errno := unix.RawSyscall(unix.SYS_KILL, foreigner, 0, 0)
			var st unix.Stat_t
			if err := unix.Fstat(int(fd), &st); errno != 0 || fd < 3 || err != nil {
				fmt.Fprintf(os.Stderr, "question %d: answer %d (%v), which is no descriptor: %v\n", i, int(fd), errno, err)
				os.Exit(1)
			}
			unix.Close(int(fd))
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// giver answers everything foreign with a descriptor, on the thread whose number it tells.
type giver struct {
	t *testing.T
	f *os.File
}

func (g giver) Exec(n *Notification)                  { n.Continue() }
func (g giver) Signal(n *Notification, _, _ int)      { n.Continue() }
func (g giver) Setter(n *Notification, _ int, _ bool) { n.Continue() }

func (g giver) Foreign(n *Notification, pid names.Pid) {
	if pid != foreigner {
		g.t.Errorf("a call about %v", pid)
	}
	if err := n.ReturnFD(g.f); err != nil {
		g.t.Errorf("giving a descriptor: %v", err)
		n.Fail(unix.EIO)
	}
}

// TestReturnFDUnderSignals: signals of the runtime's own must not come between a descriptor and the answer that names it.
func TestReturnFDUnderSignals(t *testing.T) {
	l, k := filtered(t, nil, "INTERCEPT_TEST=ask")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tids, served := make(chan int, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		tids <- unix.Gettid()
		served <- l.Serve(ctx, giver{t, k.life})
	}()
	var hammer sync.WaitGroup
	over, self, tid := make(chan struct{}), os.Getpid(), <-tids
	hammer.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				_ = unix.Tgkill(self, tid, unix.SIGURG) // what the runtime preempts with
			}
		}
	})
	status := k.status(t)
	close(over)
	hammer.Wait()
	if err := <-served; err != nil {
		t.Error(err)
	}
	l.Close()
	if status != 0 {
		t.Errorf("the asker ended with %#x", status)
	}
}

// kept is a command under the filter.
type kept struct {
	command    int
	life, note *os.File
}

// filtered starts this program, or what argv says, under the filter, and gives its listener. It has made no call yet that is answered.
func filtered(t *testing.T, argv []string, env ...string) (*Listener, *kept) {
	t.Helper()
	prog, err := Filter()
	if err != nil {
		t.Fatal(err)
	}
	lifeR, lifeW := pipe(t)
	noteR, noteW := pipe(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if argv == nil {
		argv = []string{exe}
	}
	pid, pidfd, counts, err := sys.StartKept(&sys.Kept{
		Path: argv[0], Argv: argv, Env: append(os.Environ(), env...), Filter: prog, NoNewPrivs: true, NoFile: limit,
		Sock: pair[1], Life: int(lifeR.Fd()), Note: int(noteW.Fd()), Killer: []string{"true"},
	})
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(pidfd)
	noteW.Close()
	t.Cleanup(func() {
		lifeW.Close()
		_, _ = unix.Wait4(pid, nil, 0, nil)
		_ = counts.Close()
	})
	var b [1]byte
	oob := make([]byte, unix.CmsgSpace(4))
	unix.Close(pair[1])
	_, oobn, _, _, err := unix.Recvmsg(pair[0], b[:], oob, unix.MSG_CMSG_CLOEXEC)
	unix.Close(pair[0])
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		t.Skipf("this kernel gives no listener: %v", err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		t.Fatal(err)
	}
	k := &kept{life: lifeR, note: noteR}
	k.command = int(k.read(t, sys.KeeperStarted).Pid)
	return NewListener(os.NewFile(uintptr(fds[0]), "seccomp")), k
}

// read gives the next of the keeper's notes of a kind.
func (k *kept) read(t *testing.T, kind int32) sys.KeeperNote {
	t.Helper()
	for {
		raw := make([]byte, sys.KeeperNoteSize)
		if n, err := k.note.Read(raw); err != nil || n != len(raw) {
			t.Fatalf("keeper: %d bytes, %v", n, err)
		}
		if n := sys.ParseKeeperNote(raw); n.Kind == kind {
			return n
		}
	}
}

// status waits for the command's wait status.
func (k *kept) status(t *testing.T) int { return int(k.read(t, sys.KeeperStatus).Status) }

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}
