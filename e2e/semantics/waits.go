package semantics

// waits: wait4 and waitid with all that they take.
var waits = map[string]Case{
	"wait/any of several": python(Parent, `
kids = {Kid("sys.exit(int(sys.argv[1]))", n).pid: n for n in range(1, 9)}
got = {}
for i in range(8):
    pid, st = os.wait(); got[kids[pid]] = ended(st)
say(sorted(got.items())); tries("wait", os.wait)
`),
	"wait/by pid in any order": python(Parent, `
kids = [Kid("sys.exit(int(sys.argv[1]))", n) for n in range(6)]
for k in reversed(kids): say(k.wait())
for k in kids: tries("again", os.waitpid, k.pid, 0)
`),
	"wait/WNOHANG": python(Parent, `
k = ready(READY + "sys.stdin.readline(); sys.exit(3)")
say(k.wait(os.WNOHANG), k.wait(os.WNOHANG)); k.tell()
say(until(lambda: (lambda r: r if r != "nothing" else None)(k.wait(os.WNOHANG)), "the end"))
tries("then", os.waitpid, k.pid, os.WNOHANG)
`),
	"wait/WNOHANG for any": python(Parent, `
tries("none", os.waitpid, -1, os.WNOHANG)
k = ready(READY + "sys.stdin.readline()")
say(os.waitpid(-1, os.WNOHANG)); k.tell(); pid, st = os.waitpid(-1, 0); say(pid == k.pid, ended(st))
`),
	"wait/WUNTRACED": python(Parent, `
k = ready(READY + "forever()")
for n in signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU:
    k.kill(n); say(k.wait(os.WUNTRACED), k.wait(os.WUNTRACED | os.WNOHANG)); k.kill(signal.SIGCONT)
    until(lambda: not stopped(k.pid), "to go on")
k.kill(9); say(k.wait(os.WUNTRACED))
`),
	"wait/a stop is not told without WUNTRACED": python(Parent, `
k = ready(READY + "forever()")
k.kill(signal.SIGSTOP); until(lambda: stopped(k.pid), "the stop")
say(k.wait(os.WNOHANG)); say(k.wait(os.WUNTRACED | os.WNOHANG)); k.kill(9); say(k.wait())
`),
	"wait/WCONTINUED": python(Parent, `
k = ready(READY + "forever()")
for i in range(3):
    k.kill(signal.SIGSTOP); say(k.wait(os.WUNTRACED)); k.kill(signal.SIGCONT); say(k.wait(os.WCONTINUED), k.wait(os.WCONTINUED | os.WNOHANG))
k.kill(15); say(k.wait(os.WCONTINUED | os.WUNTRACED))
`),
	"wait/a child stops itself": python(Parent, `
for n in signal.SIGSTOP, signal.SIGTSTP:
    k = ready(READY + "os.kill(os.getpid(), %d); say('goes on'); sys.exit(6)" % n)
    say(k.wait(os.WUNTRACED)); k.kill(signal.SIGCONT); say(k.line(), k.wait())
`),
	"wait/waitid of an end": python(Parent, `
say(waitid(P_PID, Kid("sys.exit(5)").pid, os.WEXITED))
say(waitid(P_PID, Kid("die(15)").pid, os.WEXITED))
say(waitid(P_PID, Kid("die(9)").pid, os.WEXITED))
say(waitid(P_PID, Kid("die(40)").pid, os.WEXITED))
tries("again", os.waitid, P_ALL, 0, os.WEXITED)
`),
	"wait/WNOWAIT": python(Parent, `
k = Kid("sys.exit(5)")
for i in range(3): say(waitid(P_PID, k.pid, os.WEXITED | os.WNOWAIT))
say(status("State", k.pid)); say(k.wait()); tries("gone", os.waitid, P_PID, k.pid, os.WEXITED | os.WNOWAIT)
`),
	"wait/WNOWAIT of a stop": python(Parent, `
k = ready(READY + "forever()")
k.kill(signal.SIGSTOP)
for o in os.WSTOPPED | os.WNOWAIT, os.WSTOPPED | os.WNOWAIT, os.WSTOPPED, os.WSTOPPED | os.WNOHANG: say(waitid(P_PID, k.pid, o))
k.kill(signal.SIGCONT)
for o in os.WCONTINUED | os.WNOWAIT, os.WCONTINUED, os.WCONTINUED | os.WNOHANG: say(waitid(P_PID, k.pid, o))
k.kill(9); say(waitid(P_PID, k.pid, os.WEXITED))
`),
	"wait/WSTOPPED only": python(Parent, `
k = ready(READY + "forever()")
k.kill(9); until(lambda: status("State", k.pid)[0] == "Z", "the end")
tries("an end is no stop", os.waitid, P_PID, k.pid, os.WSTOPPED | os.WNOHANG); say(waitid(P_PID, k.pid, os.WEXITED | os.WNOHANG))
`),
	"wait/bad options": python(Parent, `
k = ready(READY + "sys.stdin.readline()")
tries("waitpid", os.waitpid, k.pid, 0x100); tries("waitid, no state", os.waitid, P_PID, k.pid, os.WNOHANG)
tries("waitid, kind", os.waitid, 9, k.pid, os.WEXITED); tries("waitid, pid 0", os.waitid, P_PID, 0, os.WEXITED)
tries("a stranger", os.waitpid, 1, os.WNOHANG); tries("oneself", os.waitpid, os.getpid(), 0)
tries("no such group", os.waitpid, -k.pid, os.WNOHANG)
k.tell(); say(k.wait())
`),
	"wait/__WALL and __WCLONE": python(Parent, `
k = Kid("sys.exit(2)")
tries("clones only", os.waitpid, k.pid, 0x80000000 - 2**32); say(k.wait(0x40000000))
`),
	"wait/by group": python(Parent, `
a = ready(READY + "sys.stdin.readline(); sys.exit(1)", process_group=0)
b = ready(READY + "sys.stdin.readline(); sys.exit(2)", process_group=a.pid)
c = ready(READY + "sys.stdin.readline(); sys.exit(3)")
for k in a, b, c: k.tell()
say(sorted(ended(os.waitpid(-a.pid, 0)[1]) for i in range(2))); tries("group is empty", os.waitpid, -a.pid, 0)
say(ended(os.waitpid(0, 0)[1])); tries("own group", os.waitpid, 0, 0)
`),
	"wait/P_PGID": python(Parent, `
a = ready(READY + "sys.stdin.readline(); sys.exit(1)", process_group=0)
b = ready(READY + "sys.stdin.readline(); sys.exit(2)", process_group=a.pid)
say(waitid(P_PGID, a.pid, os.WEXITED | os.WNOHANG))
b.tell(); say(waitid(P_PGID, a.pid, os.WEXITED, {b.pid: "b"})); a.tell(); say(waitid(P_PGID, a.pid, os.WEXITED, {a.pid: "a"}))
tries("empty", os.waitid, P_PGID, a.pid, os.WEXITED)
`),
	"wait/P_PIDFD": python(Parent, `
k = ready(READY + "sys.stdin.readline(); sys.exit(4)")
fd = os.pidfd_open(k.pid)
say(waitid(P_PIDFD, fd, os.WEXITED | os.WNOHANG)); k.tell()
say(waitid(P_PIDFD, fd, os.WEXITED, {k.pid: "kid"})); tries("again", os.waitid, P_PIDFD, fd, os.WEXITED)
tries("no pidfd", os.waitid, P_PIDFD, 0, os.WEXITED)
`),
	"wait/P_PIDFD that does not block": python(Parent, `
k = ready(READY + "sys.stdin.readline(); sys.exit(4)")
fd = os.pidfd_open(k.pid, os.O_NONBLOCK)
tries("while it runs", os.waitid, P_PIDFD, fd, os.WEXITED); k.tell()
say(select.select([fd], [], [], 10)[0] == [fd]); say(waitid(P_PIDFD, fd, os.WEXITED, {k.pid: "kid"}))
`),
	"wait/SIGCHLD": python(Parent, `
got = []
signal.signal(signal.SIGCHLD, lambda n, f: got.append(n))
k = ready(READY + "sys.stdin.readline()"); say(len(got)); k.tell()
until(lambda: len(got) == 1, "SIGCHLD"); say(k.wait(), len(got))
k = ready(READY + "forever()"); k.kill(signal.SIGSTOP)
until(lambda: len(got) == 2, "SIGCHLD of a stop"); k.kill(signal.SIGCONT); until(lambda: len(got) == 3, "SIGCHLD of going on")
k.kill(9); until(lambda: len(got) == 4, "SIGCHLD of the end"); say(k.wait(), len(got))
`),
	"wait/what SIGCHLD says": python(Parent, `
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
def got(k):
    i = signal.sigtimedwait([signal.SIGCHLD], 10); say(CODES[i.si_code], i.si_status, i.si_pid == k.pid, i.si_uid)
k = Kid("sys.exit(9)"); got(k); k.wait()
k = ready("signal.pthread_sigmask(signal.SIG_SETMASK, []); " + READY + "forever()")
k.kill(signal.SIGSTOP); got(k); k.kill(signal.SIGCONT); got(k); k.kill(15); got(k); k.wait()
`),
	"wait/SA_NOCLDSTOP": inC(Parent, `
#include "sem.h"
static volatile int got;
static void count(int n) { got++; }
int main(void) {
	struct sigaction a = {.sa_handler = count, .sa_flags = SA_NOCLDSTOP};
	sigaction(SIGCHLD, &a, 0);
	int out;
	pid_t p = start(&out, "say('ready'); forever()");
	want(out, "ready");
	kill(p, SIGSTOP); tell("stop", waits(p, WUNTRACED)); kill(p, SIGCONT); tell("go on", waits(p, WCONTINUED));
	printf("%d signals\n", got);
	kill(p, SIGKILL); tell("end", waits(p, 0));
	printf("%d signal\n", got);
}
`),
	"wait/SIGCHLD ignored": python(Parent, `
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
k = ready(READY + "sys.stdin.readline()"); k.tell()
tries("wait", os.waitpid, k.pid, 0); tries("kill", os.kill, k.pid, 0)
`),
	"wait/SA_NOCLDWAIT": inC(Parent, `
#include "sem.h"
static void none(int n) {}
int main(void) {
	struct sigaction a = {.sa_handler = none, .sa_flags = SA_NOCLDWAIT | SA_RESTART};
	sigaction(SIGCHLD, &a, 0);
	pid_t p = start(0, "sys.exit(3)");
	int r = waitpid(p, 0, 0);
	printf("%d %s\n", r, r < 0 ? strerrorname_np(errno) : "");
}
`),
	"wait/interrupted": python(Parent, `
class Alarm(Exception): pass
def ring(n, f): raise Alarm
signal.signal(signal.SIGALRM, ring)
k = ready(READY + "sys.stdin.readline()")
signal.setitimer(signal.ITIMER_REAL, 0.05)
try: os.waitpid(k.pid, 0); say("not interrupted")
except Alarm: say("interrupted")
k.tell(); say(k.wait())
`),
	"wait/from another thread": python(Parent, `
k = ready(READY + "sys.stdin.readline(); sys.exit(3)")
got = []
t = threading.Thread(target=lambda: got.append(k.wait())); t.start(); k.tell(); t.join(20); say(got)
k = []
t = threading.Thread(target=lambda: k.append(Kid("sys.exit(4)"))); t.start(); t.join(20); say(k[0].wait())
`),
	"wait/__WNOTHREAD": python(Parent, `
k = []
t = threading.Thread(target=lambda: (k.append(Kid("sys.stdin.readline()")), done.wait(20))); done = threading.Event(); t.start()
until(lambda: k, "the child"); tries("another thread's", os.waitpid, k[0].pid, 0x20000000)
k[0].tell(); say(k[0].wait()); done.set(); t.join(20)
`),
	"wait/two threads for one child": python(Parent, `
k = ready(READY + "sys.stdin.readline(); sys.exit(3)")
got = []
def one():
    try: got.append(k.wait())
    except ChildProcessError: got.append("ECHILD")
ts = [threading.Thread(target=one) for i in range(2)]; [t.start() for t in ts]; k.tell(); [t.join(20) for t in ts]; say(sorted(got))
`),
	"wait/zombie": python(Parent, `
k = Kid("sys.exit(3)")
until(lambda: status("State", k.pid)[0] == "Z", "the end")
say(open("/proc/%d/cmdline" % k.pid).read() == "", status("PPid", k.pid) == str(os.getpid()))
tries("kill", os.kill, k.pid, 9); tries("signal 0", os.kill, k.pid, 0); say(os.getpgid(k.pid) == os.getpgrp()); say(k.wait()); tries("gone", os.kill, k.pid, 0)
`),
	"wait/usage is that of the process": python(Parent, `
k = Kid("e = time.process_time() + 0.3\nwhile time.process_time() < e: pass")
pid, st, ru = os.wait4(k.pid, 0)
say(ended(st), ru.ru_utime + ru.ru_stime > 0.25, ru.ru_utime + ru.ru_stime < 5)
c = resource.getrusage(resource.RUSAGE_CHILDREN); say(c.ru_utime + c.ru_stime > 0.25)
`),
	"wait/usage inside": python(Whole, `
k = Kid("e = time.process_time() + 0.2\nx = b'x' * (40 << 20)\nwhile time.process_time() < e: pass")
pid, st, ru = os.wait4(k.pid, 0)
say(ended(st), ru.ru_utime + ru.ru_stime > 0.15, ru.ru_maxrss > 40000)
c = resource.getrusage(resource.RUSAGE_CHILDREN); say(c.ru_utime + c.ru_stime > 0.15); t = os.times(); say(t.children_user + t.children_system > 0.1)
`),
	"wait/wait -n": bash(Parent, `
mkfifo a b
p() { exec /usr/bin/python3 -S -c "open('$1').read(); import sys; sys.exit($2)"; }
p a 3 & p b 4 &
: > b; wait -n; echo $?; : > a; wait -n; echo $?; wait -n; echo none $?
`),
	"wait/wait by pid and job in shells": bash(Parent, `
for n in 1 2 3; do /usr/bin/python3 -S -c "import sys; sys.exit($n)" & p[n]=$!; done
wait ${p[2]}; echo $?; wait ${p[1]}; echo $?; wait %3; echo $?; wait ${p[2]}; echo again $?; wait 1; echo $?; wait; echo $?
`),
	"wait/dash": dash(Parent, `
/usr/bin/python3 -S -c "import sys; sys.exit(7)" & a=$!
/usr/bin/python3 -S -c "import os; os.kill(os.getpid(), 15)" & b=$!
wait $a; echo $?; wait $b; echo $?; wait 99999; echo $?
`),
}
