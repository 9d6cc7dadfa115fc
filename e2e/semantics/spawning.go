package semantics

// spawning: the libraries and tools by which programs start others.
var spawning = map[string]Case{
	"dash/pipelines whose parts end at once": dash(Whole, `i=0; while [ $i -lt 500 ]; do : | : | :; i=$((i+1)); done; echo $i`),
	"python/subprocess": python(Parent, `
say(subprocess.check_output(["/bin/sh", "-c", "seq 1 10 | tail -n 1"])); say(subprocess.call(["/bin/sh", "-c", "exit 4"])); say(subprocess.run("echo $0; exit 3", shell=True, stdout=subprocess.PIPE))
try: subprocess.check_call(["/bin/false"])
except subprocess.CalledProcessError as e: say(e.returncode)
say(subprocess.getstatusoutput("printf x; exit 2"), os.system("exit 5") >> 8, os.popen("echo popen").read().strip())
`),
	"python/timeout": python(Parent, `
p = subprocess.Popen(words("signal.signal(15, lambda n, f: sys.exit(7)); say('ready'); forever()"), stdout=subprocess.PIPE); p.stdout.readline()
try: p.wait(0.05)
except subprocess.TimeoutExpired: say("expired")
p.terminate(); say(p.wait())
p = subprocess.Popen(words("forever()")); say(p.poll()); p.kill(); say(p.wait(), p.poll())
try: subprocess.run(words("forever()"), timeout=0.3)
except subprocess.TimeoutExpired: say("expired and killed")
`),
	"python/communicate": python(Parent, `
p = subprocess.Popen(words("d = sys.stdin.read(); sys.stderr.write('e' * 100000); sys.stdout.write(d * 3)"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True); out, e = p.communicate("x" * 50000); say(len(out), len(e), p.returncode)
`),
	"python/multiprocessing, forked": python(Whole, `
import multiprocessing as m
m.set_start_method("fork"); pool = m.Pool(4); say(pool.map(abs, range(-10, 0))); pool.close(); pool.join(); q = m.Queue(); p = m.Process(target=q.put, args=("through a queue",)); p.start(); say(q.get(timeout=10)); p.join(); say(p.exitcode)
v = m.Value("i", 0); l = [m.Process(target=add, args=(v,)) for add in [lambda v: [v.get_lock().__enter__(), setattr(v, "value", v.value + 1), v.get_lock().__exit__(None, None, None)]] for i in range(5)]; [p.start() for p in l]; [p.join() for p in l]; say(v.value)
`),
	"python/multiprocessing, spawned": python(Whole, `
import multiprocessing as m
if __name__ == "__main__":
    m.set_start_method("spawn"); pool = m.Pool(2); say(pool.map(abs, range(-5, 0))); pool.close(); pool.join()
`),
	"python/multiprocessing of a spreader": python(Parent, `
import multiprocessing as m
if __name__ == "__main__":
    m.set_start_method("spawn"); m.set_executable(PYTHON); signal.alarm(4); pool = m.Pool(2); say(pool.map(abs, range(-5, 0))); pool.close(); pool.join()
    p = m.Process(target=time.sleep, args=(100,)); p.start(); p.terminate(); p.join(15); say(p.exitcode)
`),
	"python/concurrent.futures": python(Whole, `
from concurrent.futures import ProcessPoolExecutor
with ProcessPoolExecutor(3) as e: say(list(e.map(abs, range(-6, 0)))); say(e.submit(os.getpid).result() != os.getpid())
`),
	"python/asyncio": python(Parent, `
import asyncio
async def one(n):
    p = await asyncio.create_subprocess_exec(*words("say('n', sys.argv[1]); sys.exit(int(sys.argv[1]))", n), stdout=asyncio.subprocess.PIPE); out, _ = await p.communicate(); return out, p.returncode
async def all(): return await asyncio.gather(*[one(n) for n in range(6)])
say(asyncio.run(all()))
`),
	"perl/fork, system, pipes": {Shape: Parent, program: func(b bench, _, dir string) ([]string, error) {
		file, err := script(dir, "case.pl", `
$| = 1; my $py = "/usr/bin/python3";
print system($py, "-S", "-c", "import sys; sys.exit(3)") >> 8, "\n"; print `+"`$py -S -c 'print(42)'`"+`; print $? >> 8, "\n";
open(my $p, "-|", $py, "-S", "-c", "print('piped'); import os; os.kill(os.getpid(), 15)"); print <$p>; close $p; print $? & 127, "\n";
open(my $q, "|-", $py, "-S", "-c", "import sys; print(sys.stdin.read().upper())"); print $q "to it"; close $q; print "$?\n";
my %k; for my $n (1..5) { my $pid = fork; if (!$pid) { exec $py, "-S", "-c", "import sys; sys.exit($n)"; } $k{$pid} = $n; }
my $sum = 0; while ((my $pid = wait) > 0) { print "wrong\n" if $k{$pid} != $? >> 8; $sum += $? >> 8; } print "$sum\n";
$SIG{ALRM} = sub { print "alarm\n" }; my $pid = fork; if (!$pid) { exec $py, "-S", "-c", "import time; time.sleep(100)" } print kill(15, $pid), "\n"; waitpid($pid, 0); print $? & 127, "\n";
`)
		return []string{b.interpreter(Parent, "perl", "/usr/bin/perl"), file}, err
	}},
	"perl/inside": {Shape: Whole, program: func(_ bench, _, dir string) ([]string, error) {
		file, err := script(dir, "case.pl", `
$| = 1; my $pid = fork; if (!$pid) { $SIG{USR1} = sub { print "usr1\n"; exit 6 }; open(F, ">up"); close F; sleep 1 while 1; }
until (-e "up") { select(undef, undef, undef, 0.01) } kill USR1 => $pid; waitpid $pid, 0; print $? >> 8, "\n"; print getpgrp == getpgrp(0) ? "same\n" : "other\n"; kill TERM => $$; sleep 10;
`)
		return []string{"/usr/bin/perl", file}, err
	}},
	"shell/pipelines": bash(Parent, `
py() { /usr/bin/python3 -S -c "$1"; }
seq 1 1000 | py 'import sys; [print(int(l) * 2) for l in sys.stdin]' | sort -n | py 'import sys; print(sum(map(int, sys.stdin)))'
yes | py 'import sys; print(sys.stdin.readline().strip())'; echo "${PIPESTATUS[@]}"
`),
	"shell/substitution": bash(Parent, `
x=$(/usr/bin/python3 -S -c "print('out'); import sys; sys.exit(3)"); echo "$x $?"; cat <(/usr/bin/python3 -S -c "print('by process substitution')"); echo text > >(cat); wait $!
diff <(/usr/bin/python3 -S -c "print(1)") <(/usr/bin/python3 -S -c "print(2)") >/dev/null; echo $?
`),
	"shell/coproc": bash(Parent, `
coproc /usr/bin/python3 -S -u -c "
import sys
for l in sys.stdin: print(l.strip().upper())"
p=$COPROC_PID; echo one >&${COPROC[1]}; read x <&${COPROC[0]}; echo $x; echo two >&${COPROC[1]}; read x <&${COPROC[0]}; echo $x; exec {COPROC[1]}>&-; wait $p; echo $?
`),
	"shell/background and $!": dash(Parent, `
for i in 1 2 3 4; do /usr/bin/python3 -S -c "import sys; sys.exit($i)" & eval p$i=$!; done; for i in 4 2 3 1; do eval wait \$p$i; echo $?; done
`),
	"shell/subshells and exec": dash(Parent, `
(exec /usr/bin/python3 -S -c "import sys; sys.exit(3)"); echo $?; (/usr/bin/python3 -S -c "import sys; sys.exit(4)"; exit $?); echo $?; sh -c 'exec /usr/bin/python3 -S -c "print(1)"'
exec /usr/bin/python3 -S -c "import sys; print('the last'); sys.exit(9)"
`),
	"shell/here documents": bash(Parent, `
/usr/bin/python3 -S <<'E'
import os
print("a program as input", os.path.exists("/etc"))
E
/usr/bin/python3 -S -c 'import sys; print(sys.stdin.read())' <<< "a string"; x=12; cat <<E | /usr/bin/python3 -S -c 'import sys; print(len(sys.stdin.read()))'
$x $(seq 1 100)
E
`),
	"shell/timeout(1)": bash(Parent, `
timeout 0.2 /usr/bin/python3 -S -c "import time; time.sleep(100)"; echo $?; timeout -s KILL 0.2 /usr/bin/python3 -S -c "import time; time.sleep(100)"; echo $?; timeout 10 /usr/bin/python3 -S -c "import sys; sys.exit(3)"; echo $?
timeout --preserve-status 0.2 sleep 100; echo $?; timeout --foreground 0.2 sleep 100; echo $?
`),
	"shell/find -exec and env": bash(Parent, `
mkdir d; touch d/a d/b d/c; find d -type f -exec /usr/bin/python3 -S -c 'import sys; print(sorted(sys.argv[1:]))' {} +; find d -name a -exec false \; -o -name b -exec echo {} \;
env X=1 /usr/bin/python3 -S -c 'import os; print(os.environ["X"])'; nohup /usr/bin/python3 -S -c 'from kid import *; print(int(signal.getsignal(1)))' 2>/dev/null; stdbuf -oL /usr/bin/python3 -S -c 'print("stdbuf")'
`),
	"shell/time": bash(Parent, `
TIMEFORMAT=%U; { time /usr/bin/python3 -S -c "
import time
e = time.process_time() + 0.3
while time.process_time() < e: pass"; } 2> t; t=$(cat t); case $t in 0.[2-9]*|[1-4].*) echo used;; *) echo "not used";; esac
`),
}
