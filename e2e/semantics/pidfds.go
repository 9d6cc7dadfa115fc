package semantics

// pidfds: descriptors of processes.
var pidfds = map[string]Case{
	"pidfd/the end is readable": python(Parent, `
k = ready(READY + "sys.stdin.readline(); sys.exit(3)")
fd = os.pidfd_open(k.pid); say(select.select([fd], [], [], 0)[0] == []); k.tell(); say(select.select([fd], [], [], 10)[0] == [fd]); say(k.wait()); tries("gone", os.pidfd_open, k.pid)
`),
	"pidfd/send_signal": python(Parent, `
k = ready(LISTEN + "forever()"); fd = os.pidfd_open(k.pid)
for n in 1, 10, 15, 40: signal.pidfd_send_signal(fd, n); say(k.line())
tries("signal 0", signal.pidfd_send_signal, fd, 0); tries("signal 65", signal.pidfd_send_signal, fd, 65); tries("flags", signal.pidfd_send_signal, fd, 10, None, 99)
signal.pidfd_send_signal(fd, 9); say(k.wait()); tries("gone", signal.pidfd_send_signal, fd, 10)
`),
	"pidfd/send_signal stops": python(Parent, `
k = ready(READY + "forever()"); fd = os.pidfd_open(k.pid)
signal.pidfd_send_signal(fd, 19); say(k.wait(os.WUNTRACED)); signal.pidfd_send_signal(fd, 18); say(k.wait(os.WCONTINUED)); signal.pidfd_send_signal(fd, 15); say(k.wait())
`),
	"pidfd/a stop reaches the process": python(Parent, `
k = ready(READY + "\nwhile sys.stdin.readline(): say('line')"); fd = os.pidfd_open(k.pid)
signal.pidfd_send_signal(fd, 19); say(k.wait(os.WUNTRACED)); until(lambda: (k.tell(), select.select([k.p.stdout], [], [], 0.7)[0] == [] or (k.line(), False)[1])[1], "the stop to arrive")
signal.pidfd_send_signal(fd, 18); say(k.line()); k.kill(9); say(k.wait())
`),
	"pidfd/with a siginfo": python(Parent, `
k = ready("signal.pthread_sigmask(signal.SIG_BLOCK, [40]); say('ready'); s = signal.sigwaitinfo([40]); say(s.si_signo, s.si_code)"); fd = os.pidfd_open(k.pid)
i = siginfo(signo=40, code=-1, pid=os.getpid(), uid=os.getuid(), value=9); call(424, fd, 40, ctypes.byref(i), 0); say(k.line(), k.wait())
`),
	"pidfd/errors of pidfd_open": python(Parent, `
for p in 0, -1: tries(p, os.pidfd_open, p)
tries("flags", os.pidfd_open, os.getpid(), 1); k = Kid("sys.exit(3)"); until(lambda: status("State", k.pid)[0] == "Z", "the end"); tries("a zombie", os.pidfd_open, k.pid); say(k.wait())
`),
	"pidfd/inside": python(Whole, `
k = ready(LISTEN + "until(lambda: os.path.exists('go')); sys.exit(3)"); fd = os.pidfd_open(k.pid)
signal.pidfd_send_signal(fd, 10); say(k.line()); open("go", "w"); say(select.select([fd], [], [], 10)[0] == [fd]); say(waitid(P_PIDFD, fd, os.WEXITED, {k.pid: "kid"})); tries("gone", os.pidfd_open, k.pid)
`),
	"pidfd/of oneself": python(Whole, `
got = []
signal.signal(10, lambda n, f: got.append(n)); fd = os.pidfd_open(os.getpid()); signal.pidfd_send_signal(fd, 10); until(lambda: got, "the signal"); say(got)
say([l.split() for l in open("/proc/self/fdinfo/%d" % fd) if l.startswith("Pid:")][0][1] == str(os.getpid()))
`),
	"pidfd/CLONE_PIDFD": inC(Parent, `
#include "sem.h"
#include <linux/sched.h>
#include <poll.h>
int main(void) {
	setbuf(stdout, 0);
	int fd = -1;
	struct clone_args a = {.flags = CLONE_PIDFD, .pidfd = (unsigned long)&fd, .exit_signal = SIGCHLD};
	pid_t p = syscall(SYS_clone3, &a, sizeof a);
	if (p == 0) { execl("/bin/sh", "sh", "-c", "exit 8", (char *)0); _exit(127); }
	struct pollfd f = {fd, POLLIN};
	printf("%d\n", poll(&f, 1, 10000));
	siginfo_t i;
	printf("%d ", waitid(3, fd, &i, WEXITED)); printf("%d %d\n", i.si_pid == p, i.si_status);
}
`),
	"pidfd/inherited": python(Parent, `
a = ready(LISTEN + "forever()"); fd = os.pidfd_open(a.pid); os.set_inheritable(fd, True)
b = Kid("signal.pidfd_send_signal(int(sys.argv[1]), 10); say('sent')", fd, pass_fds=[fd]); say(b.line(), b.wait(), a.line()); a.kill(9); say(a.wait())
`),
	"pidfd/getfd of a child": python(Parent, `
k = ready("f = open('data', 'w+'); f.write('text'); f.flush(); os.dup2(f.fileno(), 77); say('ready'); sys.stdin.readline()"); fd = os.pidfd_open(k.pid)
try: got = call(438, fd, 77, 0); say(os.pread(got, 10, 0))
except OSError as e: say(errno.errorcode[e.errno])
k.tell(); say(k.wait())
`),
}

