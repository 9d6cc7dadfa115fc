package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// same are scripts that have to do through `onehost run` exactly what they do without: $run is nothing the first time, and the
// run of one command on another host the second. Output, status and what they leave in their directory are compared.
var same = []struct {
	name, script string
	prepare      string // at home, before either
	sorted       bool   // the order of lines is nobody's promise
}{
	{name: "exit statuses", script: `for n in 0 1 2 77 126 127 200 255; do $run sh -c "exit $n"; echo $?; done`},
	{name: "not found", script: `$run /no/such/program 2>/dev/null; echo $?; $run /etc/passwd 2>/dev/null; echo $?`},
	{name: "signals", script: `ulimit -c 0; for n in 1 2 3 4 6 8 9 10 11 13 14 15 24 31 34 64; do
		$run $py -c "import os, signal
signal.signal(2, signal.SIG_DFL); signal.signal(13, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, range(1, 65))
os.kill(os.getpid(), $n)" 2>/dev/null; echo $n $?; done 2>/dev/null`},
	{name: "shared input", prepare: `seq 1 20 > in`, script: `while read x; do $run sh -c "echo got $x; exit 0"; done < in`},
	{name: "partial input", prepare: `seq 1 9 > in`, script: `{ $run sh -c 'read a; echo first $a'; $run sh -c 'read b; echo second $b'; cat; } < in`},
	{name: "partial pipe", script: `seq 1 9 | { $run sh -c 'read a; echo first $a'; $run sh -c 'read b; echo second $b'; cat; }`},
	{name: "input to its end", script: `seq 1 30000 | $run md5sum; seq 1 30000 > in; $run md5sum < in; $run wc -l < in`},
	{name: "closed input", script: `$run sh -c 'cat; echo $?' < /dev/null; $run sh -c 'cat <&0 2>/dev/null; echo end' <&-`},
	{name: "one log for all", script: `{ echo a; $run sh -c 'echo b; echo c >&2'; echo d; $run sh -c 'echo e'; } > log 2>&1; cat log`},
	{name: "appending together", sorted: true, script: `for i in 1 2 3 4; do $run sh -c "for k in 1 2 3 4 5 6 7 8 9; do echo line $i \$k; done" >> log & done; wait; cat log`},
	{name: "writing together", sorted: true, script: `{ for i in 1 2 3 4; do $run sh -c "for k in 1 2 3 4 5 6 7 8 9; do echo line $i \$k; done" & done; wait; } > log; cat log`},
	{name: "order of output and errors", script: `$run sh -c 'for i in 1 2 3 4 5 6 7 8 9; do echo o$i; echo e$i >&2; done' > both 2>&1; cat both; $run sh -c 'for i in 1 2 3 4 5 6 7 8 9; do echo o$i; echo e$i >&2; done' 2>&1 | cat`},
	{name: "much output", script: `$run head -c 50000000 /dev/zero | md5sum; $run head -c 20000000 /dev/zero > zeros; md5sum < zeros; rm zeros`},
	{name: "closed pipe", script: `$run yes | head -n 3; echo ${PIPESTATUS[@]}; $run yes onehost 2>&1 | sed 2q; echo ${PIPESTATUS[@]}`},
	{name: "output closed early", script: `$run sh -c 'echo one; exec >&- 2>&-; sleep 0.1; exit 3' | cat; echo ${PIPESTATUS[@]}; $run sh -c 'exec 1>&-; echo x 2>/dev/null; echo $?>&2' 2>&1`},
	{name: "ignored closed pipe", script: `$run $py -c 'import os
try:
    while True: os.write(1, b"x" * 4096)
except OSError as e: os.write(2, b"%d\n" % e.errno)' 2>&1 >/dev/full; { $run sh -c "trap '' PIPE; yes 2>/dev/null; echo \$? >&2" | head -n 1; } 2>status; cat status`},
	{name: "a hundred megabytes", script: `$run head -c 100000000 /dev/zero > f; wc -c < f; $run cat f | wc -c; $run wc -c < f; $run sh -c 'head -c 30000000 /dev/zero; echo end' >> f; wc -c < f; rm f`},
	{name: "daemons", script: `$run sh -c 'setsid sleep 0.3 >/dev/null 2>&1 < /dev/null & exit 4'; echo $?; $run sh -c '(setsid sleep 10 >/dev/null 2>&1 &); echo soon'; $run $py -c 'import os, time; p = os.fork(); [time.sleep(0.01) for _ in iter(lambda: p > 0 and not os.path.exists("deep"), False)]; p and os._exit(5); os.setsid(); os.fork() and os._exit(0); os.closerange(0, 3); open("deep", "w").close()'; echo $?; sleep 0.3; ls`},
	{name: "nohup", script: `$run nohup sh -c 'echo out; grep SigIgn /proc/self/status' 2>/dev/null; nohup $run sh -c 'grep SigIgn /proc/self/status' 2>/dev/null | cat`},
	{name: "input of every kind", prepare: `seq 1 5 > in; mkfifo p`, script: `$run cat < /dev/null; $run wc -c < in; seq 1 7 | $run wc -l; cat in > p & $run cat < p; wait; $run sh -c 'read x; echo "$x $?"' <<< text; for i in 1 2 3; do $run head -c 2; done < in; while read x; do $run echo "$x"; $run true; done < in; while read x; do $run cat < /dev/null; echo $x; done < in; cat in | while read x; do $run sh -c "echo p$x"; done; xargs -n1 -P3 $run sh -c 'read x; echo "$0$x."' < in | sort`},
	{name: "pipelines", script: `$run seq 1 1000 | $run sort -r | $run head -n 5; $run cat in - < in`, prepare: `echo text > in`},
	{name: "input of a program that measures it", script: `printf 'int x;\nint y;\n' | $run gcc -xc -c -o x.o - && nm x.o; printf 'int z;\n' > z.c; $run gcc -xc -c -o z.o - < z.c && nm z.o; seq 1 1000 | $run gzip -c | zcat | md5sum; $run head -n 2 < n; $run tail -n 2 < n; $run tac < n | head -n 1; { $run head -n 2; cat; } < n; { $run sh -c 'read a; read b; echo $b'; $run sh -c 'read a; echo $a'; cat; } < n; seq 1 5 | $run stat -L -c %F /dev/stdin; $run stat -L -c '%F %s' /dev/stdin < n`, prepare: `seq 1 9 > n`},
	{name: "umask", script: `for m in 000 022 077 027; do (umask $m; $run sh -c "umask; touch f$m; mkdir d$m"); done; stat -c '%n %A' [fd]*`},
	{name: "limits", script: `ulimit -S -n 200; ulimit -c 0; ulimit -f 20000; ulimit -s 4096; $run bash -c 'ulimit -a; ulimit -a -H'`},
	{name: "limit of a file", script: `ulimit -f 10; $run sh -c 'head -c 100000 /dev/zero > big' 2>/dev/null; echo $?; stat -c %s big`},
	{name: "nice", script: `$run nice; nice -n 7 $run nice; nice -n 19 $run sh -c 'nice; nice -n 3 nice'`},
	{name: "priority of input and output", script: `$run ionice; ionice -c 2 -n 7 $run ionice; ionice -c 3 $run sh -c 'ionice; ionice -c 2 -n 5 ionice'`},
	{name: "environment", script: `A="with space" B= C="$(printf 'two\nlines')" env -u ONEHOST_SESSION $run env | grep -v '^ONEHOST_SESSION=' | LC_ALL=C sort; $run sh -c 'echo $0 $# "$@"' zero "a b" '' '*' "'"`},
	{name: "directory", prepare: `mkdir -p a/b; ln -s a/b link`, script: `cd link && $run pwd -P; $run sh -c 'cd .. && pwd -P; ls'; cd / && $run pwd`},
	{name: "credentials", script: `$run id; $run sh -c 'touch mine; ls -ln mine' | cut -d' ' -f1,3,4`},
	{name: "ignored and blocked signals", script: `trap '' HUP; $run grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status`},
	{name: "temporary files", script: `$run sh -c 'f=$(mktemp ./tmp.XXXXXX); echo data > $f; mv $f result; cat result; ls'; cat result; $run sh -c 'f=$(mktemp); echo x > $f; cat $f; rm $f'`},
	{name: "rename over", script: `echo old > f; $run sh -c 'echo new > g; mv -f g f'; cat f; echo newer > g; mv g f; $run cat f; $run sh -c 'exec 3<f; rm f; cat <&3'; ls`},
	{name: "links", script: `$run sh -c 'echo x > a; ln a b; ln -s a c; ln -s nowhere d; stat -c "%n %h" a b; readlink c d'; stat -c '%n %h %F' a b c d; $run sh -c 'rm a; cat b; cat c 2>&1'`},
	{name: "modes", script: `$run sh -c 'touch f; chmod 4755 f; touch g; chmod 600 g; mkdir d; chmod 1777 d; stat -c "%n %a" f g d'; stat -c '%n %a' f g d; $run sh -c 'test -x f && echo yes; chmod -x f; test -x f || echo no'`},
	{name: "append", script: `echo one > f; $run sh -c 'echo two >> f'; echo three >> f; $run sh -c 'echo four >> f; cat f'; cat f`},
	{name: "overwriting", script: `printf 0123456789 > f; $run sh -c 'printf AB | dd of=f bs=1 seek=4 conv=notrunc 2>/dev/null'; cat f; echo; $run sh -c 'printf x > f'; cat f; truncate -s 5 f; $run sh -c 'wc -c < f; truncate -s 2 f'; wc -c < f`},
	{name: "sparse files", script: `$run sh -c 'truncate -s 100M s; printf end | dd of=s bs=1 seek=50M conv=notrunc 2>/dev/null; stat -c "%s" s'; stat -c '%s' s; test $(stat -c %b s) -lt 1000 && echo sparse; $run md5sum s; rm s`},
	{name: "times", script: `$run touch a; sleep 0.02; touch b; sleep 0.02; $run touch c; test b -nt a && test c -nt b && echo right; $run sh -c 'test b -nt a && test c -nt b && echo right'; $run touch -d '2001-02-03 04:05:06.789 UTC' d; stat -c %y d; $run stat -c %Y d`},
	{name: "seen after not being there", script: `$run sh -c 'test -e gen.h; echo $?; ls; cat gen.h 2>&1'; echo '#define X 1' > gen.h; $run sh -c 'test -e gen.h; echo $?; ls; cat gen.h'; rm gen.h; $run sh -c 'test -e gen.h; echo $?'`},
	{name: "seen after a change", script: `for i in 1 2 3 4 5; do echo $i > f; $run cat f; $run sh -c "echo r$i > g"; cat g; done; mkdir d; $run ls d; touch d/x; $run ls d; mv d e; $run ls d 2>/dev/null; $run ls e`},
	{name: "seen as soon as it is said", script: `$run sh -c 'for i in 1 2 3; do echo data$i > f; echo said; sleep 0.1; done' | while read x; do cat f; done`},
	{name: "seen in the middle", script: `$run sh -c 'echo first; read x; cat f' < p | { read x; echo changed > f; echo go > p2; cat; } & cat p2 > p; wait`, prepare: `mkfifo p p2`},
	{name: "a pipe with a name, made there", script: `$run sh -c 'mkfifo q; echo hello > q & cat q; wait; rm q'`},
	{name: "a pipe with a name", prepare: `mkfifo p`, script: `cat p > out & $run sh -c 'echo hello > p; echo written'; wait; cat out; rm out; (sleep 0.1; echo back > p) & $run cat p; wait`},
	{
		name: "a full disk", prepare: `mkdir -p small; mountpoint -q small || mount -t tmpfs -o size=64k none small`,
		script: `$run sh -c 'head -c 1000000 /dev/zero > small/f' 2>&1 | sed 's/.*: //'; $run $py -c '
try:
    with open("small/g", "wb", buffering=0) as f:
        for i in range(100): f.write(b"x" * 4096)
    print("written")
except OSError as e: print(e.errno)'; rm -f small/*; df small >/dev/null`,
	},
	{name: "no permission", script: `mkdir d; touch d/f; chmod 0 d/f; chmod 555 d; $run sh -c 'id -u; cat d/f; echo > d/new; rm -f d/f; echo $?; kill -9 1; echo $?' 2>&1; chmod 755 d`},
	{name: "file calls", script: `$run $py calls.py; cat f`, prepare: `cat > calls.py <<'END'
import errno, fcntl, mmap, os
def no(what, f, *a):
    try: f(*a); print(what, "worked")
    except OSError as e: print(what, errno.errorcode[e.errno])
fd = os.open("f", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
no("excl", os.open, "f", os.O_RDWR | os.O_CREAT | os.O_EXCL)
no("dir", os.open, ".", os.O_WRONLY)
no("notdir", os.stat, "f/x")
no("rmdir", os.rmdir, "f")
no("loop", os.open, "loop", os.O_RDONLY) if os.symlink("loop", "loop") is None else None
no("long", os.stat, "x" * 300)
os.write(fd, b"hello world\n" * 1000)
os.lseek(fd, 6, 0); print(os.read(fd, 5)); print(os.lseek(fd, 0, 1), os.fstat(fd).st_size)
os.pwrite(fd, b"W", 6); os.fsync(fd)
m = mmap.mmap(fd, 0); print(m[0:12]); m[0:5] = b"HELLO"; m.flush(); m.close()
print(os.pread(fd, 12, 0))
os.ftruncate(fd, 12); print(os.fstat(fd).st_size)
fcntl.lockf(fd, fcntl.LOCK_EX)
if os.fork() == 0:
    other = os.open("f", os.O_RDWR)
    no("lock", fcntl.lockf, other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os._exit(0)
os.wait()
os.mkdir("dir"); open("dir/x", "w").close(); no("notempty", os.rmdir, "dir")
os.rename("dir/x", "dir/y"); print(sorted(os.listdir("dir")))
gone = os.open("gone", os.O_RDWR | os.O_CREAT); os.unlink("gone"); os.write(gone, b"still"); print(os.pread(gone, 9, 0), os.fstat(gone).st_nlink)
a = os.open("ap", os.O_WRONLY | os.O_CREAT | os.O_APPEND); b = os.open("ap", os.O_WRONLY | os.O_APPEND)
for i in range(5): os.write(a, b"a"); os.write(b, b"b")
print(open("ap").read())
os.setxattr("f", "user.k", b"v"); print(os.getxattr("f", "user.k"), os.listxattr("f"))
print(os.access("f", os.X_OK), os.statvfs(".").f_namemax)
os.utime("f", (1, 2)); print(os.stat("f").st_mtime)
r, w = os.pipe(); os.write(w, b"p"); print(os.read(r, 1))
END`},
	{name: "processes", script: `$run $py procs.py`, prepare: `cat > procs.py <<'END'
import os, signal, subprocess, threading
print(subprocess.run(["sh", "-c", "exit 3"]).returncode, subprocess.run(["sh", "-c", "kill -9 $$"]).returncode)
print(subprocess.check_output("seq 1 100 | sort -rn | head -n 1", shell=True))
got = []
signal.signal(signal.SIGUSR1, lambda *a: got.append(1)); os.kill(os.getpid(), signal.SIGUSR1); print(got)
signal.signal(signal.SIGALRM, lambda *a: got.append(2)); signal.setitimer(signal.ITIMER_REAL, 0.01); signal.pause(); print(got)
t = [threading.Thread(target=got.append, args=(3,)) for i in range(20)]; [x.start() for x in t]; [x.join() for x in t]; print(len(got))
pids = [os.fork() or os._exit(i) for i in range(20)]; print(sum(os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in pids))
p = subprocess.Popen(["sleep", "100"]); p.terminate(); print(p.wait())
p = subprocess.Popen(["setsid", "sh", "-c", "echo own session"], stdout=subprocess.PIPE); print(p.communicate()[0], p.returncode)
END`},
	{name: "inherited descriptors", script: `echo in3 > f3; $run sh -c 'cat <&3; echo out4 >&4; echo out5 >&5' 3< f3 4> f4 5>> f4; cat f4; exec 6<> f6; $run sh -c 'echo one >&6'; echo two >&6; cat f6`},
	{name: "inherited directories", prepare: `mkdir -p d/e`, script: `echo x > d/f; exec 7< d 8< /; $run sh -c 'ls /proc/self/fd/7/; cat /proc/self/fd/7/f'; $run $py -c 'import os; print(sorted(os.listdir(7)), os.fstat(7).st_ino == os.stat("d").st_ino, "etc" in os.listdir(8))'; mv d moved; $run sh -c 'ls /proc/self/fd/7/'; cd moved/e && $run pwd -P; mv ../e ../g && $run pwd -P; cd /dev && $run sh -c 'pwd; ls null'`},
	{name: "background", script: `$run sh -c '(sleep 0.2; echo late) & echo early; wait'; $run sh -c 'sleep 0.1 & exit 5'; echo $?`},
	{name: "large arguments", script: `$run sh -c 'echo $#' sh $(seq 1 20000); big=$(head -c 100000 /dev/zero | tr '\0' x); BIG=$big $run sh -c 'echo ${#BIG}'`},
	{
		name: "compiling", prepare: `printf '#include <stdio.h>\n#include "gen.h"\nint main(void) { printf("%%d\\n", X); return X; }\n' > m.c`,
		script: `echo '#define X 41' > gen.h; $run gcc -O2 -g -c m.c && $run gcc -o m m.o && ./m; echo $?; echo '#define X 42' > gen.h; $run gcc -O2 -o m m.c && $run ./m; echo $?; $run ar rcs m.a m.o; $run gcc -c nosuch.c; echo $?`,
	},
}

