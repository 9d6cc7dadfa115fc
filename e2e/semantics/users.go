package semantics

// users: who one is, and what that allows between processes.
var users = map[string]Case{
	"user/credentials are inherited": python(Parent, `
for how in {"user": 65534, "group": 65534, "extra_groups": []}, {"user": 1, "group": 2, "extra_groups": [3, 4, 100]}, {"group": 50}:
    k = Kid("say(os.getresuid(), os.getresgid(), sorted(os.getgroups()), status('CapEff'))", **how); say(k.line(), k.wait())
`),
	"user/gives up root": python(Whole, `
os.setgroups([]); os.setgid(65534); os.setuid(65534); say(os.getresuid(), os.getresgid(), os.getgroups())
for f, a in (os.setuid, (0,)), (os.setgid, (0,)), (os.kill, (1, 0)), (os.setgroups, ([0],)), (os.nice, (-5,)): tries(f.__name__, f, *a)
tries("shadow", open, "/etc/shadow"); k = Kid("say(os.getuid()); tries('own', os.kill, os.getppid(), 0)"); say(k.rest(), k.wait())
`),
	"user/root gives up root in a child": python(Parent, `
k = Kid("os.setgroups([]); os.setgid(65534); os.setuid(65534); say(os.getresuid()); tries('back', os.setuid, 0); tries('kill', os.kill, os.getppid(), 0); tries('shadow', open, '/etc/shadow')"); say(k.rest(), k.wait())
`),
	"user/nobody may not signal root's": python(Parent, `
a = ready(LISTEN + "forever()"); b = Kid("for n in 0, 15, 9, 19: tries(n, os.kill, int(sys.argv[1]), n)", a.pid, user=65534, group=65534, extra_groups=[]); say(b.rest(), b.wait()); a.kill(10); say(a.line()); a.kill(9); say(a.wait())
`),
	"user/SIGCONT within a session": python(Parent, `
a = ready(LISTEN + "forever()"); pid = os.fork()
if pid == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    for n in 0, 15, 18: tries(n, a.kill, n)
    os._exit(0)
say(wait(pid), a.line()); a.kill(9); say(a.wait())
`),
	"user/nobody may not signal root's, inside": python(Whole, `
a = ready(LISTEN + "forever()"); b = Kid("for n in 0, 15, 9, 18: tries(n, os.kill, int(sys.argv[1]), n)", a.pid, user=65534, group=65534, extra_groups=[]); say(b.rest(), b.wait()); say(a.line()); a.kill(10); say(a.line()); a.kill(9); say(a.wait())
`),
	"user/nobody's own": python(Parent, `
say(spreader("""
k = ready(LISTEN + "forever()"); k.kill(10); say(k.line()); k.kill(15); say(k.line()); k.kill(19); say(k.wait(os.WUNTRACED)); k.kill(9); say(k.wait())
""", user=65534, group=65534, extra_groups=[]))
`),
	"user/another user's": python(Parent, `
a = ready(LISTEN + "forever()", user=1001, group=1001, extra_groups=[])
pid = os.fork()
if pid == 0:
    os.setgroups([]); os.setgid(1002); os.setuid(1002)
    for n in 0, 10, 9, 18: tries(n, a.kill, n)
    tries("nice", os.setpriority, os.PRIO_PROCESS, a.pid, 5); tries("limit", resource.prlimit, a.pid, resource.RLIMIT_NOFILE, (10, 10)); tries("scheduler", os.sched_setscheduler, a.pid, os.SCHED_BATCH, os.sched_param(0)); tries("affinity", os.sched_setaffinity, a.pid, [0]); tries("asked", os.sched_getscheduler, a.pid)
    os._exit(0)
say(wait(pid)); a.kill(9); say(a.wait())
`),
	"user/another user's, inside": python(Whole, `
pid = os.fork()
if pid == 0:
    a = ready(LISTEN + "forever()", user=1001, group=1001, extra_groups=[]); os.setgroups([]); os.setgid(1002); os.setuid(1002)
    for n in 0, 10, 9, 18: tries(n, a.kill, n)
    tries("nice", os.setpriority, os.PRIO_PROCESS, a.pid, 5); tries("limit", resource.prlimit, a.pid, resource.RLIMIT_NOFILE, (10, 10)); tries("scheduler", os.sched_setscheduler, a.pid, os.SCHED_BATCH, os.sched_param(0)); tries("affinity", os.sched_setaffinity, a.pid, [0]); tries("asked", os.sched_getscheduler, a.pid)
    os._exit(0)
say(wait(pid))
`),
	"user/may not look into another's memory": python(Parent, `
k = ready("import ctypes\nb = ctypes.create_string_buffer(b'secret')\nsay('ready'); say(ctypes.addressof(b)); sys.stdin.readline()"); at = int(k.line())
pid = os.fork()
if pid == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534); mine = ctypes.create_string_buffer(6)
    tries("readv", call, 310, k.pid, struct.pack("2Q", ctypes.addressof(mine), 6), 1, struct.pack("2Q", at, 6), 1, 0); tries("mem", open, "/proc/%d/mem" % k.pid); tries("environ", open, "/proc/%d/environ" % k.pid); tries("cwd", os.readlink, "/proc/%d/cwd" % k.pid); tries("ptrace", call, 101, 16, k.pid, 0, 0); os._exit(0)
say(wait(pid)); k.tell(); say(k.wait())
`),
	"user/set-user-id programs": python(Parent, `
subprocess.run(["cp", "/usr/bin/id", "suid"], check=True); os.chmod("suid", 0o4755); os.chmod(".", 0o755)
for args in ["-u"], ["-ru"]: p = subprocess.run(["./suid"] + args, stdout=subprocess.PIPE, user=65534, group=65534, extra_groups=[]); say(p.stdout, p.returncode)
`),
	"user/set-group-id programs": python(Parent, `
subprocess.run(["cp", "/usr/bin/id", "sgid"], check=True); os.chown("sgid", 0, 50); os.chmod("sgid", 0o2755); p = subprocess.run(["./sgid", "-g"], stdout=subprocess.PIPE, user=65534, group=65534, extra_groups=[]); say(p.stdout, p.returncode)
`),
	"user/set-user-id inside": python(Whole, `
subprocess.run(["cp", "/usr/bin/id", "suid"], check=True); os.chmod("suid", 0o4755)
for args in ["-u"], ["-ru"]: p = subprocess.run(["./suid"] + args, stdout=subprocess.PIPE, user=65534, group=65534, extra_groups=[]); say(p.stdout, p.returncode)
`),
	"user/seteuid": python(Whole, `
os.seteuid(65534); say(os.getresuid()[:2]); tries("shadow", open, "/etc/shadow"); os.seteuid(0); tries("shadow", open, "/etc/shadow"); os.setresuid(1, 2, 0); say(os.getresuid()); k = Kid("say(os.getresuid())"); say(k.line(), k.wait())
`),
	"user/files belong to who makes them": python(Parent, `
for u in 0, 1001, 65534: k = Kid("os.close(os.open('f%d' % os.getuid(), os.O_CREAT, 0o640))", user=u, group=u, extra_groups=[]); k.wait(); s = os.stat("f%d" % u); say(s.st_uid, s.st_gid, oct(s.st_mode))
`),
	"user/setpriv and su": bash(Parent, `
setpriv --reuid 65534 --regid 65534 --clear-groups /usr/bin/python3 -S -c 'import os; print(os.getresuid(), os.getgroups())'; su -s /bin/sh nobody -c 'id -un; exit 4'; echo $?
`),
	"user/capabilities dropped": bash(Parent, `
setpriv --inh-caps=-all --bounding-set=-kill,-sys_nice /usr/bin/python3 -S -c 'from kid import *
say(status("CapEff")[-8:], status("CapBnd")[-8:]); tries("nice", os.nice, -1)'
`),
}