// memory: what processes may do with each other's memory and state.
var memory = map[string]Case{
	"memory/process_vm_readv of a child": python(Parent, `
k = ready("import ctypes\nb = ctypes.create_string_buffer(b'sixteen bytes...')\nsay('ready'); say(ctypes.addressof(b)); sys.stdin.readline(); say(b.value.decode())")
at = int(k.line()); mine = ctypes.create_string_buffer(16)
local = struct.pack("2Q", ctypes.addressof(mine), 16); far = struct.pack("2Q", at, 16)
try: say(call(310, k.pid, local, 1, far, 1, 0), mine.raw)
except OSError as e: say(errno.errorcode[e.errno])
mine.raw = b"written by other"
try: say(call(311, k.pid, local, 1, far, 1, 0))
except OSError as e: say(errno.errorcode[e.errno])
k.tell(); say(k.line(), k.wait())
`),
	"memory/process_vm_readv inside": python(Whole, `
k = ready("import ctypes\nb = ctypes.create_string_buffer(b'sixteen bytes...')\nsay('ready'); say(ctypes.addressof(b)); sys.stdin.readline(); say(b.value.decode())")
at = int(k.line()); mine = ctypes.create_string_buffer(16)
local = struct.pack("2Q", ctypes.addressof(mine), 16); far = struct.pack("2Q", at, 16)
say(call(310, k.pid, local, 1, far, 1, 0), mine.raw); mine.raw = b"written by other"; say(call(311, k.pid, local, 1, far, 1, 0)); k.tell(); say(k.line(), k.wait())
tries("bad address", call, 310, k.pid, local, 1, struct.pack("2Q", 8, 16), 1, 0)
`),
	"memory/errors of process_vm_readv": python(Parent, `
mine = ctypes.create_string_buffer(16); local = struct.pack("2Q", ctypes.addressof(mine), 16)
k = Kid("pass"); k.wait(); tries("gone", call, 310, k.pid, local, 1, local, 1, 0); tries("flags", call, 310, os.getpid(), local, 1, local, 1, 1); say(call(310, os.getpid(), local, 1, local, 1, 0))
`),
	"memory/ptrace inside": inC(Whole, `
#include "sem.h"
#include <sys/ptrace.h>
int main(void) {
	setbuf(stdout, 0);
	pid_t p = fork();
	if (p == 0) { ptrace(PTRACE_TRACEME, 0, 0, 0); execl("/bin/true", "true", (char *)0); _exit(127); }
	tell("exec", waits(p, 0));
	long word = ptrace(PTRACE_PEEKUSER, p, 128, 0);
	printf("has an instruction pointer: %d\n", word != 0 && word != -1);
	ptrace(PTRACE_CONT, p, 0, 0); tell("end", waits(p, 0));
}
`),
	"memory/ptrace attaches to a child": python(Parent, `
k = ready(READY + "sys.stdin.readline(); sys.exit(4)")
tries("attach", call, 101, 16, k.pid, 0, 0); say(k.wait(0x40000000))
word = call(101, 3, k.pid, 128, ctypes.byref(ctypes.c_long())) if False else 0
tries("detach", call, 101, 17, k.pid, 0, 0); k.tell(); say(k.wait())
`),
	"memory/kcmp inside": python(Whole, `
k = ready(READY + "sys.stdin.readline()")
say(call(312, os.getpid(), os.getpid(), 0, 1, 1), call(312, os.getpid(), k.pid, 1, 0, 0) != 0); k.tell(); say(k.wait())
`),
	"memory/kcmp of a child": python(Parent, `
k = ready(READY + "sys.stdin.readline()", stderr=2)
try: say(call(312, os.getpid(), k.pid, 0, 2, 2))
except OSError as e: say(errno.errorcode[e.errno])
k.tell(); say(k.wait())
`),
	"memory/proc of a child": python(Parent, `
k = ready(READY + "os.chdir('/usr'); say('there'); sys.stdin.readline()", close_fds=True); say(k.line())
d = "/proc/%d/" % k.pid
say(os.readlink(d + "exe").split("/")[-1].startswith("python3"), open(d + "cmdline", "rb").read().split(b"\0")[0].decode(), open(d + "comm").read().strip())
say(os.readlink(d + "cwd"), os.readlink(d + "root"))
k.tell(); say(k.wait())
`),
	"memory/environ of a child": python(Parent, `
k = ready(READY + "sys.stdin.readline()", env=dict(os.environ, SPECIAL="here it is")); say(b"SPECIAL=here it is" in open("/proc/%d/environ" % k.pid, "rb").read().split(b"\0")); k.tell(); say(k.wait())
`),
	"memory/status of a child": python(Parent, `
k = ready(READY + "sys.stdin.readline()")
for f in "Uid", "Gid", "Umask", "NoNewPrivs": say(f, status(f, k.pid) == status(f))
say("Threads", status("Threads", k.pid)); until(lambda: status("TracerPid", k.pid) == "0", "nobody to trace it"); k.tell(); say(k.wait())
`),
	"memory/signals in the status of a child": python(Parent, `
k = ready("signal.signal(10, lambda n, f: None); signal.signal(12, signal.SIG_IGN); signal.pthread_sigmask(signal.SIG_BLOCK, [15]); " + READY + "sys.stdin.readline()")
for f in "SigBlk", "SigIgn", "SigCgt": say(f, status(f, k.pid))
k.tell(); say(k.wait())
`),
	"memory/own /proc": python(Whole, `
say(os.readlink("/proc/self") == str(os.getpid()), os.readlink("/proc/self/exe").split("/")[-1].startswith("python3"), os.path.isdir("/proc/%d/task/%d" % (os.getpid(), os.getpid())))
say(sorted(os.listdir("/proc/self/fd"))[:3], open("/proc/self/comm").read().strip(), status("Threads"), status("PPid") == str(os.getppid()), len(open("/proc/self/maps").read()) > 1000)
k = ready(READY + "sys.stdin.readline()"); say(status("PPid", k.pid) == str(os.getpid()), str(k.pid) in os.listdir("/proc")); k.tell(); say(k.wait())
`),
	"memory/oom_score_adj and comm of a child": python(Parent, `
k = ready("say('ready'); sys.stdin.readline(); say(open('/proc/self/comm').read().strip(), open('/proc/self/oom_score_adj').read().strip())")
open("/proc/%d/oom_score_adj" % k.pid, "w").write("500"); k.tell(); say(k.line(), k.wait())
`),
}
