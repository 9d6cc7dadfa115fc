package semantics

// inherited: descriptors that go along, and what is shared through them.
var inherited = map[string]Case{
	"fd/standard input by lines": bash(Parent, `
seq 1 20 > in; while read x; do /usr/bin/python3 -S -c "print('got $x')" </dev/null; done < in
{ /usr/bin/python3 -S -c 'import os; print("first", os.read(0, 2))'; /usr/bin/python3 -S -c 'import os; print("second", os.read(0, 2))'; read x; echo "shell $x"; cat | wc -l; } < in
`),
	"fd/standard input of several at once": bash(Parent, `
seq 1000 1999 > in; for i in 1 2 3 4; do /usr/bin/python3 -S -c '
import os
while True:
    b = os.read(0, 5)
    if not b: break
    os.write(1, b)' & done < in > out; wait; sort out | md5sum; wc -l < out
`),
	"fd/a pipe as input of several": python(Parent, `
r, w = os.pipe(); os.set_inheritable(r, True)
kids = [Kid("n = 0\nwhile os.read(int(sys.argv[1]), 1): n += 1\nsay(n)", r, pass_fds=[r]) for i in range(3)]
os.close(r); os.write(w, b"x" * 1000); os.close(w); say(sum(int(k.line()) for k in kids), [k.wait() for k in kids])
`),
	"fd/shared offset": python(Parent, `
open("f", "w").write("0123456789" * 10); f = os.open("f", os.O_RDWR); os.set_inheritable(f, True)
k = ready("f = int(sys.argv[1]); say('ready')\nfor l in sys.stdin: say(os.read(f, 3) if l == 'read\\n' else os.lseek(f, 7, 1))", f, pass_fds=[f])
say(os.read(f, 2)); k.tell("read"); say(k.line()); say(os.read(f, 2), os.lseek(f, 0, 1)); k.tell("seek"); say(k.line()); say(os.lseek(f, 0, 1), os.read(f, 1)); k.p.stdin.close(); say(k.wait())
`),
	"fd/shared offset of two children": python(Parent, `
f = os.open("f", os.O_RDWR | os.O_CREAT); os.set_inheritable(f, True)
CODE = "f = int(sys.argv[1]); say('ready')\nwhile sys.stdin.readline(): os.write(f, sys.argv[2].encode()); say('written')"
a = ready(CODE, f, "aa", pass_fds=[f]); b = ready(CODE, f, "b", pass_fds=[f])
for k in a, b, a, b, b, a: k.tell(); k.line()
os.write(f, b"parent"); say(os.pread(f, 100, 0), os.lseek(f, 0, 1))
for k in a, b: k.p.stdin.close(); say(k.wait())
`),
	"fd/O_APPEND": python(Parent, `
f = os.open("f", os.O_WRONLY | os.O_CREAT | os.O_APPEND); os.set_inheritable(f, True)
kids = [Kid("for i in range(50): os.write(int(sys.argv[1]), b'%s\\n' % (sys.argv[2].encode() * 20))", f, n, pass_fds=[f]) for n in "abc"]
for i in range(50): os.write(f, b"p" * 20 + b"\n")
say([k.wait() for k in kids]); lines = open("f").read().split("\n"); say({c: lines.count(c * 20) for c in "abcp"}, len(lines))
`),
	"fd/appending by name": bash(Parent, `
for i in 1 2 3; do (for j in $(seq 20); do echo "$i $j"; done >> f); /usr/bin/python3 -S -c "
f = open('f', 'a')
for j in range(20): f.write('py $i\\n')"; done; wc -l < f; sort f | md5sum
`),
	"fd/pipes both ways": python(Parent, `
k = Kid("for l in sys.stdin: say(l.strip().upper())")
for t in "one", "two", "three": k.tell(t); say(k.line())
k.p.stdin.close(); say(k.line() == "", k.wait())
`),
	"fd/much through pipes": python(Parent, `
p = subprocess.Popen(words("import hashlib\nh = hashlib.md5(); n = 0\nwhile True:\n  b = os.read(0, 65536)\n  if not b: break\n  h.update(b); n += len(b); os.write(1, b)\nsys.stderr.write('%d %s\\n' % (n, h.hexdigest()))"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
import hashlib
data = bytes(range(256)) * 16384; out, errs = p.communicate(data); say(out == data, errs.decode().strip() == "%d %s" % (len(data), hashlib.md5(data).hexdigest()), p.returncode)
`),
	"fd/the end of a pipe": python(Parent, `
r, w = os.pipe(); os.set_inheritable(w, True)
k = ready("say('ready'); sys.stdin.readline(); os.close(int(sys.argv[1])); say('closed'); sys.stdin.readline()", w, pass_fds=[w]); os.close(w)
say(select.select([r], [], [], 0)[0]); k.tell(); say(k.line()); say(select.select([r], [], [], 2)[0] == [r]); k.tell(); say(k.wait(), os.read(r, 1))
`),
	"fd/the reader of a pipe goes": python(Parent, `
r, w = os.pipe(); os.set_inheritable(r, True); signal.signal(13, signal.SIG_IGN)
k = ready("say('ready'); sys.stdin.readline()", r, pass_fds=[r]); os.close(r); os.write(w, b"x"); k.tell(); say(k.wait()); tries("write", os.write, w, b"x")
`),
	"fd/O_NONBLOCK is shared": python(Parent, `
r, w = os.pipe(); os.set_inheritable(r, True)
k = Kid("fd = int(sys.argv[1]); os.set_blocking(fd, False); tries('read', os.read, fd, 1)", r, pass_fds=[r]); say(k.line(2), k.wait()); say(os.get_blocking(r))
`),
	"fd/poll of a pipe": python(Parent, `
r, w = os.pipe(); os.set_inheritable(r, True)
k = ready("import select\nfd = int(sys.argv[1]); say('ready'); say(select.select([fd], [], [], 0)[0] == []); say(select.select([fd], [], [], 15)[0] == [fd], os.read(fd, 9)); say(select.select([fd], [], [], 15)[0] == [fd], os.read(fd, 9))", r, pass_fds=[r])
say(k.line()); os.write(w, b"data"); say(k.line()); os.close(w); say(k.line(), k.wait())
`),
	"fd/high and odd numbers": python(Parent, `
open("f", "w").write("text"); f = os.open("f", os.O_RDONLY)
def high(): os.dup2(f, 500); os.dup2(f, 77); os.close(0)
k = subprocess.Popen(words("say(os.pread(500, 4, 0), os.pread(77, 2, 0), os.path.sameopenfile(500, 77)); tries('stdin', os.fstat, 0)"), stdout=subprocess.PIPE, preexec_fn=high, close_fds=False); say(k.communicate()[0].decode(), k.returncode)
`),
	"fd/the same file twice": python(Parent, `
open("f", "w").write("0123456789"); a = os.open("f", os.O_RDONLY); b = os.open("f", os.O_RDONLY); c = os.dup(a); [os.set_inheritable(x, True) for x in (a, b, c)]
k = Kid("a, b, c = map(int, sys.argv[1:]); os.read(a, 3); say(os.read(b, 2), os.read(c, 2))", a, b, c, pass_fds=[a, b, c]); say(k.line(), k.wait(), os.read(a, 2))
`),
	"fd/a deleted file": python(Parent, `
f = os.open("f", os.O_RDWR | os.O_CREAT); os.set_inheritable(f, True); os.unlink("f"); os.write(f, b"still here"); os.lseek(f, 0, 0)
k = Kid("f = int(sys.argv[1]); say(os.read(f, 20)); os.write(f, b' and more')", f, pass_fds=[f]); say(k.line(), k.wait(), os.pread(f, 30, 0))
`),
	"fd/a deleted file, sought": python(Parent, `
f = os.open("f", os.O_RDWR | os.O_CREAT); os.set_inheritable(f, True); os.unlink("f"); os.write(f, b"still here")
k = Kid("f = int(sys.argv[1]); say(os.pread(f, 20, 0), os.fstat(f).st_nlink); os.write(f, b' and more')", f, pass_fds=[f]); say(k.line(), k.wait(), os.pread(f, 30, 0))
`),
	"fd/a directory": python(Parent, `
os.mkdir("d"); open("d/x", "w").write("inside"); d = os.open("d", os.O_RDONLY); os.set_inheritable(d, True)
k = Kid("d = int(sys.argv[1]); say(os.listdir(d), os.read(os.open('x', os.O_RDONLY, dir_fd=d), 10)); os.fchdir(d); say(os.listdir('.')); os.mkdir('new', dir_fd=d)", d, pass_fds=[d]); say(k.line(), k.line(), k.wait(), sorted(os.listdir("d")))
`),
	"fd/a fifo": python(Parent, `
os.mkfifo("f"); k = Kid("f = open('f', 'w'); f.write('through'); f.close(); sys.stdin.readline(); g = open('f'); say(g.read())"); say(open("f").read()); k.tell(); open("f", "w").write("and back"); say(k.line(), k.wait())
`),
	"fd/null, zero and full": python(Parent, `
fds = [os.open("/dev/" + n, os.O_RDWR) for n in ("null", "zero", "full")]; [os.set_inheritable(f, True) for f in fds]
k = Kid("n, z, f = map(int, sys.argv[1:]); say(os.read(n, 5), os.read(z, 3)); tries('null', os.write, n, b'x'); tries('full', os.write, f, b'x')", *fds, pass_fds=fds); say(k.rest(), k.wait())
`),
	"fd/flock is shared": python(Parent, `
f = os.open("f", os.O_RDWR | os.O_CREAT); os.set_inheritable(f, True); fcntl.flock(f, fcntl.LOCK_EX)
k = Kid("import fcntl; tries('inherited', fcntl.flock, int(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB); g = os.open('f', os.O_RDWR); tries('own', fcntl.flock, g, fcntl.LOCK_EX | fcntl.LOCK_NB)", f, pass_fds=[f]); say(k.rest(), k.wait())
fcntl.flock(f, fcntl.LOCK_UN); k = Kid("import fcntl; g = os.open('f', os.O_RDWR); tries('free', fcntl.flock, g, fcntl.LOCK_EX | fcntl.LOCK_NB)"); say(k.rest(), k.wait())
`),
	"fd/record locks": python(Parent, `
f = os.open("f", os.O_RDWR | os.O_CREAT); fcntl.lockf(f, fcntl.LOCK_EX, 10)
k = Kid("import fcntl; g = os.open('f', os.O_RDWR); tries('held', fcntl.lockf, g, fcntl.LOCK_EX | fcntl.LOCK_NB, 5); tries('beyond', fcntl.lockf, g, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 20)"); say(k.rest(), k.wait())
k = ready("import fcntl; g = os.open('f', os.O_RDWR); fcntl.lockf(g, fcntl.LOCK_EX, 5, 30); say('ready'); sys.stdin.readline()"); tries("its", fcntl.lockf, f, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 30); k.tell(); say(k.wait()); tries("free", fcntl.lockf, f, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 30)
`),
	"fd/mmap of a shared file": python(Parent, `
open("f", "wb").write(bytes(4096)); k = ready("import mmap\nf = os.open('f', os.O_RDWR); m = mmap.mmap(f, 4096); say('ready'); sys.stdin.readline(); m[0:5] = b'hello'; m.flush(); say('written'); sys.stdin.readline()")
k.tell(); say(k.line()); say(open("f", "rb").read(5)); k.tell(); say(k.wait())
`),
	"fd/socketpair": python(Parent, `
a, b = socket.socketpair(); os.set_inheritable(b.fileno(), True)
k = subprocess.Popen(words("import socket; s = socket.socket(fileno=int(sys.argv[1])); s.send(s.recv(10).upper())", b.fileno()), pass_fds=[b.fileno()]); b.close(); a.send(b"hello"); say(a.recv(10), wait(k.pid), a.recv(10))
`),
	"fd/eventfd, memfd and timerfd": python(Parent, `
e = os.eventfd(0); m = os.memfd_create("m"); os.write(m, b"in memory"); [os.set_inheritable(f, True) for f in (e, m)]
k = Kid("e, m = map(int, sys.argv[1:]); os.eventfd_write(e, 7); say(os.pread(m, 20, 0))", e, m, pass_fds=[e, m]); say(k.line(), k.wait(), os.eventfd_read(e))
`),
	"fd/a socket that listens": python(Parent, `
s = socket.create_server(("127.0.0.1", 0)); os.set_inheritable(s.fileno(), True)
k = Kid("import socket; s = socket.socket(fileno=int(sys.argv[1])); c, a = s.accept(); c.send(b'served'); c.close()", s.fileno(), pass_fds=[s.fileno()]); c = socket.create_connection(s.getsockname()); say(c.recv(10), k.wait())
`),
	"fd/SCM_RIGHTS inside": python(Whole, `
a, b = socket.socketpair(); f = open("f", "w+"); f.write("passed"); f.flush()
if os.fork() == 0: m, fds, x, y = socket.recv_fds(b, 10, 1); os.write(1, os.pread(fds[0], 10, 0) + b"\n"); os._exit(0)
socket.send_fds(a, [b"x"], [f.fileno()]); os.wait()
`),
	"fd/credentials of a socket inside": python(Whole, `
a, b = socket.socketpair(); cred = struct.unpack("3i", a.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)); say(cred[0] == os.getpid(), cred[1:])
`),
	"fd/order of output": python(Parent, `
for i in range(5): say("parent", i); p = subprocess.Popen(words("say('child', sys.argv[1])", i)); say(wait(p.pid))
`),
	"fd/output to several places": bash(Parent, `
/usr/bin/python3 -S -c 'import os; os.write(1, b"out\n"); os.write(2, b"err\n"); os.write(3, b"three\n"); os.write(4, b"four\n")' > o 2> e 3> t 4>&1; cat o e t
/usr/bin/python3 -S -c 'import os; os.write(2, b"err\n"); os.write(1, b"out\n")' 2>&1 | cat; /usr/bin/python3 -S -c 'import os; os.write(1, b"to err\n")' >&2 2>/dev/null
`),
	"fd/closed standard descriptors": bash(Parent, `
/usr/bin/python3 -S -c 'import os; open("r", "w").write(" ".join(str(n) for n in range(3) if os.path.exists("/proc/self/fd/%d" % n)))' <&- >&- 2>&-; cat r; echo
sh -c 'echo x' >&-; echo $?
`),
}
