package e2e_test

import "testing"

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
