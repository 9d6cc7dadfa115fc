package semantics

// limits: priorities, schedulers, affinity and resource limits: inherited, asked for, changed and enforced.
var limits = map[string]Case{
	"limit/inherited": python(Parent, `
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200)); resource.setrlimit(resource.RLIMIT_STACK, (4 << 20, 8 << 20)); resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
k = Kid("import resource\nsay(*[resource.getrlimit(n) for n in (resource.RLIMIT_NOFILE, resource.RLIMIT_STACK, resource.RLIMIT_CORE, resource.RLIMIT_CPU)])"); say(k.line(), k.wait())
`),
	"limit/RLIMIT_CPU": python(Parent, `
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
k = Kid("while True: pass", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (1, 2)))
l = Kid("signal.signal(24, lambda n, f: say('told'))\nwhile True: pass", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (1, 2))); say(k.wait(), l.line(), l.wait())
`),
	"limit/RLIMIT_FSIZE": python(Parent, `
SIZE = "signal.signal(25, signal.SIG_DFL if sys.argv[1] == 'die' else signal.SIG_IGN)\nf = os.open('f' + sys.argv[1], os.O_WRONLY | os.O_CREAT)\ntries('write', os.write, f, b'x' * 10000); say(os.fstat(f).st_size); tries('more', os.write, f, b'x'); tries('truncate', os.ftruncate, f, 10000)"
resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for how in "live", "die":
    k = Kid(SIZE, how, preexec_fn=limit); say(k.rest(), k.wait(), os.path.getsize("f" + how))
`),
	"limit/RLIMIT_FSIZE of an inherited file": python(Parent, `
f = os.open("f", os.O_WRONLY | os.O_CREAT); os.set_inheritable(f, True)
k = Kid("tries('write', os.write, int(sys.argv[1]), b'x' * 10000); tries('more', os.write, int(sys.argv[1]), b'x')", f, pass_fds=[f], preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))); say(k.rest(), k.wait(), os.path.getsize("f"))
`),
	"limit/RLIMIT_NOFILE": python(Parent, `
k = Kid("""
fds = []
try:
    while True: fds.append(os.dup(0))
except OSError as e: say(errno.errorcode[e.errno], max(fds))
""", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))); say(k.line(), k.wait())
`),
	"limit/RLIMIT_AS": python(Parent, `
k = Kid("try: b = bytearray(1 << 30); say('got it')\nexcept MemoryError: say('MemoryError')", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (512 << 20,) * 2)); say(k.line(), k.wait())
`),
	"limit/RLIMIT_NPROC of a user": python(Parent, `
k = Kid("""
kids = []
try:
    while len(kids) < 50:
        p = os.fork()
        if p == 0: time.sleep(20); os._exit(0)
        kids.append(p)
    say('forked', len(kids))
except OSError as e: say(errno.errorcode[e.errno])
for p in kids: os.kill(p, 9)
""", user=54321, group=54321, extra_groups=[], preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (10, 10))); say(k.line(), k.wait())
`),
	"limit/RLIMIT_STACK": python(Parent, `
open("deep.c", "w").write("int f(volatile char *p, int n) { volatile char a[65536]; a[0] = *p; return n ? f(a, n - 1) + a[0] : 0; } int main(void) { char c = 0; return f(&c, 32); }")
subprocess.run(["gcc", "-O0", "-o", "deep", "deep.c"], check=True); resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
p = subprocess.Popen(["./deep"]); say(wait(p.pid)); p = subprocess.Popen(["./deep"], preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (1 << 20,) * 2)); say(wait(p.pid))
`),
	"limit/setrlimit and its errors": python(Whole, `
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 100)); say(resource.getrlimit(resource.RLIMIT_NOFILE)); tries("soft over hard", resource.setrlimit, resource.RLIMIT_NOFILE, (60, 80)) if False else None
try: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 100)); say("ok")
except ValueError as e: say("ValueError")
r = subprocess.run([PYTHON, "-S", "-c", "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))"], stdout=subprocess.PIPE); say(r.stdout)
`),
	"limit/prlimit of a child, asked": python(Parent, `
k = ready(READY + "sys.stdin.readline()", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (123, 456)))
say(resource.prlimit(k.pid, resource.RLIMIT_NOFILE)); k.tell(); say(k.wait()); tries("gone", resource.prlimit, k.pid, resource.RLIMIT_NOFILE)
`),
	"limit/prlimit of a child, set": python(Parent, `
k = ready("import resource\nsay('ready'); sys.stdin.readline(); say(resource.getrlimit(resource.RLIMIT_NOFILE))")
resource.prlimit(k.pid, resource.RLIMIT_NOFILE, (99, 100)); say(resource.prlimit(k.pid, resource.RLIMIT_NOFILE)); k.tell(); say(k.line(), k.wait())
`),
	"limit/prlimit of a child, inside": python(Whole, `
k = ready("import resource\nsay('ready'); sys.stdin.readline(); say(resource.getrlimit(resource.RLIMIT_NOFILE))")
say(resource.prlimit(k.pid, resource.RLIMIT_NOFILE, (99, 100))[0] > 99); k.tell(); say(k.line(), k.wait())
`),
	"limit/ulimit in shells": bash(Parent, `
ulimit -n 99; ulimit -c 0; ulimit -f 1000
cat > it <<'E'
#!/bin/bash
ulimit -n; ulimit -c; ulimit -f; ulimit -Hn; ulimit -n 50; ulimit -n; ulimit -n 999 2>/dev/null || echo refused
E
chmod +x it; ./it; setpriv --reuid 65534 --clear-groups ./it
`),
	"nice/inherited": python(Parent, `
for n in 0, 5, 19: k = Kid("say(os.nice(0))", preexec_fn=lambda: os.nice(n)); say(k.line(), k.wait())
`),
	"nice/of a child, asked": python(Parent, `
k = ready(READY + "sys.stdin.readline()", preexec_fn=lambda: os.nice(7)); say(os.getpriority(os.PRIO_PROCESS, k.pid)); k.tell(); say(k.wait()); tries("gone", os.getpriority, os.PRIO_PROCESS, k.pid)
`),
	"nice/of a child, set": python(Parent, `
k = ready("say('ready'); sys.stdin.readline(); say(os.nice(0))"); os.setpriority(os.PRIO_PROCESS, k.pid, 11); say(os.getpriority(os.PRIO_PROCESS, k.pid)); k.tell(); say(k.line(), k.wait())
`),
	"nice/of a group, set": python(Parent, `
a = ready("say('ready'); sys.stdin.readline(); say(os.nice(0))", process_group=0); b = ready("say('ready'); sys.stdin.readline(); say(os.nice(0))", process_group=a.pid)
os.setpriority(os.PRIO_PGRP, a.pid, 9); say(os.getpriority(os.PRIO_PGRP, a.pid))
for k in a, b: k.tell(); say(k.line(), k.wait())
`),
	"nice/set by itself, asked by its parent": python(Parent, `
k = ready("os.nice(6); say('ready'); sys.stdin.readline()"); say(os.getpriority(os.PRIO_PROCESS, k.pid)); k.tell(); say(k.wait())
`),
	"nice/inside": python(Whole, `
k = ready("say('ready'); sys.stdin.readline(); say(os.nice(0))"); os.setpriority(os.PRIO_PROCESS, k.pid, 11); say(os.getpriority(os.PRIO_PROCESS, k.pid)); k.tell(); say(k.line(), k.wait())
say(os.nice(3), os.nice(100)); tries("kind", os.getpriority, 9, 0)
`),
	"nice/of a user": python(Parent, `
k = Kid("os.nice(5); tries('lower', os.setpriority, os.PRIO_PROCESS, 0, 0); tries('higher', os.setpriority, os.PRIO_PROCESS, 0, 9); tries('init', os.setpriority, os.PRIO_PROCESS, 1, 5); say(os.nice(0))", user=65534, group=65534, extra_groups=[]); say(k.rest(), k.wait())
`),
	"nice/nice(1) and renice": bash(Parent, `
nice -n 5 /usr/bin/python3 -S -c "import os; print(os.nice(0))"; nice -n 19 nice -n 5 bash -c nice
mkfifo f; /usr/bin/python3 -S -c "import os; open('up', 'w'); open('f').read(); print(os.nice(0))" & until_ 'test -e up'; renice -n 4 -p $! >/dev/null; echo $?; : > f; wait
`),
	"ioprio/inherited and set": python(Parent, `
def get(): return call(252, 1, 0)
for v in (2 << 13 | 7), (3 << 13), (2 << 13 | 0):
    k = Kid("import ctypes; say(ctypes.CDLL(None).syscall(252, 1, 0))", preexec_fn=lambda: call(251, 1, 0, v)); say(int(k.line()) == v, k.wait())
k = ready(READY + "sys.stdin.readline()", preexec_fn=lambda: call(251, 1, 0, 2 << 13 | 6)); say(call(252, 1, k.pid)); k.tell(); k.wait(); tries("gone", call, 252, 1, k.pid)
`),
	"ioprio/of a child, set": python(Parent, `
k = ready("import ctypes\nsay('ready'); sys.stdin.readline(); say(ctypes.CDLL(None).syscall(252, 1, 0))"); call(251, 1, k.pid, 2 << 13 | 3); say(call(252, 1, k.pid)); k.tell(); say(k.line(), k.wait())
`),
	"sched/policy inherited": python(Parent, `
for p, prio in (os.SCHED_BATCH, 0), (os.SCHED_IDLE, 0):
    k = Kid("say(os.sched_getscheduler(0), os.sched_getparam(0).sched_priority)", preexec_fn=lambda: os.sched_setscheduler(0, p, os.sched_param(prio))); say(k.line(), k.wait())
`),
	"sched/policy of a child": python(Parent, `
k = ready("say('ready'); sys.stdin.readline(); say(os.sched_getscheduler(0))"); os.sched_setscheduler(k.pid, os.SCHED_BATCH, os.sched_param(0)); say(os.sched_getscheduler(k.pid)); k.tell(); say(k.line(), k.wait()); tries("gone", os.sched_getscheduler, k.pid)
`),
	"sched/inside": python(Whole, `
tries("batch", os.sched_setscheduler, 0, os.SCHED_BATCH, os.sched_param(0)); say(os.sched_getscheduler(0)); tries("bad priority", os.sched_setscheduler, 0, os.SCHED_BATCH, os.sched_param(5)); say(os.sched_get_priority_max(os.SCHED_FIFO), os.sched_rr_get_interval(0) > 0)
k = ready("say('ready'); sys.stdin.readline(); say(os.sched_getscheduler(0))"); os.sched_setscheduler(k.pid, os.SCHED_IDLE, os.sched_param(0)); k.tell(); say(k.line(), k.wait()); os.sched_yield()
`),
	"sched/affinity inside": python(Whole, `
all = sorted(os.sched_getaffinity(0)); os.sched_setaffinity(0, [all[0]]); say(len(os.sched_getaffinity(0))); k = Kid("say(len(os.sched_getaffinity(0)))"); say(k.line(), k.wait()); tries("none", os.sched_setaffinity, 0, [])
k = ready("say('ready'); sys.stdin.readline(); say(len(os.sched_getaffinity(0)))"); os.sched_setaffinity(k.pid, all[:1]); say(len(os.sched_getaffinity(k.pid))); k.tell(); say(k.line(), k.wait())
`),
	"sched/affinity inherited": python(Parent, `
one = sorted(os.sched_getaffinity(0))[:1]; k = Kid("say(len(os.sched_getaffinity(0)))", preexec_fn=lambda: os.sched_setaffinity(0, one)); say(k.line(), k.wait())
`),
	"sched/affinity of a child": python(Parent, `
one = sorted(os.sched_getaffinity(0))[:1]; k = ready("say('ready'); sys.stdin.readline(); say(len(os.sched_getaffinity(0)))"); os.sched_setaffinity(k.pid, one); say(len(os.sched_getaffinity(k.pid))); k.tell(); say(k.line(), k.wait())
`),
	"limit/timer slack": python(Parent, `
libc = ctypes.CDLL(None); say(libc.prctl(29, 70000, 0, 0, 0)); k = Kid("import ctypes; say(ctypes.CDLL(None).prctl(30, 0, 0, 0, 0))"); say(k.line(), k.wait())
`),
	"limit/no_new_privs and dumpable": python(Parent, `
GET = "import ctypes; p = ctypes.CDLL(None).prctl; say(p(39, 0, 0, 0, 0), p(3, 0, 0, 0, 0), p(23, 7, 0, 0, 0))"
k = Kid(GET); say(k.line(), k.wait()); k = Kid(GET, preexec_fn=lambda: ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)); say(k.line(), k.wait())
`),
}
