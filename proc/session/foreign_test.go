package session

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc"
	"github.com/onehost/onehost/proc/calls"
	"github.com/onehost/onehost/proc/procpb"
)

// twin is a pid space in which this machine is host 1 and host 2 too: a number of host 2 is asked for by messages, and is this machine's.
type twin struct {
	mu   sync.Mutex
	away map[int]int // jobs of host 1, with the process that each is on host 2
	all  []int       // signals to all that was forked elsewhere
}

func (w *twin) Self() names.Host { return 1 }

func (w *twin) Process(pid names.Pid) proc.Process {
	w.mu.Lock()
	job, away := w.away[pid.Local()]
	w.mu.Unlock()
	switch {
	case pid.Host() == 1 && away:
		return &proc.Away{Remote: &proc.Remote{Pid: names.MakePid(2, job), To: 2, By: w}, Ghost: proc.Here(pid.Local())}
	case pid.Host() == 1:
		return proc.Here(pid.Local())
	case pid.Host() == 2:
		return &proc.Remote{Pid: pid, To: 2, By: w}
	}
	return proc.Nobody
}

func (w *twin) Group(pid names.Pid) proc.Process { return w.Process(pid) }

func (w *twin) SignalLeased(_ context.Context, _ *proc.Caller, sig int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, sig)
	return syscall.ESRCH
}

func (w *twin) Carry(ctx context.Context, _ names.Host, r *procpb.Request) (*procpb.Reply, error) {
	b, err := proto.Marshal(r)
	if err != nil {
		return nil, err
	}
	var got procpb.Request
	if err := proto.Unmarshal(b, &got); err != nil {
		return nil, err
	}
	return proc.Serve(ctx, 2, proc.Here(names.Pid(got.Pid).Local()), &got), nil
}

