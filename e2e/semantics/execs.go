package semantics

// execs: the ways into a new image, and what goes over.
var execs = map[string]Case{
	"exec/keeps the pid": python(Parent, `
r, w = os.pipe()
p = subprocess.Popen([PYTHON, "-S", "-c", "import os, sys; os.write(1, b'%d ' % os.getpid()); os.execv(sys.executable, [sys.executable, '-S', '-c', 'import os; print(os.getpid())'])"], stdout=subprocess.PIPE); out = p.communicate()[0].split(); say(out[0] == out[1], int(out[0]) == p.pid, p.returncode)
`),
	"exec/keeps what it should": python(Parent, `
open("f", "w").write("0123456789")
k = Kid("""
f = os.open('f', os.O_RDONLY); os.set_inheritable(f, True); os.read(f, 3); c = os.open('f', os.O_RDONLY); os.umask(0o27); os.chdir('/usr'); os.nice(3); signal.signal(10, signal.SIG_IGN); signal.alarm(50)
os.execv(sys.executable, [sys.executable, '-S', '-c', 'from kid import *; f, c = map(int, sys.argv[1:]); say(os.read(f, 2)); tries("closed", os.fstat, c); say(oct(os.umask(0)), os.getcwd(), os.nice(0), int(signal.getsignal(10)), signal.alarm(0) > 0)', str(f), str(c)])
"""); say(k.rest(), k.wait())
`),
	"exec/errors": python(Whole, `
open("noexec", "w").close(); open("empty", "w").close(); os.chmod("empty", 0o755); open("bad", "w").write("#!/no/such/interpreter\n"); os.chmod("bad", 0o755); open("text", "w").write("text\n"); os.chmod("text", 0o755); os.symlink("loop", "loop")
for f in "/no/such", "noexec", "./empty", "./bad", "./text", "/etc", "/etc/passwd/x", "loop", "x" * 300, "":
    try: os.execv(f, ["x"])
    except (OSError, ValueError) as e: say(f[:20], errno.errorcode[e.errno] if isinstance(e, OSError) else "ValueError")
`),
	"exec/errors of a spreader's child": python(Parent, `
open("noexec", "w").close(); open("empty", "w").close(); os.chmod("empty", 0o755); open("bad", "w").write("#!/no/such/interpreter\n"); os.chmod("bad", 0o755); open("text", "w").write("text\n"); os.chmod("text", 0o755)
for f in "/no/such", "noexec", "./empty", "./bad", "./text", "/etc", "/etc/passwd/x": tries(f, os.posix_spawn, f, ["x"], os.environ)
`),
	"exec/errors of the command": dash(Outside, `
: > noexec; printf '#!/no/such/interpreter\n' > bad; printf 'echo text "$0"\n' > text; chmod +x bad text
for f in /no/such noexec ./bad /etc; do $QUIET "$f" 2>/dev/null; echo $?; done; $QUIET /bin/sh -c ./text 2>/dev/null; echo $?
`),
	"exec/scripts": python(Parent, `
def script(name, text): open(name, "w").write(text); os.chmod(name, 0o755)
script("a.sh", "#!/bin/sh\necho $0 $# \"$@\"; exit 3\n"); script("b.py", "#!/usr/bin/python3 -S\nimport sys; print(sys.argv, flush=True); sys.exit(4)\n"); script("c", "#! /bin/bash -e\nfalse; echo not here\n"); script("d", "#!./a.sh with one argument\n"); script("e", "#!/usr/bin/env python3\nprint('by env')\n")
for f in ["./a.sh", "1", "two words"], ["./b.py", "x"], ["./c"], ["./d", "y"], ["./e"]:
    p = subprocess.run(f, stdout=subprocess.PIPE); say(p.stdout, p.returncode)
`),
	"exec/scripts inside": bash(Whole, `
printf '#!/bin/sh\necho $0 $# "$@"; exit 3\n' > a.sh; printf '#!./a.sh one arg\n' > b; chmod +x a.sh b; ./a.sh x 'y z'; echo $?; ./b x; echo $?; "$PWD/a.sh" 2>&1 | sed "s|$PWD|DIR|"
printf 'echo no interpreter $0\n' > c; chmod +x c; ./c; echo $?
`),
	"exec/fexecve": python(Parent, `
f = os.open("/bin/sh", os.O_RDONLY); os.set_inheritable(f, True)
pid = os.fork()
if pid == 0: os.execve(f, ["sh", "-c", "echo by descriptor; exit 5"], os.environ)
say(wait(pid))
`),
	"exec/execveat": python(Parent, `
d = os.open("/bin", os.O_RDONLY)
def run(fd, path, flags):
    pid = os.fork()
    if pid == 0:
        a = (ctypes.c_char_p * 4)(b"sh", b"-c", b"exit 6", None); e = (ctypes.c_char_p * 1)(None)
        try: call(322, fd, path, a, e, flags)
        except OSError as x: os._exit(100 + x.errno)
    return wait(pid)
say(run(d, b"sh", 0)); s = os.open("/bin/sh", os.O_RDONLY); os.set_inheritable(s, True); say(run(s, b"", 0x1000)); say(run(d, b"nosuch", 0)); say(run(99, b"sh", 0)); say(run(-100, b"/bin/sh", 0)); os.symlink("/bin/dash", "ln"); say(run(-100, b"ln", 0x100), run(d, b"", 0))
`),
	"exec/from a thread": python(Parent, `
pid = os.fork()
if pid == 0:
    threading.Thread(target=lambda: os.execv(PYTHON, words("say(os.getpid() == int(open('/proc/self/stat').read().split()[0]), status('Threads')); sys.exit(5)"))).start()
    while True: time.sleep(1)
say(wait(pid))
`),
	"exec/from a thread inside": python(Whole, `
pid = os.fork()
if pid == 0:
    for i in range(4): threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
    threading.Thread(target=lambda: os.execv(PYTHON, words("say(status('Threads')); sys.exit(5)"))).start()
    while True: time.sleep(1)
say(wait(pid))
`),
	"exec/threads that exec at once": python(Parent, `
def one(n, got):
    got.append(subprocess.call(words("sys.exit(int(sys.argv[1]))", n)))
got = []; ts = [threading.Thread(target=one, args=(n, got)) for n in range(16)]; [t.start() for t in ts]; [t.join(20) for t in ts]; say(sorted(got))
`),
	"exec/static program": inC(Parent, `
#include "sem.h"
int main(int n, char **a) {
	setbuf(stdout, 0);
	if (n > 1) { printf("static %s\n", a[1]); return 9; }
	pid_t p = fork();
	if (p == 0) { execl("/proc/self/exe", "other", "hello", (char *)0); _exit(127); }
	tell("child", waits(p, 0));
}
`, "-static"),
	"exec/environment": python(Parent, `
k = Kid("say(sorted((k, v) for k, v in os.environ.items() if k.startswith('X')))", env=dict(os.environ, XA="", XB="with space", XC="two\nlines", XD="=", XE="\u00e9")); say(k.line(), k.wait())
p = subprocess.run(["/usr/bin/env", "-i", "A=1", "/usr/bin/env"], stdout=subprocess.PIPE); say(p.stdout)
p = subprocess.run(["/usr/bin/env"], env={}, stdout=subprocess.PIPE); say(p.stdout)
`),
	"exec/large arguments": python(Parent, `
k = Kid("say(len(sys.argv), sum(map(len, sys.argv)), len(os.environ['BIG']))", *["x" * 100] * 5000, env=dict(os.environ, BIG="y" * 100000)); say(k.line(), k.wait())
tries("one too long", subprocess.Popen, ["/bin/true", "x" * 131072]); tries("too much", subprocess.Popen, ["/bin/true"] + ["x" * 100000] * 100)
`),
	"exec/odd arguments": python(Parent, `
k = Kid("say(sys.argv[1:])", "", " ", "'", "*", "\n", "\\", "-c", "\u00e9\u4e00"); say(k.line(), k.wait())
p = subprocess.run(["a name of its own", "-c", "echo $0"], executable="/bin/sh", stdout=subprocess.PIPE); say(p.stdout)
`),
	"exec/no arguments at all": inC(Parent, `
#include "sem.h"
int main(int n, char **a) {
	setbuf(stdout, 0);
	if (getenv("INNER")) { printf("argc %d, argv[0] %s\n", n, n && a[0][0] == 0 ? "empty" : "given"); return 0; }
	pid_t p = fork();
	char *argv[] = {0}, *env[] = {"INNER=1", 0};
	if (p == 0) { execve("/proc/self/exe", argv, env); _exit(127); }
	tell("child", waits(p, 0));
}
`),
	"exec/umask": python(Parent, `
for m in 0, 0o22, 0o77, 0o777:
    os.umask(m); k = Kid("os.close(os.open(sys.argv[1], os.O_CREAT, 0o666)); os.mkdir(sys.argv[1] + 'd'); say(oct(os.umask(0)))", "f%o" % m); say(k.line(), k.wait(), oct(os.stat("f%o" % m).st_mode), oct(os.stat("f%od" % m).st_mode))
`),
	"exec/directory": python(Parent, `
os.makedirs("a/b"); os.symlink("a/b", "l")
for d in "a", "a/b", "l", "/", "/usr/lib": k = Kid("say(os.getcwd().split('/')[-1])", cwd=d); say(k.line(), k.wait())
k = ready("say('ready'); sys.stdin.readline(); say(os.getcwd().split('/')[-2:], os.path.exists('x'))", cwd="a/b"); os.rename("a", "c"); open("c/b/x", "w"); k.tell(); say(k.line(), k.wait())
`),
	"exec/directory that is removed": python(Parent, `
os.mkdir("gone"); fd = os.open("gone", os.O_RDONLY); os.chdir("gone"); os.rmdir("../gone")
p = subprocess.run(["/bin/sh", "-c", "ls; echo x > f; echo $?; cd ..; echo $?"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL); say(p.stdout, p.returncode)
`),
	"exec/directory that is removed while it runs": python(Parent, `
os.mkdir("gone"); k = ready("say('ready'); sys.stdin.readline(); until(lambda: not os.path.lexists('../gone')); tries('getcwd', os.getcwd); tries('create', open, 'f', 'w'); say(os.listdir('.'))", cwd="gone"); os.rmdir("gone"); k.tell(); say(k.line(), k.line(), k.line(), k.wait())
`),
	"exec/O_CLOEXEC": python(Parent, `
a = os.open("/etc/passwd", os.O_RDONLY); b = os.open("/etc/passwd", os.O_RDONLY); os.set_inheritable(b, True); fcntl.fcntl(b, fcntl.F_SETFD, 0)
k = Kid("[tries(n, os.fstat, int(sys.argv[n])) for n in (1, 2)]", a, b, close_fds=False); say(k.line(), k.line(), k.wait())
`),
	"exec/a file that is written": python(Parent, `
subprocess.run(["cp", "/bin/true", "t"], check=True); f = os.open("t", os.O_WRONLY); tries("while it is open for writing", subprocess.run, ["./t"]); os.close(f); say(subprocess.run(["./t"]).returncode)
subprocess.run(["cp", "/bin/sleep", "s"], check=True); p = subprocess.Popen(["./s", "100"]); until(lambda: open("/proc/%d/comm" % p.pid).read() == "s\n", "the exec"); tries("write while it runs", os.open, "s", os.O_WRONLY); p.kill(); say(wait(p.pid))
`),
	"exec/a file that is replaced": python(Parent, `
for i in range(5): open("new", "w").write("#!/bin/sh\necho %d\n" % i); os.chmod("new", 0o755); os.rename("new", "it"); say(subprocess.run(["./it"], stdout=subprocess.PIPE).stdout)
`),
	"exec/of a program just compiled": bash(Parent, `
for i in 1 2 3; do echo "int main(void) { return $i; }" > m.c; gcc -o m m.c; ./m; echo $?; done
`),
	"exec/chains": python(Whole, `
n = int(sys.argv[1]) if len(sys.argv) > 1 else 0
if n < 12: os.execv(PYTHON, [PYTHON, "-S", "case.py", str(n + 1)])
say("end of the chain"); sys.exit(n)
`),
	"exec/clears alternate handlers": python(Parent, `
signal.signal(15, lambda n, f: None); signal.signal(1, signal.SIG_IGN)
k = Kid("say(status('SigCgt')[-4:], int(signal.getsignal(15)), int(signal.getsignal(1)))"); say(k.line(), k.wait())
`),
}
