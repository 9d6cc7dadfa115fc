package e2e_test

import (
	"strings"
	"testing"
)

// TestToldByAPipe has a program at home and a job elsewhere tell each other by a pipe, a socket, and a lock of what they have done to files, and each look at
// once: names that it has looked for before, data that it has read before.
func TestToldByAPipe(t *testing.T) {
	c := cluster(t, 2)
	j := job{host: c.Host("h1"), dir: "/home/told"}
	(job{host: c.Host("h1")}).must(t, "mkdir -p /home/told")
	j.must(t, `cat >there.py <<'P'
import fcntl, os, sys
seen, mine, lock = open("home", "rb", 0), open("there", "r+b", 0), open("lock", "r+b", 0)
for line in iter(sys.stdin.readline, ""):
    i = int(line)
    assert os.path.exists("h%d" % i), "name %d" % i
    assert not os.path.exists("h%d" % (i + 1)), "name %d is there before" % i
    assert os.pread(seen.fileno(), 9, 0) == b"%04d" % i, "data %d" % i
    os.pwrite(mine.fileno(), b"%04d" % i, 0)
    os.mkdir("t%d" % i)
    print(i, flush=True)
fcntl.lockf(lock, fcntl.LOCK_EX)
assert os.pread(seen.fileno(), 9, 0) == b"last", "data under the lock"
os.pwrite(mine.fileno(), b"last", 0)
lock.close()
print("end", flush=True)
P
cat >here.py <<'P'
import fcntl, os, socket, subprocess, sys
for name in ["home", "there"]:
    open(name, "w").write("none")
open("lock", "w").close()
mine, seen, lock = open("home", "r+b", 0), open("there", "rb", 0), open("lock", "r+b", 0)
if sys.argv[1] == "pipe":
    r, w = os.pipe()
    w = os.fdopen(w, "w")
else:
    a, b = socket.socketpair()
    r, w = b.fileno(), a.makefile("w")
fcntl.lockf(lock, fcntl.LOCK_EX)
p = subprocess.Popen(["onehost", "run", "-q", "--no-local", "--hosts", "h2", "python3", "there.py"], stdin=r, stdout=subprocess.PIPE, text=True)
if sys.argv[1] == "pipe":
    os.close(r)
else:
    b.close()
for i in range(200):
    os.pwrite(mine.fileno(), b"%04d" % i, 0)
    os.mkdir("h%d" % i)
    print(i, file=w, flush=True)
    assert p.stdout.readline() == "%d\n" % i, "it did not answer to %d" % i
    assert os.pread(seen.fileno(), 9, 0) == b"%04d" % i, "data %d from there" % i
    assert os.path.exists("t%d" % i), "name %d from there" % i
w.close()
if sys.argv[1] != "pipe":
    a.close()
os.pwrite(mine.fileno(), b"last", 0)
fcntl.lockf(lock, fcntl.LOCK_UN)
assert p.stdout.readline() == "end\n" and p.wait() == 0
fcntl.lockf(lock, fcntl.LOCK_EX)
assert os.pread(seen.fileno(), 9, 0) == b"last", "data under the lock from there"
P`)
	for _, way := range []string{"pipe", "socket"} {
		if r := j.sh(t, "rm -rf h[0-9]* t[0-9]*; python3 here.py "+way); r.status != 0 || r.err != "" {
			t.Errorf("by a %s: %v", way, r)
		}
	}
}

// TestLocksBetweenHosts has a job elsewhere lock a file, of each kind of mount and in each way, and end well or not: a program at home is kept from it for
// as long, and no longer.
func TestLocksBetweenHosts(t *testing.T) {
	c := cluster(t, 2)
	h1 := job{host: c.Host("h1"), dir: "/"}
	h1.must(t, `mkdir -p /home/locks
cat >/home/locks/holder.py <<'P'
import fcntl, os, signal, struct, sys
path, way, end = sys.argv[1:]
f = os.open(path, os.O_RDWR)
if way == "process":
    fcntl.lockf(f, fcntl.LOCK_EX)
elif way == "open file":
    fcntl.fcntl(f, 37, struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 0, 0))
else:
    fcntl.flock(f, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.readline()
if end == "closes":
    os.close(f)
    print("closed", flush=True)
    sys.stdin.readline()
elif end == "is killed":
    os.kill(os.getpid(), signal.SIGKILL)
P
cat >/home/locks/home.py <<'P'
import errno, fcntl, os, signal, subprocess, sys, time
def taken(f, way):
    lock = fcntl.flock if way == "flock" else fcntl.lockf
    try:
        lock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        assert e.errno in (errno.EAGAIN, errno.EACCES), e
        return True
    lock(f, fcntl.LOCK_UN)
    return False
for path in ["/home/locks/f", "/usr/local/locked", "/etc/locked"]:
    f = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for way in ["process", "open file", "flock"]:
        for end in ["closes", "ends", "is killed"]:
            case = "%s, %s, %s: " % (path, way, end)
            p = subprocess.Popen(["onehost", "run", "-q", "--no-local", "--hosts", "h2", "python3", "/home/locks/holder.py", path, way, end],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert p.stdout.readline() == "locked\n", case + "it could not lock"
            assert taken(f, way), case + "home is not kept from it"
            print("", file=p.stdin, flush=True)
            if end == "closes":
                assert p.stdout.readline() == "closed\n", case + "no word"
                limit = time.time() + 5
                while path.startswith("/home") and taken(f, way): # elsewhere no close is heard of: locks last until the job ends
                    assert way != "process", case + "it is still locked when the job says that it has closed it"
                    assert time.time() < limit, case + "it is locked for ever" # its kernel tells of a last close when it likes
                print("", file=p.stdin, flush=True)
            status = p.wait()
            assert status == (-signal.SIGKILL if end == "is killed" else 0), case + "it ended with %d" % status
            assert not taken(f, way), case + "it is still locked when the job has ended"
    os.close(f)
    os.unlink(path)
P`)
	usable(t, h1, "h2")
	if out := h1.must(t, `: >/home/locks/f; onehost run -q --no-local --hosts h2 sh -c '
for i in $(seq 300); do flock -n /home/locks/f true || echo busy; done'`); out != "" {
		t.Errorf("a lock whose holder has ended is in the way of the next: %d times", strings.Count(out, "busy"))
	}
	if r := h1.sh(t, "timeout 90 python3 /home/locks/home.py"); r.status != 0 {
		t.Errorf("%v", r)
	}
}