// everyCall does what can be done to a process by its number, its first argument, and prints what came of it. The others are an address in it and the
// number of no process. host is what other numbers of its host have above their own bits.
const everyCall = `
import ctypes, errno, os, resource, signal, struct, sys
pid = int(sys.argv[1]); host = pid & ~0xffff; address, nobody = int(sys.argv[2]), int(sys.argv[3])
libc = ctypes.CDLL(None, use_errno=True)
def own(n): return n & 0xffff
def call(nr, *args):
    r = libc.syscall(nr, *[a if not isinstance(a, int) else ctypes.c_long(a) for a in args])
    if r < 0: raise OSError(ctypes.get_errno(), "")
    return r
def attr(policy=0, nice=0, size=48):
    return ctypes.create_string_buffer(struct.pack("IIQiIQQQ", size, policy, 0, nice, 0, 0, 0, 0), 56)
def getattr_():
    b = ctypes.create_string_buffer(56); call(315, pid, b, 56, 0); return b.raw[:48].hex()
def vm(nr, data, at=address, n=None):
    b = ctypes.create_string_buffer(data, len(data))
    own_ = (ctypes.c_ulong * 4)(ctypes.addressof(b), 3, ctypes.addressof(b) + 3, len(data) - 3)
    other = (ctypes.c_ulong * 4)(at, len(data) - 5, at + len(data) - 5, 5)
    r = call(nr, pid, own_, 2, other, 2, 0)
    return r, b.raw[:64], sum(b.raw) if len(data) > 64 else 0
def info(code, value):
    return ctypes.create_string_buffer(struct.pack("iiiiIIq", 0, 0, code, 0, os.getpid(), os.getuid(), value), 128)
def other(n): return host + n if host else n
def old(): b = ctypes.create_string_buffer(16); call(302, pid, 7, None, b); return b.raw.hex()
def limits(): b = ctypes.create_string_buffer(16); call(302, pid, 0, ctypes.create_string_buffer(struct.pack("QQ", 50, 60), 16), b); return b.raw.hex()
steps = {
  "kill 0": lambda: os.kill(pid, 0), "kill 65": lambda: os.kill(pid, 65), "kill -group 0": lambda: os.kill(-pid, 0),
  "kill nobody": lambda: os.kill(other(nobody), 0), "kill nobodys group": lambda: os.kill(-other(nobody), 0),
  "tkill": lambda: call(200, pid, 0), "tgkill": lambda: call(234, pid, pid, 0), "tgkill of another": lambda: call(234, other(1), pid, 0),
  "tgkill of none": lambda: call(234, pid, 0, 0),
  "sigqueue": lambda: call(129, pid, 0, info(-1, 7)), "sigqueue as kill": lambda: call(129, pid, 10, info(0, 7)),
  "sigqueue as tkill": lambda: call(129, pid, 10, info(-6, 7)), "sigqueue nothing": lambda: call(129, pid, 10, None),
  "tgsigqueue": lambda: call(297, pid, pid, 0, info(-1, 7)),
  "getpgid": lambda: own(os.getpgid(pid)), "getsid": lambda: own(os.getsid(pid)), "setpgid": lambda: os.setpgid(pid, pid),
  "into its group": lambda: os.setpgid(0, pid), "setpgid -1": lambda: call(109, pid, -1),
  "waitpid": lambda: os.waitpid(pid, 0), "waitid": lambda: os.waitid(os.P_PID, pid, os.WEXITED),
  "getpriority": lambda: os.getpriority(os.PRIO_PROCESS, pid), "setpriority": lambda: os.setpriority(os.PRIO_PROCESS, pid, 3),
  "nice now": lambda: os.getpriority(os.PRIO_PROCESS, pid), "nice of the group": lambda: os.getpriority(os.PRIO_PGRP, pid),
  "nice down": lambda: os.setpriority(os.PRIO_PROCESS, pid, 1), "nice of the group up": lambda: os.setpriority(os.PRIO_PGRP, pid, 6),
  "nice at last": lambda: os.getpriority(os.PRIO_PROCESS, pid), "priority of which": lambda: call(140, 7, pid),
  "ioprio_get": lambda: call(252, 1, pid), "ioprio_set": lambda: call(251, 1, pid, 2 << 13 | 6), "ioprio now": lambda: call(252, 1, pid),
  "ioprio of the group": lambda: call(252, 2, pid), "ioprio bad": lambda: call(251, 1, pid, 9 << 13),
  "affinity": lambda: sorted(os.sched_getaffinity(pid)), "pin": lambda: os.sched_setaffinity(pid, {0}), "pinned": lambda: sorted(os.sched_getaffinity(pid)),
  "pin nowhere": lambda: os.sched_setaffinity(pid, {1023}), "affinity in 3 bytes": lambda: call(204, pid, 3, ctypes.create_string_buffer(8)),
  "affinity to nowhere": lambda: call(204, pid, 128, 8), "affinity from nowhere": lambda: call(203, pid, 128, 8),
  "policy": lambda: os.sched_getscheduler(pid), "batch": lambda: os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0)),
  "policy now": lambda: os.sched_getscheduler(pid), "no policy": lambda: call(144, pid, 77, ctypes.create_string_buffer(4)), "fifo": lambda: os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(200)),
  "no param": lambda: call(144, pid, 0, None),
  "param": lambda: os.sched_getparam(pid).sched_priority, "set param": lambda: os.sched_setparam(pid, os.sched_param(0)),
  "param 5": lambda: os.sched_setparam(pid, os.sched_param(5)), "interval": lambda: os.sched_rr_get_interval(pid) >= 0,
  "attr": getattr_, "set attr": lambda: call(314, pid, attr(3, 9), 0), "attr now": getattr_, "short attr": lambda: call(315, pid, attr(), 20, 0),
  "attr of a size": lambda: call(314, pid, attr(0, 0, 20), 0), "attr of no size": lambda: call(314, pid, attr(3, 9, 0), 0), "attr flags": lambda: call(314, pid, attr(), 77), "no attr": lambda: call(314, pid, None, 0),
  "limit": lambda: resource.prlimit(pid, resource.RLIMIT_CORE), "old": old, "set limit": limits, "limit now": lambda: resource.prlimit(pid, resource.RLIMIT_CPU),
  "no limit": lambda: call(302, pid, 99, None, None), "limit from nowhere": lambda: call(302, pid, 0, 8, None), "soft above hard": lambda: call(302, pid, 0, ctypes.create_string_buffer(struct.pack("QQ", 61, 60), 16), None),
  "write memory": lambda: vm(311, b"what is written there"), "read memory": lambda: vm(310, b"\0" * 21),
  "read 3 MB": lambda: vm(310, bytes(3 << 20), address & ~0xfff, 3 << 20)[0] > 0, "read nowhere": lambda: vm(310, b"\0" * 21, 4096),
  "memory flags": lambda: call(310, pid, None, 0, None, 0, 5), "memory of no pieces": lambda: call(310, pid, None, 0, None, 0, 0), "too many pieces": lambda: call(310, pid, None, 1025, None, 0, 0),
  "pieces nowhere": lambda: call(310, pid, 8, 1, 8, 1, 0),
  "term": lambda: os.kill(pid, 15),
}
for name, step in steps.items():
    try: r = step()
    except OSError as e: r = errno.errorcode[e.errno]
    print(name + ":", r)
`

