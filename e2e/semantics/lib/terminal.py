"""A terminal with somebody in front of it."""
from sem import *

RUN = os.environ.get("QUIET", "").split()

class Terminal:
    """A new session with a pseudo-terminal that runs a program."""

    def __init__(self, argv, rows=24, cols=80, **env):
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", rows, cols, 0, 0))
        def begin():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        e = dict(os.environ, TERM="dumb", PS1="PROMPT> ", HISTFILE="", **env)
        self.p = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=begin, env=e)
        self.slave = slave
        self.seen = ""

    def typed(self, text):
        os.write(self.master, text.encode())

    def line(self, text):
        self.typed(text + "\n")

    def look(self, wanted, limit=8):
        """Reads until the terminal shows the text, and forgets all up to it. Gives what came before."""
        end = time.monotonic() + limit
        while wanted not in self.seen:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                late("%r is not in %r" % (wanted, self.seen[-2000:]))
            try:
                got = os.read(self.master, 4096)
            except OSError: # EIO: nobody has it open
                got = b""
            if not got:
                say("CLOSED: %r is not in %r" % (wanted, self.seen[-2000:]))
                os._exit(97)
            self.seen += got.decode(errors="replace").replace("\r\n", "\n")
        before, _, self.seen = self.seen.partition(wanted)
        return before

    def close(self):
        """The line is cut."""
        os.close(self.slave)
        os.close(self.master)

def shell(how=("bash", "--norc", "--noediting", "-i")):
    """An interactive shell that has shown its first prompt; $R begins a command of the mode, and does no more than that."""
    t = Terminal(list(how), R=" ".join(RUN))
    t.look("PROMPT> ")
    return t

def ask(t, command, mark="A" "NSWER"):
    """What a command says."""
    t.line("echo %s=$(%s)=" % (mark[:2] + "''" + mark[2:], command))
    t.look(mark + "=")
    r = t.look("=")
    t.look("PROMPT> ")
    return r

def code(t):
    return ask(t, "echo $?")