// away runs a command on another host, whatever it is, and says nothing of its own.
const away = "onehost run --no-local -q"

// differential runs a script both ways and compares.
func differential(t *testing.T, j job, name, prepare, script, run string, sorted bool) {
	t.Helper()
	j.dir = ""
	dir := "/home/same/" + strings.ReplaceAll(name, " ", "-")
	inside := func(run string) result {
		return j.sh(t, fmt.Sprintf(`umask 022; find %[1]s -mindepth 1 -maxdepth 1 -not -name small -exec rm -rf {} + 2>/dev/null; mkdir -p %[1]s && cd %[1]s || exit 99
py=%[4]s
%[2]s
run='%[5]s'
%[3]s
`, dir, prepare, script, python, run))
	}
	left := func() string {
		return j.sh(t, `cd `+dir+` && find . -mindepth 1 \( -type f -printf '%p %m %n %s ' -exec sh -c 'md5sum < "$1" 2>&1' sh {} \; -o -printf '%p %y %m %l\n' \) | LC_ALL=C sort`).out
	}
	want := inside("")
	wantLeft := left()
	got := inside(run)
	gotLeft := left()
	if sorted {
		want.out, got.out = lines(want.out), lines(got.out)
	}
	if got != want {
		t.Errorf("native: %v\nonehost: %v", want, got)
	}
	if gotLeft != wantLeft && !sorted {
		t.Errorf("left natively:\n%s\nleft by onehost:\n%s", wantLeft, gotLeft)
	}
}

// python is the system's own: a shim of some version manager would be a hundred programs.
const python = "/usr/bin/python3"

func TestSame(t *testing.T) {
	c := cluster(t, 3)
	h1 := c.Host("h1")
	root := job{host: h1}
	root.must(t, `groupadd -g 7001 ohgroup; groupadd -g 7002 ohother; useradd -m -u 7000 -g 7001 -G 7002,users ohuser; mkdir -p /home/same; chmod 1777 /home/same`)
	for _, c := range same {
		t.Run(c.name, func(t *testing.T) {
			differential(t, root, c.name, c.prepare, c.script, away, c.sorted)
		})
	}
	t.Run("user", func(t *testing.T) {
		user := job{host: h1, user: "ohuser"}
		for _, c := range same {
			if strings.Contains(c.prepare, "mount ") {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				differential(t, user, "user "+c.name, c.prepare, c.script, away, c.sorted)
			})
		}
	})
}

func lines(s string) string {
	all := strings.Split(s, "\n")
	slices.Sort(all)
	return strings.Join(all, "\n")
}