// victim starts a process of the user to be dealt with, and finds an address in its memory.
func victim(t *testing.T, uid uint32) (cmd *exec.Cmd, address uint64) {
	t.Helper()
	cmd = exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // the test may have
	})
	dir := "/proc/" + strconv.Itoa(cmd.Process.Pid)
	eventually(t, "the target sleeps", func() bool { b, _ := os.ReadFile(dir + "/syscall"); return strings.HasPrefix(string(b), "230 ") })
	maps, err := os.ReadFile(dir + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "[heap]") {
			if _, err := fmt.Sscanf(line, "%x-", &address); err != nil {
				t.Fatal(err)
			}
		}
	}
	if address == 0 {
		t.Fatalf("no heap: %s", maps)
	}
	return cmd, address + 64
}

// ended gives the number of a process that has ended: it is given again when all others have been.
func ended(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// TestEveryCall: what a program does to a process of another host by its number ends as it does for one of this host, whoever's either is.
func TestEveryCall(t *testing.T) {
	need(t, "python3", "setpriv")
	if os.Geteuid() != 0 || unix.Getpagesize() != 4096 {
		t.Skip("needs root, and the call numbers of x86-64")
	}
	f := newFake(t)
	f.calls = calls.Handler(&twin{})
	f.set(true, "")
	dir := t.TempDir()
	for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := filepath.Join(dir, "every.py")
	if err := os.WriteFile(script, []byte(everyCall), 0o644); err != nil { //nolint:gosec // another user reads it
		t.Fatal(err)
	}
	const user, other = 65534, 65533
	for _, c := range []struct {
		name     string
		as, uid  uint32
		differ   []string // what is listed as an exception
		mustHave string
	}{
		{name: "root and root", mustHave: "nice now: 3"},
		{name: "root and user", uid: user, mustHave: "nice now: 3"},
		{name: "user and root", as: user, mustHave: "kill 0: EPERM"},
		{name: "user and his own", as: user, uid: user, mustHave: "nice now: 3"},
		{name: "user and another", as: user, uid: other, mustHave: "setpriority: EPERM"},
	} {
		t.Run(c.name, func(t *testing.T) {
			argv := []string{"python3", script}
			if c.as != 0 {
				id := strconv.Itoa(int(c.as))
				argv = append([]string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--"}, "/usr/bin/python3", script)
			}
			nobody := strconv.Itoa(ended(t))
			native, at := victim(t, c.uid)
			out, err := exec.Command(argv[0], append(slices.Clone(argv[1:]), strconv.Itoa(native.Process.Pid), strconv.FormatUint(at, 10), nobody)...).CombinedOutput()
			if err != nil {
				t.Fatalf("natively: %v: %s", err, out)
			}
			there, at := victim(t, c.uid)
			o := f.run(t, nil, append(argv, strconv.Itoa(2<<16|there.Process.Pid), strconv.FormatUint(at, 10), nobody)...)
			if o.status != 0 {
				t.Fatalf("elsewhere: status %#x: %s", o.status, o.out)
			}
			if !strings.Contains(o.out, c.mustHave+"\n") {
				t.Errorf("no %q in %s", c.mustHave, o.out)
			}
			want, got := byName(string(out), native.Process.Pid), byName(o.out, there.Process.Pid)
			if len(got) < 70 || len(got) != len(want) {
				t.Errorf("%d results elsewhere, %d natively: %s", len(got), len(want), o.out)
			}
			for name, w := range want {
				if got[name] != w && !slices.Contains(c.differ, name) {
					t.Errorf("%s: %s elsewhere, %s natively", name, got[name], w)
				}
			}
		})
	}
}

// byName reads the results of everyCall; the process's own number is put as P.
func byName(out string, pid int) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if value == strconv.Itoa(pid) {
			value = "P"
		}
		m[name] = value
	}
	return m
}

// TestListed: what cannot be done to a process elsewhere gives the errno that is listed, and what is not there ESRCH all the same.
func TestListed(t *testing.T) {
	need(t, "python3")
	f := newFake(t)
	f.calls = calls.Handler(&twin{})
	f.set(true, "")
	cmd, _ := victim(t, 0)
	const program = `
import ctypes, errno, os, select, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(nr, *args):
    if libc.syscall(nr, *[ctypes.c_long(a) for a in args]) < 0: raise OSError(ctypes.get_errno(), "")
there, nobody, own = int(sys.argv[1]), 2 << 16 | int(sys.argv[2]), 1 << 16 | int(sys.argv[1]) & 0xffff
for name, step in {
  "pidfd": lambda p: os.pidfd_open(p), "seize": lambda p: call(101, 0x4206, p, 0, 0), "peek": lambda p: call(101, 1, p, 0, 0),
  "kcmp": lambda p: call(312, p, os.getpid(), 0, 0, 0), "kcmp 2": lambda p: call(312, os.getpid(), p, 0, 0, 0), "migrate_pages": lambda p: call(256, p, 0, 0, 0), "move_pages": lambda p: call(279, p, 0, 0, 0, 0, 0), "robust": lambda p: call(274, p, 0, 0),
  "wait": lambda p: os.waitpid(p, 0),
}.items():
    for who in there, nobody:
        try: print(name, step(who))
        except OSError as e: print(name, errno.errorcode[e.errno])
fd = os.pidfd_open(own)
print("own pidfd", select.select([fd], [], [], 0)[0]); os.kill(own, 9); print("readable", select.select([fd], [], [], 5)[0] == [fd], os.get_inheritable(fd))
`
	o := f.run(t, nil, "python3", "-c", program, strconv.Itoa(2<<16|cmd.Process.Pid), strconv.Itoa(ended(t)))
	want := `pidfd ENOTSUP
pidfd ESRCH
seize ENOTSUP
seize ESRCH
peek ESRCH
peek ESRCH
kcmp ENOTSUP
kcmp ESRCH
kcmp 2 ENOTSUP
kcmp 2 ESRCH
migrate_pages ENOTSUP
migrate_pages ESRCH
move_pages ENOTSUP
move_pages ESRCH
robust ENOTSUP
robust ESRCH
wait ECHILD
wait ECHILD
own pidfd []
readable True False
`
	if o.out != want {
		t.Errorf("got %q, want %q", o.out, want)
	}
}

