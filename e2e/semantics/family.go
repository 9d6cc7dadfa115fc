package semantics

// family: parents, children, orphans, and who takes them.
var family = map[string]Case{
	"family/getppid": python(Parent, `
k = Kid("say(os.getppid() == int(sys.argv[1]))", os.getpid()); say(k.line(), k.wait())
`),
	"family/getppid of a grandchild": python(Parent, `
k = Kid("import subprocess\nsubprocess.run(['/usr/bin/python3', '-S', '-c', 'import os, sys; print(os.getppid() == int(sys.argv[1]))', str(os.getpid())])"); say(k.line(), k.wait())
`),
	"family/PPid in /proc": python(Parent, `
k = ready("say('ready'); say(status('PPid') == sys.argv[1], status('Pid') == str(os.getpid())); sys.stdin.readline()", os.getpid())
say(status("PPid", k.pid) == str(os.getpid()), k.line()); k.tell(); say(k.wait())
`),
	"family/pids of children": python(Parent, `
k = Kid("say(os.getpid())"); say(k.line() == str(k.pid), k.wait())
k = Kid("import subprocess\np = subprocess.Popen(['/usr/bin/python3', '-S', '-c', 'import os; print(os.getpid(), flush=True)'])\np.wait(); say(p.pid)"); a, b = k.line(), k.line(); say(a == b, a != str(k.pid), k.wait())
`),
	"family/getppid inside": python(Whole, `
k = Kid("say(os.getppid() == int(sys.argv[1]))", os.getpid()); say(k.line(), k.wait())
r, w = os.pipe()
if os.fork() == 0: os.write(w, str(os.getppid()).encode()); os._exit(0)
say(os.read(r, 20).decode() == str(os.getpid())); os.wait()
`),
	"family/an orphan has another parent": python(Whole, `
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    me = os.getpid()
    if os.fork() == 0:
        until(lambda: os.getppid() != me, "another parent"); os.write(w, b"orphan"); os._exit(0)
    os._exit(0)
os.waitpid(pid, 0); os.close(w); say(os.read(r, 100).decode()); tries("not our child", os.wait)
`),
	"family/orphans of children": python(Parent, `
k = Kid("""
me = os.getpid()
if os.fork() == 0:
    until(lambda: os.getppid() != me, 'another parent'); time.sleep(0.5); say('orphan'); os._exit(0) # long after the end of the job
os._exit(4)
""")
say(k.wait(), k.line(), k.line() == "")
`),
	"family/subreaper inside": python(Whole, `
libc = ctypes.CDLL(None); say(libc.prctl(36, 1, 0, 0, 0))
r, w = os.pipe(); go, start = os.pipe()
pid = os.fork()
if pid == 0:
    inner = os.fork()
    if inner == 0: os.read(go, 1); os._exit(7)
    os.write(w, b"%d" % inner); os._exit(3)
say(wait(pid)); inner = int(os.read(r, 20)); say(status("PPid", inner) == str(os.getpid())); os.write(start, b"x"); got, st = os.wait(); say(got == inner, ended(st))
`),
	"family/a subreaper of what children leave": python(Parent, `
libc = ctypes.CDLL(None); say(libc.prctl(36, 1, 0, 0, 0))
k = Kid("""
if os.fork() == 0: sys.stdin.readline(); os._exit(7)
os._exit(3)
""")
say(k.wait()); k.tell(); got, st = os.wait(); say(ended(st))
`),
	"family/double fork": bash(Whole, `
mkfifo done; (setsid sh -c 'sleep 0.1; echo finished > done' </dev/null >/dev/null 2>&1 &) ; read x < done; echo $x
`),
	"family/a daemon outlives who started it": python(Parent, `
os.mkfifo("done")
k = Kid("""
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(0); os.close(1); open('done', 'w').write('%d' % (os.getsid(0) != os.getpid())); os._exit(0)
    os._exit(0)
os.wait(); sys.exit(2)
""")
f = open("done"); say(k.wait(), f.read())
`),
	"family/PR_SET_PDEATHSIG": python(Whole, `
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    me = os.getpid()
    if os.fork() == 0:
        os.close(r); signal.signal(10, lambda n, f: (os.write(w, b"told"), os._exit(0))); ctypes.CDLL(None).prctl(1, 10, 0, 0, 0)
        os.write(w, b"x"); forever()
    os.read(r, 1); os._exit(0)
os.waitpid(pid, 0); os.close(w); say(os.read(r, 100).decode())
`),
	"family/PR_SET_PDEATHSIG of a spreader's child": python(Parent, `
r, w = os.pipe(); os.set_inheritable(w, True); os.environ["W"] = str(w)
say(spreader("""
w = int(os.environ["W"])
k = ready("import ctypes; ctypes.CDLL(None).prctl(1, 10, 0, 0, 0)\\nsignal.signal(10, lambda n, f: (os.write(int(sys.argv[1]), b'told'), os._exit(0)))\\nsay('ready'); signal.alarm(3); forever()", w, pass_fds=[w]); os._exit(0)
""", pass_fds=[w])); os.close(w); say(os.read(r, 10))
`),
	"family/reaping by init": python(Whole, `
# The orphan's end is seen by whoever holds its pidfd; nobody else has to wait for it.
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    inner = os.fork()
    if inner == 0: os.read(r, 1); os._exit(0)
    open("inner", "w").write(str(inner)); os._exit(0)
wait(pid); fd = os.pidfd_open(int(open("inner").read())); os.write(w, b"x"); say(bool(select.select([fd], [], [], 10)[0]))
until(lambda: not os.path.exists("/proc/" + open("inner").read()), "its pid to be free"); say("gone")
`),
	"family/many children": python(Parent, `
kids = [Kid("sys.exit(int(sys.argv[1]))", i % 200) for i in range(40)]
say(sum(int(k.wait().split()[1]) for k in kids))
`),
	"family/numbers of pids inside": python(Whole, `
pids = [os.fork() or os._exit(i & 127) for i in range(300)]
say(len(set(pids)) == 300, sum(os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in pids), all(0 < p < 65536 for p in pids))
`),
	"family/threads have numbers of their own": python(Whole, `
ids = []
ts = [threading.Thread(target=lambda: (ids.append(call(186)), b.wait(10))) for i in range(5)]; b = threading.Barrier(6); [t.start() for t in ts]; b.wait(10); [t.join() for t in ts]
say(len(set(ids + [os.getpid()])) == 6, call(186) == os.getpid())
`),
	"family/clone3": python(Whole, `
args = struct.pack("11Q", 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)
pid = call(435, args, 88)
if pid == 0: os._exit(3)
say(wait(pid))
`),
	"family/vfork": inC(Parent, `
#include "sem.h"
int main(void) {
	setbuf(stdout, 0);
	volatile int seen = 0;
	pid_t p = vfork();
	if (p == 0) { seen = 1; execl("/bin/sh", "sh", "-c", "exit 6", (char *)0); _exit(127); }
	printf("memory is shared: %d\n", seen); tell("child", waits(p, 0));
	p = vfork();
	if (p == 0) { execl("/no/such/program", "x", (char *)0); _exit(errno == ENOENT ? 44 : 45); }
	tell("no program", waits(p, 0));
}
`),
}
