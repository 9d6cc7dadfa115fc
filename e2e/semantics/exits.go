package semantics

// exits: how processes end, and what whoever waits for them is told.
var exits = map[string]Case{
	"exit/statuses": python(Parent, `
for n in 0, 1, 2, 3, 63, 77, 126, 127, 128, 200, 255:
    say(n, wait(os.posix_spawn("/bin/sh", ["sh", "-c", "exit %d" % n], os.environ)))
`),
	"exit/only the low eight bits": python(Parent, `
for n in 256, 257, 1023, -1, -256:
    say(n, Kid("sys.stdout.flush(); os._exit(int(sys.argv[1]) & 0xffffffff if int(sys.argv[1]) >= 0 else int(sys.argv[1]))", n).wait())
`),
	"exit/status of the command": python(Whole, `say("out"); sys.exit(7)`),
	"exit/exit_group with threads": python(Whole, `
for i in range(8): threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
os._exit(9)
`),
	"exit/a thread ends before the others": python(Whole, `
# The leader ends by exit(2), another thread goes on and ends the process.
r, w = os.pipe()
def rest():
    until(lambda: status("State", os.getpid())[0] == "Z", "the leader to be gone")
    say("alone"); os._exit(5)
threading.Thread(target=rest).start()
call(60, 0)
`),
	"exit/death by each signal": python(Parent, `
import resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
kids = [(n, Kid("signal.pthread_sigmask(signal.SIG_UNBLOCK, range(1, 65)); die(int(sys.argv[1]))", n))
    for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 25, 26, 27, 29, 30, 31, 34, 50, 64)]
for n, k in kids: say(n, k.wait())
`),
	"exit/killed by each signal": python(Parent, `
import resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
kids = [(n, ready("import signal as s; [s.signal(n, s.SIG_DFL) for n in (2, 13, 25)]; s.pthread_sigmask(s.SIG_UNBLOCK, range(1, 65)); say('ready'); forever()"))
    for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 25, 26, 27, 29, 30, 31, 34, 50, 64)]
for n, k in kids: k.kill(n)
for n, k in kids: say(n, k.wait())
`),
	"exit/SIGKILL of the command itself": python(Whole, `die(9)`),
	"exit/SIGTERM of the command itself": bash(Whole, `kill -TERM $$; sleep 10`),
	"exit/SIGINT of the command itself":  dash(Whole, `trap - INT; kill -INT $$; echo "not dead"`),
	"exit/a real-time signal of the command itself": python(Whole, `
die(40)
`),
	"exit/segmentation fault": inC(Whole, `
#include <sys/resource.h>
int main(void) { struct rlimit r = {0, 0}; setrlimit(RLIMIT_CORE, &r); *(volatile int *)8 = 1; return 0; }
`),
	"exit/division by zero": inC(Whole, `
#include <sys/resource.h>
int main(int n, char **a) { struct rlimit r = {0, 0}; setrlimit(RLIMIT_CORE, &r); volatile int z = n - 1; return 1 / z; }
`),
	"exit/abort": inC(Whole, `
#include <stdlib.h>
#include <stdio.h>
#include <sys/resource.h>
int main(void) { struct rlimit r = {0, 0}; setrlimit(RLIMIT_CORE, &r); printf("lost without flush"); abort(); }
`),
	"exit/core-dump status": python(Parent, `
import resource
resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
say(Kid("die(6)").wait(), Kid("die(15)").wait())
`),
	"exit/no core of a limit of 0": python(Parent, `
import resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
say(Kid("die(6)").wait(), Kid("die(11)").wait(), Kid("die(3)").wait())
`),
	"exit/PIPE of a reader that is gone": bash(Parent, `
{ /usr/bin/python3 -S -c 'import os, signal; signal.signal(13, 0)
while True: os.write(1, b"x" * 4096)'; echo $? > status; } | head -c 10; echo
cat status
`),
	"exit/atexit and buffers": python(Parent, `
k = Kid("import atexit\natexit.register(lambda: sys.stdout.write('at the end\\n'))\nsys.stdout.write('buffered\\n')\nsys.exit(4)")
say(k.rest(), k.wait())
k = Kid("sys.stdout.write('lost\\n'); os._exit(4)")
say(k.rest(), k.wait())
`),
	"exit/statuses in shells": bash(Whole, `
for s in bash dash; do for n in 0 1 127 255; do $s -c "exit $n"; echo $s $?; done
for n in 1 9 15 34; do $s -c "kill -$n \$\$" 2>/dev/null; echo $s died $?; done; done 2>/dev/null
/no/such/file 2>/dev/null; echo $?; /etc/passwd 2>/dev/null; echo $?; / 2>/dev/null; echo $?
`),
	"exit/PIPESTATUS": bash(Parent, `
p() { /usr/bin/python3 -S -c "import sys; sys.stdin.read(); sys.exit($1)"; }
p 1 </dev/null | p 2 | p 3 | p 0; echo "${PIPESTATUS[@]}"
set -o pipefail; p 4 </dev/null | p 0; echo $?
! p 1 </dev/null; echo $?
`),
	"exit/errexit and traps": bash(Parent, `
trap 'echo "exit trap $?"' EXIT; trap 'echo "err trap $?"' ERR
/usr/bin/python3 -S -c 'import sys; sys.exit(3)'
set -e; /usr/bin/python3 -S -c 'import sys; sys.exit(5)'; echo not here
`),
	"exit/not found and not executable": python(Parent, `
open("noexec", "w").close(); open("noformat", "w").write("text"); os.chmod("noformat", 0o755)
for f in "/no/such", "noexec", "./noformat", "/etc", "/etc/passwd/x":
    tries(f, subprocess.run, [f])
`),
}