// TestNobodyToAsk: a call about another host when there is no daemon, or one that does not know calls, and when none was wanted.
func TestNobodyToAsk(t *testing.T) {
	need(t, "python3")
	f := newFake(t)
	f.set(true, "")
	const program = "import errno, os\ntry: os.kill(2 << 16 | 1, 0)\nexcept OSError as e: print(errno.errorcode[e.errno])"
	for _, c := range []struct {
		env  []string
		want string
	}{{nil, "ENOSYS\n"}, {[]string{envRun + "=local"}, "ESRCH\n"}} {
		if o := f.run(t, c.env, "python3", "-c", program); o.out != c.want {
			t.Errorf("%v: %q, want %q", c.env, o.out, c.want)
		}
	}
	cmd, out, _ := f.command(t, nil, "python3", "-c", "import sys; sys.stdin.readline()\n"+program)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(500*time.Millisecond, func() {
		f.srv.Close()
		_, _ = in.Write([]byte("go\n"))
		in.Close()
	})
	if err := withLimit(t, cmd, 20*time.Second); err != nil || out.String() != "EHOSTDOWN\n" {
		t.Errorf("the daemon is gone: %v, %q", err, out)
	}
}

// TestSetGhost: a setting of a ghost is one of its job first, by the caller's rights; a plain process is left to the kernel.
func TestSetGhost(t *testing.T) {
	need(t, "python3")
	f := newFake(t)
	w := &twin{away: map[int]int{}}
	f.calls = calls.Handler(w)
	f.only = "job"
	job, _ := victim(t, 0)
	const program = `
import os, resource, subprocess, sys
p = subprocess.Popen(["/bin/echo", "job", "order", "exit", "0"])
sys.stdin.readline()
os.setpriority(os.PRIO_PROCESS, p.pid, 4); print(os.getpriority(os.PRIO_PROCESS, p.pid), flush=True)
resource.prlimit(p.pid, resource.RLIMIT_CPU, (70, 80)); print(resource.prlimit(p.pid, resource.RLIMIT_CPU), flush=True)
os.setpriority(os.PRIO_PROCESS, os.getpid(), 2); print(os.getpriority(os.PRIO_PROCESS, 0), flush=True)
try: os.kill(-1, 0)
except OSError as e: print(e)
p.terminate(); p.wait()
`
	cmd, out, _ := f.command(t, nil, "python3", "-c", program)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- withLimit(t, cmd, 30*time.Second) }()
	eventually(t, "the job", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.execs) == 1 })
	eventually(t, "the ghost", func() bool { return stateOf(f.ghostPid(0)) == 'S' })
	w.mu.Lock()
	w.away[f.ghostPid(0)] = job.Process.Pid
	w.mu.Unlock()
	if _, err := in.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if err := <-done; err != nil || out.String() != "4\n(70, 80)\n2\n" {
		t.Errorf("%v, %q", err, out)
	}
	if nice, err := proc.Here(job.Process.Pid).Priority(t.Context(), proc.Daemon, proc.OfProcess); err != nil || nice != 4 {
		t.Errorf("the job's nice value is %d, %v", nice, err)
	}
	if l, err := proc.Here(job.Process.Pid).Limit(t.Context(), proc.Daemon, unix.RLIMIT_CPU, nil); err != nil || l != (proc.Limit{Soft: 70, Hard: 80}) {
		t.Errorf("the job's limit is %v, %v", l, err)
	}
	if w.mu.Lock(); !slices.Equal(w.all, []int{0}) {
		t.Errorf("signals to all elsewhere: %v", w.all)
	}
	w.mu.Unlock()
}
