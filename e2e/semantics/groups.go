package semantics

// groups: process groups and sessions, their rules and errors.
var groups = map[string]Case{
	"group/inherited": python(Parent, `
k = Kid("say(os.getpgrp() == int(sys.argv[1]), os.getsid(0) == int(sys.argv[2]))", os.getpgrp(), os.getsid(0)); say(k.line(), k.wait())
`),
	"group/seen from the parent": python(Parent, `
a = ready(READY + "sys.stdin.readline()", process_group=0); b = ready(READY + "sys.stdin.readline()", process_group=a.pid); c = ready(READY + "sys.stdin.readline()", start_new_session=True)
say(os.getpgid(a.pid) == a.pid, os.getpgid(b.pid) == a.pid, os.getpgid(c.pid) == c.pid)
say(os.getsid(a.pid) == os.getsid(0), os.getsid(c.pid) == c.pid)
for k in a, b, c: k.tell(); say(k.wait())
`),
	"group/seen from the child": python(Parent, `
ASK = "say(os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid(), os.getpgid(os.getppid()) == int(sys.argv[1]))"
for how in {}, {"process_group": 0}, {"start_new_session": True}:
    k = Kid(ASK, os.getpgrp(), **how); say(k.line(), k.wait())
`),
	"group/setpgid of a child after its exec": python(Parent, `
k = ready(READY + "sys.stdin.readline()")
tries("after exec", os.setpgid, k.pid, k.pid); k.tell(); say(k.wait())
`),
	"group/setpgid of a child before its exec": python(Parent, `
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    os.read(r, 1); os.execv(PYTHON, words("say(os.getpgrp() == os.getpid())"))
os.setpgid(pid, pid); os.write(w, b"x"); say(wait(pid))
`),
	"group/errors of setpgid": python(Parent, `
tries("a stranger", os.setpgid, 1, 1); tries("negative", os.setpgid, 0, -1); tries("no such group", os.setpgid, 0, 32000); tries("no such process", os.setpgid, 32000, 0)
k = ready(READY + "sys.stdin.readline()", start_new_session=True)
tries("another session's", os.setpgid, k.pid, 0); tries("into another session", os.setpgid, 0, k.pid); k.tell(); say(k.wait())
`),
	"group/errors of getpgid and getsid": python(Parent, `
k = Kid("pass"); k.wait()
tries("getpgid", os.getpgid, k.pid); tries("getsid", os.getsid, k.pid); tries("getpgid, negative", os.getpgid, -1); tries("getsid, negative", os.getsid, -1)
`),
	"group/setpgid inside": python(Whole, `
tries("own", os.setpgid, 0, 0); say(os.getpgrp() == os.getpid()); k = ready(READY + "sys.stdin.readline()", process_group=0)
say(os.getpgid(k.pid) == k.pid); tries("into the child's", os.setpgid, 0, k.pid); say(os.getpgrp() == k.pid); tries("back", os.setpgid, 0, 0); k.tell(); say(k.wait())
`),
	"group/setsid": python(Whole, `
tries("setsid", os.setsid); say(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid()); tries("again", os.setsid); tries("setpgid of a leader", os.setpgid, 0, 0)
`),
	"group/setsid in a child": python(Whole, `
k = Kid("tries('setsid', os.setsid); say(os.getsid(0) == os.getpid())"); say(k.line(), k.line(), k.wait())
k = Kid("say(os.getsid(0) == os.getpid()); tries('again', os.setsid)", start_new_session=True); say(k.line(), k.line(), k.wait())
`),
	"group/setsid of a spreader's child": python(Parent, `
k = Kid("tries('setsid', os.setsid); say(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid())"); say(k.line(), k.line(), k.wait())
`),
	"group/setsid of a group leader": python(Parent, `
k = Kid("tries('setsid', os.setsid)", process_group=0); say(k.line(), k.wait())
`),
	"group/setsid(1)": bash(Parent, `
cat > it <<'E'
#!/bin/bash
read -r a b c d pgid sid rest < /proc/self/stat; [ "$sid" = "$pgid" ] && echo leads
E
chmod +x it; setsid -w ./it; echo $?; setsid -w sh -c 'exit 5'; echo $?; setsid -w /usr/bin/python3 -S -c 'import os; print(os.getsid(0) == os.getpid())'
`),
	"group/kill of a group": python(Parent, `
a = ready(LISTEN + "forever()", process_group=0); b = ready(LISTEN + "forever()", process_group=a.pid); c = ready(LISTEN + "forever()")
os.killpg(a.pid, 10); say(a.line(), b.line()); os.kill(-a.pid, 12); say(a.line(), b.line()); c.kill(10); say(c.line())
os.killpg(a.pid, 9); say(a.wait(), b.wait(), c.wait(os.WNOHANG)); c.kill(9); say(c.wait())
`),
	"group/kill of a group reaches grandchildren": python(Parent, `
CODE = """
import subprocess
signal.signal(10, lambda n, f: say('outer'))
p = subprocess.Popen(['/usr/bin/python3', '-S', '-c', 'from kid import *; signal.signal(10, lambda n, f: say("inner")); say("ready"); forever()'])
p.wait()
"""
a = ready(CODE, process_group=0)
os.killpg(a.pid, 10); say(sorted([a.line(), a.line()])); os.killpg(a.pid, 9); say(a.wait()); say(a.rest())
`),
	"group/kill of a group, inside": python(Whole, `
a = ready(LISTEN + "forever()", process_group=0); b = ready(LISTEN + "forever()", process_group=a.pid)
os.killpg(a.pid, 10); say(a.line(), b.line()); os.killpg(a.pid, 15); say(a.line(), b.line()); os.killpg(a.pid, 9); say(a.wait(), b.wait()); tries("empty", os.killpg, a.pid, 0)
`),
	"group/kill(0) from a child": python(Parent, `
got = []
signal.signal(10, lambda n, f: got.append(n))
say(spreader("""
got = []
signal.signal(10, lambda n, f: got.append(n))
a = ready(LISTEN + "forever()")
b = Kid("signal.signal(10, signal.SIG_IGN); os.kill(0, 10); say('sent')")
say(b.line(), b.wait(), a.line()); until(lambda: got == [10], "ours", 5); a.kill(9); a.wait()
""", process_group=0), got)
`),
	"group/stop and continue a group": python(Parent, `
a = ready(READY + "forever()", process_group=0); b = ready(READY + "forever()", process_group=a.pid)
os.killpg(a.pid, 19); say(a.wait(os.WUNTRACED), b.wait(os.WUNTRACED)); os.killpg(a.pid, 18); say(a.wait(os.WCONTINUED), b.wait(os.WCONTINUED))
os.killpg(a.pid, 20); say(a.wait(os.WUNTRACED), b.wait(os.WUNTRACED)); os.killpg(a.pid, 18); os.killpg(a.pid, 15); say(a.wait(), b.wait())
`),
	"group/stop reaches grandchildren": python(Parent, `
CODE = """
import subprocess
p = subprocess.Popen(['/usr/bin/python3', '-S', '-c', 'from kid import *\\nsay("ready")\\nwhile sys.stdin.readline(): say("line")'])
p.wait()
"""
a = ready(CODE, process_group=0)
os.killpg(a.pid, 19); say(a.wait(os.WUNTRACED)); a.tell(); say(select.select([a.p.stdout], [], [], 0.3)[0]); os.killpg(a.pid, 18); say(a.line()); os.killpg(a.pid, 9); say(a.wait())
`),
	"group/an orphaned group gets no SIGTSTP": python(Parent, `
k = ready(READY + "while sys.stdin.readline(): say('line')", start_new_session=True)
def answers(): k.tell(); return select.select([k.p.stdout], [], [], 1)[0] != [] and k.line() == "line"
k.kill(20); say(all(answers() and not time.sleep(0.01) for i in range(30))); k.kill(9); say(k.wait())
`),
	"group/a stopped group that is orphaned gets SIGHUP": python(Whole, `
# A child with a child in a group of its own, stopped; when the child ends, the grandchild's group is orphaned.
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    os.setsid(); inner = os.fork()
    if inner == 0:
        os.setpgid(0, 0); got = []
        signal.signal(1, lambda n, f: got.append("HUP")); signal.signal(18, lambda n, f: got.append("CONT")); os.write(w, b"x")
        os.kill(os.getpid(), 19); until(lambda: len(got) == 2, "both"); os.write(w, (" ".join(sorted(got)) + "\n").encode()); os._exit(0)
    os.waitpid(inner, os.WUNTRACED); os._exit(0)
os.read(r, 1); say(wait(pid)); os.close(w); say(os.read(r, 100).decode().strip())
`),
	"group/setpgid in a vforked child and exec": python(Parent, `
for how in {"process_group": 0}, {"start_new_session": True}, {}:
    p = subprocess.Popen(words("say(os.getpgid(0) == os.getpid())"), **how); say(wait(p.pid))
`),
	"group/posix_spawn with a group": python(Parent, `
pid = os.posix_spawn(PYTHON, words("say(os.getpgrp() == os.getpid())"), os.environ, setpgroup=0); say(wait(pid))
pid = os.posix_spawn(PYTHON, words("say(sorted(int(s) for s in signal.pthread_sigmask(0, [])), int(signal.getsignal(15)))"), os.environ, setsigmask=[10], setsigdef=[15]); say(wait(pid))
pid = os.posix_spawn(PYTHON, words("say(os.getsid(0) == os.getpid())"), os.environ, setsid=True); say(wait(pid))
`),
}
