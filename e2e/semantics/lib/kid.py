"""What processes that a case starts need: little, since they are many."""
import errno, os, signal, sys, time

def say(*words):
    """One line, written at once."""
    os.write(1, (" ".join(str(w) for w in words) + "\n").encode())

def tries(what, f, *args):
    """Says how a call ended: with ok or the name of its error. Gives what it gave."""
    try:
        r = f(*args)
    except OSError as e:
        say(what, errno.errorcode.get(e.errno, e.errno))
        return None
    say(what, "ok")
    return r

def name(number):
    """The name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number

def ended(status):
    """How a process changed its state, from what wait gives."""
    if os.WIFEXITED(status):
        return "exit %d" % os.WEXITSTATUS(status)
    if os.WIFSIGNALED(status):
        return name(os.WTERMSIG(status)) + (" core" if os.WCOREDUMP(status) else "")
    if os.WIFSTOPPED(status):
        return "stopped " + name(os.WSTOPSIG(status))
    return "continued" if os.WIFCONTINUED(status) else "status %#x" % status

def die(number):
    """Ends this process by a signal."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    time.sleep(20)

def late(what):
    """Ends the process, with those that it has started, because something took too long."""
    say("TIMEOUT:", what)
    for pid in started:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    os._exit(98)

started = []

def until(cond, what="condition", limit=10):
    """Looks until the condition is true, and gives it. The case ends if it does not become true."""
    end = time.monotonic() + limit
    while True:
        r = cond()
        if r:
            return r
        if time.monotonic() > end:
            late(what)
        time.sleep(0.002)

def forever():
    while True:
        time.sleep(0.02) # a signal that comes just before a pause would wait for the next one

def status(field, pid="self"):
    """A field of /proc/PID/status."""
    for line in open("/proc/%s/status" % pid):
        k, _, v = line.partition(":")
        if k == field:
            return v.strip()

def trace():
    """Notes whether this process runs elsewhere."""
    with open("/proc/1/cmdline") as c, open(os.environ["SEM_TRACE"], "a") as f:
        if c.read().startswith("onehost-nest"):
            f.write("elsewhere\n")
