package semantics

// signals: sending them by every call there is, and what the receiver is told.
var signals = map[string]Case{
	"signal/each one is caught": python(Parent, `
k = ready(LISTEN + "forever()")
for n in list(range(1, 32)) + [34, 35, 50, 63, 64]:
    if n in (9, 19, 17): continue
    k.kill(n); say(n, k.line())
k.kill(9); say(k.wait())
`),
	"signal/real-time ones queue, others merge": python(Parent, `
k = ready("""
signal.pthread_sigmask(signal.SIG_BLOCK, [40, 41, 10])
say('ready'); signal.sigwait([41])
def count(n):
    i = 0
    while signal.sigtimedwait([n], 0): i += 1
    return i
say(count(10), count(40))
""")
for i in range(3): k.kill(10)
for i in range(5): k.kill(40)
k.kill(41); say(k.line(), k.wait())
`),
	"signal/sigqueue carries a value": python(Parent, `
k = ready("""
signal.pthread_sigmask(signal.SIG_BLOCK, [10, 40])
say('ready')
import ctypes
libc = ctypes.CDLL(None)
buf = ctypes.create_string_buffer(128)
mask = ctypes.create_string_buffer(128)
libc.sigemptyset(mask); libc.sigaddset(mask, 10); libc.sigaddset(mask, 40)
for i in range(4):
    libc.sigwaitinfo(mask, buf)
    say(*[int.from_bytes(buf.raw[a:a + 4], 'little', signed=True) for a in (0, 8)], int.from_bytes(buf.raw[24:32], 'little', signed=True))
""")
for n, v in (10, 42), (40, -1), (40, 2**40), (10, 0):
    sigqueue(k.pid, n, v); say(k.line())
say(k.wait())
`),
	"signal/queued values come in order": python(Parent, `
k = ready("""
signal.pthread_sigmask(signal.SIG_BLOCK, [40])
say('ready')
import ctypes
libc = ctypes.CDLL(None)
buf = ctypes.create_string_buffer(128)
mask = ctypes.create_string_buffer(128)
libc.sigemptyset(mask); libc.sigaddset(mask, 40)
got = []
while len(got) < 30:
    libc.sigwaitinfo(mask, buf); got.append(int.from_bytes(buf.raw[24:32], 'little'))
say(got == list(range(30)))
""")
for i in range(30): sigqueue(k.pid, 40, i)
say(k.line(), k.wait())
`),
	"signal/codes and senders": python(Parent, `
k = ready("""
signal.pthread_sigmask(signal.SIG_BLOCK, [10, 40])
say('ready')
for i in range(3):
    s = signal.sigwaitinfo([10, 40]); say(s.si_signo, s.si_code, s.si_pid == os.getppid(), s.si_uid)
""")
k.kill(10); say(k.line()); sigqueue(k.pid, 40, 1); say(k.line()); call(234, k.pid, k.pid, 10); say(k.line()); say(k.wait())
`),
	"signal/the sender of a queued one": python(Parent, `
k = ready("""
signal.pthread_sigmask(signal.SIG_BLOCK, [10, 40])
say('ready')
for i in range(3):
    s = signal.sigwaitinfo([10, 40]); say(s.si_signo, s.si_code, s.si_pid == os.getppid(), s.si_uid)
""")
for n in 40, 10, 40: sigqueue(k.pid, n, 1); say(k.line())
say(k.wait())
`),
	"signal/codes of kill": python(Parent, `
k = ready("""
signal.pthread_sigmask(signal.SIG_BLOCK, [10, 40])
say('ready')
for i in range(3):
    s = signal.sigwaitinfo([10, 40]); say(s.si_signo, s.si_code, s.si_uid)
""")
k.kill(10); say(k.line()); sigqueue(k.pid, 40, 1); say(k.line()); k.kill(40); say(k.line()); say(k.wait())
`),
	"signal/tkill and tgkill": python(Parent, `
k = ready(LISTEN + "forever()")
call(200, k.pid, 10); say(k.line()); call(234, k.pid, k.pid, 12); say(k.line())
tries("another thread group", call, 234, os.getpid(), k.pid, 10); tries("no such thread", call, 234, k.pid, k.pid + 30000 if k.pid < 2000 else 1, 10)
tries("bad signal", call, 200, k.pid, 65); tries("bad thread", call, 200, -1, 10); tries("bad group", call, 234, 0, k.pid, 10)
k.kill(9); say(k.wait())
`),
	"signal/rt_tgsigqueueinfo": python(Parent, `
k = ready("""
signal.pthread_sigmask(signal.SIG_BLOCK, [40])
say('ready'); s = signal.sigwaitinfo([40]); say(s.si_signo, s.si_code)
""")
i = siginfo(signo=40, code=-1, pid=os.getpid(), uid=os.getuid(), value=7)
call(297, k.pid, k.pid, 40, ctypes.byref(i)); say(k.line(), k.wait())
`),
	"signal/what sigqueue may not claim": python(Parent, `
k = ready(LISTEN + "forever()")
for code in 0, 0x80, -6, 1: tries("code %d" % code, sigqueue, k.pid, 10, 1, code)
tries("bad signal", sigqueue, k.pid, 65, 1); k.kill(9); say(k.wait())
`),
	"signal/errors of kill": python(Parent, `
k = Kid("sys.exit(0)"); k.wait()
tries("ended", os.kill, k.pid, 0); tries("ended, TERM", os.kill, k.pid, 15)
k = ready(READY + "forever()")
tries("signal 0", os.kill, k.pid, 0); tries("signal 65", os.kill, k.pid, 65); tries("signal -1", os.kill, k.pid, -1)
k.kill(9); say(k.wait()); tries("no such group", os.kill, -k.pid, 0)
`),
	"signal/a zombie may be signalled": python(Parent, `
k = Kid("sys.exit(3)"); until(lambda: status("State", k.pid)[0] == "Z", "the end")
for n in 0, 1, 9, 15, 18: tries(n, k.kill, n)
say(k.wait())
`),
	"signal/SIGSTOP and SIGCONT, again and again": python(Parent, `
k = ready(READY + "n = 0\nwhile sys.stdin.readline(): n += 1; say(n)")
for i in range(1, 11):
    k.kill(signal.SIGSTOP); until(lambda: stopped(k.pid), "the stop"); k.kill(signal.SIGCONT); until(lambda: not stopped(k.pid), "going on")
    k.tell(); say(k.line() == str(i))
k.p.stdin.close(); say(k.wait())
`),
	"signal/a stopped process does nothing": python(Parent, `
k = ready(READY + "\nwhile sys.stdin.readline(): say('line')")
k.kill(signal.SIGSTOP); say(k.wait(os.WUNTRACED)); k.tell()
say(select.select([k.p.stdout], [], [], 0.2)[0] == []); k.kill(signal.SIGCONT); say(k.line()); k.p.stdin.close(); say(k.wait())
`),
	"signal/SIGKILL and SIGTERM to a stopped process": python(Parent, `
k = ready(READY + "forever()"); k.kill(signal.SIGSTOP); say(k.wait(os.WUNTRACED)); k.kill(9); say(k.wait())
k = ready(READY + "forever()"); k.kill(signal.SIGSTOP); say(k.wait(os.WUNTRACED)); k.kill(15)
say(k.wait(os.WNOHANG | os.WUNTRACED)); k.kill(signal.SIGCONT); say(k.wait())
`),
	"signal/SIGCONT is caught and does wake": python(Parent, `
k = ready(LISTEN + "forever()")
k.kill(signal.SIGCONT); say(k.line()); k.kill(signal.SIGSTOP); say(k.wait(os.WUNTRACED)); k.kill(signal.SIGCONT); say(k.line()); k.kill(9); say(k.wait())
`),
	"signal/SIGTSTP is caught or ignored": python(Parent, `
k = ready(LISTEN + "forever()"); k.kill(signal.SIGTSTP); say(k.line(), k.wait(os.WUNTRACED | os.WNOHANG)); k.kill(9); say(k.wait())
k = ready("signal.signal(20, signal.SIG_IGN); signal.signal(10, lambda n, f: say('usr1')); " + READY + "forever()")
k.kill(signal.SIGTSTP); k.kill(10); say(k.line(), k.wait(os.WUNTRACED | os.WNOHANG)); k.kill(9); say(k.wait())
`),
	"signal/SIGTSTP of a handler that stops itself": python(Parent, `
k = ready("""
def stop(n, f):
    say('cleaning up'); signal.signal(20, signal.SIG_DFL); signal.pthread_sigmask(signal.SIG_UNBLOCK, [20]); os.kill(os.getpid(), 20); signal.signal(20, stop); say('back')
signal.signal(20, stop); say('ready'); forever()
""")
for i in range(3): k.kill(20); say(k.line(), k.wait(os.WUNTRACED)); k.kill(18); say(k.line())
k.kill(9); say(k.wait())
`),
	"signal/blocked ones are pending": python(Parent, `
k = ready("signal.pthread_sigmask(signal.SIG_BLOCK, [15, 10])\nsignal.signal(10, lambda n, f: say('usr1'))\n" + READY + """
sys.stdin.readline(); until(lambda: {10, 15} <= signal.sigpending(), 'both'); say(sorted(int(s) for s in signal.sigpending()))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [10]); say('still here'); signal.pthread_sigmask(signal.SIG_UNBLOCK, [15]); say('not here')
""")
k.kill(15); k.kill(10); k.tell(); say(k.rest(), k.wait())
`),
	"signal/ignored ones over exec": python(Parent, `
signal.signal(1, signal.SIG_IGN); signal.signal(12, signal.SIG_IGN); signal.signal(15, lambda n, f: None)
k = Kid("say([int(signal.getsignal(n)) for n in (1, 12, 15, 10)])"); say(k.line(), k.wait())
k = Kid("say([int(signal.getsignal(n)) for n in (1, 12, 15, 10)])", preexec_fn=lambda: signal.signal(1, signal.SIG_DFL)); say(k.line(), k.wait())
`),
	"signal/mask over exec": python(Parent, `
signal.pthread_sigmask(signal.SIG_BLOCK, [1, 10, 40])
k = Kid("say(sorted(int(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK, [])))"); say(k.line(), k.wait())
`),
	"signal/pending ones over exec": python(Parent, `
def pend(): signal.pthread_sigmask(signal.SIG_BLOCK, [10]); os.kill(os.getpid(), 10)
k = Kid("until(signal.sigpending); say([int(s) for s in signal.sigpending()])", preexec_fn=pend); say(k.line(), k.wait())
`),
	"signal/an ignored one that is sent": python(Parent, `
k = ready("signal.signal(15, signal.SIG_IGN); signal.signal(10, lambda n, f: say('usr1')); " + READY + "forever()")
k.kill(15); k.kill(10); say(k.line(), k.wait(os.WNOHANG)); k.kill(9); say(k.wait())
`),
	"signal/to oneself": python(Whole, `
got = []
for n in 1, 2, 10, 12, 15, 40: signal.signal(n, lambda n, f: got.append(n))
me = os.getpid()
os.kill(me, 1); call(200, call(186), 2); call(234, me, call(186), 10); sigqueue(me, 12, 1); os.killpg(0, 0); signal.raise_signal(15); sigqueue(me, 40, 1)
say(got)
`),
	"signal/to a child, inside": python(Whole, `
k = ready(LISTEN + "forever()")
for n in 1, 2, 10, 15, 40: k.kill(n); say(k.line())
k.kill(20); say(k.line()); k.kill(19); say(k.wait(os.WUNTRACED)); k.kill(18); say(k.line()); k.kill(9); say(k.wait())
`),
	"signal/codes and senders, inside": python(Whole, `
k = ready("""
signal.pthread_sigmask(signal.SIG_BLOCK, [10, 40])
say('ready')
for i in range(3):
    s = signal.sigwaitinfo([10, 40]); say(s.si_signo, s.si_code, s.si_pid == os.getppid(), s.si_uid)
""")
k.kill(10); say(k.line()); sigqueue(k.pid, 40, 1); say(k.line()); call(234, k.pid, k.pid, 10); say(k.line()); say(k.wait())
`),
	"signal/timers": python(Whole, `
got = []
signal.signal(14, lambda n, f: got.append(n)); signal.signal(26, lambda n, f: got.append(n)); signal.signal(27, lambda n, f: got.append(n))
signal.setitimer(signal.ITIMER_REAL, 0.02); signal.pause()
signal.setitimer(signal.ITIMER_VIRTUAL, 0.02); exec("while 26 not in got: pass")
signal.setitimer(signal.ITIMER_PROF, 0.02); exec("while 27 not in got: pass"); say(got)
signal.alarm(100); say(signal.alarm(0) in (99, 100))
`),
	"signal/to a child of a child": python(Parent, `
k = Kid("import subprocess\np = subprocess.Popen(['/usr/bin/python3', '-S', '-c', 'from kid import *; signal.signal(10, lambda n, f: say(\"inner got it\")); say(os.getpid()); forever()'])\ncode = p.wait(); say('inner', code)")
inner = int(k.line()); tries("inner", os.kill, inner, 10); say(k.line()); tries("TERM", os.kill, inner, 15); say(k.line(), k.wait())
`),
	"signal/from a child to its parent": python(Parent, `
got = []
signal.signal(10, lambda n, f: got.append(n))
k = Kid("os.kill(int(sys.argv[1]), 10); say('sent')", os.getpid()); say(k.line(), k.wait(), got)
`),
	"signal/from a child to its sibling": python(Parent, `
a = ready(LISTEN + "forever()")
b = Kid("os.kill(int(sys.argv[1]), 10); say('sent')", a.pid); say(b.line(), b.wait(), a.line()); a.kill(9); say(a.wait())
`),
	"signal/kill of bash": bash(Parent, `
/usr/bin/python3 -S -c "from kid import *; signal.signal(10, lambda n, f: say('usr1')); open('up', 'w').close(); forever()" > out & p=$!
until_ 'test -e up'; kill -USR1 $p; until_ 'test -s out'; cat out; kill -0 $p; echo $?; kill -l 10; kill $p; wait $p; echo $?; kill -0 $p 2>/dev/null; echo $?
`),
	"signal/trap in a shell script": bash(Parent, `
cat > child <<'E'
#!/bin/bash
trap 'echo usr1' USR1; trap 'echo term; exit 3' TERM; : > up; while :; do sleep 0.05; done
E
chmod +x child; ./child & p=$!; until_ 'test -e up'; kill -USR1 $p; kill -TERM $p; wait $p; echo $?
`),
}
