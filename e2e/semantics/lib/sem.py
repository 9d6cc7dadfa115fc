"""What the cases share. All that is printed has to be the same in every run: pids are replaced by roles."""
import ctypes, fcntl, mmap, resource, select, socket, struct, subprocess, tempfile, termios, threading
from kid import *

PYTHON = "/usr/bin/python3"
here = os.environ.get("SEM_DIR", ".")
lib = os.environ.get("SEM_LIB", ".")
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

def call(nr, *args):
    """A system call; the error is an OSError."""
    r = _libc.syscall(ctypes.c_long(nr), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    if r == -1:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e))
    return r

def wait(pid, options=0):
    """Waits and tells how the process changed its state."""
    got, st = os.waitpid(pid, options)
    return "nothing" if got == 0 else ended(st)

def words(code, *args):
    """The command line of a process that runs a bit of Python; args are sys.argv[1:] there."""
    return [PYTHON, "-S", "-c", "from kid import *\n" + code] + [str(a) for a in args]

_all = [] # or Popen would wait for those that nobody holds

class Kid:
    """A child that runs a bit of Python, with a pipe to it and one from it. Where the case is a spreader it runs elsewhere."""

    def __init__(self, code, *args, **how):
        self.p = subprocess.Popen(words(code, *args), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, **how)
        self.pid = self.p.pid
        _all.append(self)
        started.append(self.pid)

    def line(self, limit=8):
        """The next line that it says; '' at the end."""
        got = b""
        while not got.endswith(b"\n"):
            if not select.select([self.p.stdout], [], [], limit)[0]:
                late("a line of a child")
            c = os.read(self.p.stdout.fileno(), 1)
            if not c:
                break
            got += c
        return got.decode().strip()

    def tell(self, text=""):
        os.write(self.p.stdin.fileno(), (text + "\n").encode())

    def rest(self):
        """All that it says until its end."""
        out = []
        while True:
            l = self.line()
            if not l:
                return out
            out.append(l)

    def wait(self, options=0):
        return wait(self.pid, options)

    def kill(self, number):
        os.kill(self.pid, number)

READY = "say('ready')\n"
LISTEN = "[signal.signal(s, lambda n, f: say('got', name(n))) for s in range(1, 65) if s not in (9, 19, 17, 32, 33)]\n" + READY

def ready(code, *args, **how):
    """A Kid that has said that it is ready."""
    k = Kid(code, *args, **how)
    l = k.line()
    if l != "ready":
        say("a child said", l)
    return k

def spreader(code, **how):
    """Runs code, which has all of this, in a child that is a spreader, and tells how it ended."""
    p = subprocess.Popen([os.path.join(lib, "..", "bin", "spread-python3"), "-S", "-c", "from sem import *\n" + code], **how)
    return wait(p.pid)

def stopped(pid):
    return status("State", pid)[0] == "T"

class siginfo(ctypes.Structure):
    _fields_ = [("signo", ctypes.c_int), ("errno", ctypes.c_int), ("code", ctypes.c_int), ("pad", ctypes.c_int),
                ("pid", ctypes.c_int), ("uid", ctypes.c_uint), ("value", ctypes.c_long), ("rest", ctypes.c_char * 96)]

def sigqueue(pid, number, value, code=-1):
    """rt_sigqueueinfo."""
    i = siginfo(signo=number, code=code, pid=os.getpid(), uid=os.getuid(), value=value)
    return call(129, pid, number, ctypes.byref(i))

P_ALL, P_PID, P_PGID, P_PIDFD = 0, 1, 2, 3
CODES = {1: "exited", 2: "killed", 3: "dumped", 4: "trapped", 5: "stopped", 6: "continued"}

def waitid(kind, ident, options, roles=None):
    """waitid, told as: code, status and whose."""
    r = os.waitid(kind, ident, options)
    if r is None:
        return "nothing"
    st = r.si_status if r.si_code == os.CLD_EXITED else name(r.si_status)
    return "%s %s %s" % (CODES[r.si_code], st, (roles or {}).get(r.si_pid, "it" if r.si_pid == ident else "?"))
