package semantics

// terminals: job control, from a shell without a terminal to what keys do in one.
var terminals = map[string]Case{
	"job/set -m without a terminal": bash(Parent, `
set -m
p() { exec /usr/bin/python3 -S -c "from kid import *
$1"; }
p "sys.exit(3)" & wait %%; echo $?
p "forever()" & kill %%; wait $!; echo $?
mkfifo f; p "open('f').read(); sys.exit(4)" & { until_ 'test -s said'; : > f; } & fg '%?open' >said; echo $?
`),
	"job/stop and bg": bash(Parent, `
set -m
mkfifo f; /usr/bin/python3 -S -c "open('f').read(); import sys; sys.exit(4)" & p=$!
kill -STOP %1; until_ '[ "$(state $p)" = T ]'; jobs -s >/dev/null; until_ '[ -n "$(jobs -sp)" ]'; [ "$(jobs -sp)" = $p ] && echo stopped
bg %1 >/dev/null; until_ '[ "$(state $p)" != T ]'; jobs -rp | grep -c .; : > f; wait %1; echo $?
`),
	"job/kill of a job of several processes": bash(Parent, `
set -m
sleep 100 | /usr/bin/python3 -S -c "from kid import *; open('up', 'w'); forever()" | /usr/bin/python3 -S -c "from kid import *; open('up2', 'w'); forever()" &
until_ 'test -e up -a -e up2'; kill %1; wait %1; echo $?; jobs
`),
	"job/SIGTSTP to a job": bash(Parent, `
set -m
/usr/bin/python3 -S -c "from kid import *; open('up', 'w'); forever()" & p=$!
until_ 'test -e up'; kill -TSTP %1; until_ '[ "$(state $p)" = T ]'; kill -CONT %1; until_ '[ "$(state $p)" != T ]'; kill -TSTP %1; until_ '[ "$(state $p)" = T ]'
kill -TERM %1; kill -CONT %1; wait %1; echo $?
`),
	"job/wait -n -p": bash(Parent, `
set -m; mkfifo a b
/usr/bin/python3 -S -c "open('a').read(); import sys; sys.exit(1)" & A=$!
/usr/bin/python3 -S -c "open('b').read(); import sys; sys.exit(2)" & B=$!
: > b; wait -n -p who; echo $? $([ "$who" = $B ] && echo B); : > a; wait -n -p who; echo $? $([ "$who" = $A ] && echo A)
`),
	"job/disown and jobs": bash(Parent, `
set -m; mkfifo f
/usr/bin/python3 -S -c "open('f').read()" & p=$!
jobs %1 >/dev/null && echo one; disown %1; jobs %1 2>/dev/null || echo none; : > f; until_ '! kill -0 $p 2>/dev/null'; echo gone
`),
	"terminal/^C": tty(`
t = shell()
t.line("$R python3 -S -c 'from kid import *; trace(); print(\"u\" \"p\", flush=True); forever()'"); t.look("up"); t.typed("\x03"); t.look("PROMPT> "); say(code(t))
t.line("exit"); say(wait(t.p.pid))
`),
	"terminal/^C is caught": tty(`
t = shell()
t.line("$R python3 -S -c 'from kid import *; trace(); signal.signal(2, lambda n, f: (say(\"c\" \"aught\"), os._exit(5))); say(\"u\" \"p\"); forever()'")
t.look("up"); t.typed("\x03"); t.look("caught"); t.look("PROMPT> "); say(code(t)); t.line("exit"); say(wait(t.p.pid))
`),
	"terminal/^C reaches all of the foreground": tty(`
open("p.py", "w").write("""from kid import *
trace()
def caught(n, f):
    say("caught")
    try:
        while True: os.wait()
    except OSError: os._exit(5)
os.fork(); os.fork(); signal.signal(2, caught); say("up"); forever()
""")
t = shell()
t.line("$R python3 -S p.py")
for i in range(4): t.look("up")
t.typed("\x03")
for i in range(4): t.look("caught")
say("all"); t.look("PROMPT> "); say(code(t)); t.line("exit"); say(wait(t.p.pid))
`),
	"terminal/^backslash": tty(`
t = shell()
t.line("ulimit -c 0; $R python3 -S -c 'from kid import *; trace(); say(\"u\" \"p\"); forever()'"); t.look("up"); t.typed("\x1c"); t.look("PROMPT> "); say(code(t)); t.line("exit"); say(wait(t.p.pid))
`),
	"terminal/^Z and fg": tty(`
t = shell()
t.line("$R python3 -S -c 'from kid import *; trace(); say(\"u\" \"p\"); sys.stdin.readline(); say(\"l\" \"ine\"); sys.exit(3)'"); t.look("up"); t.typed("\x1a"); t.look("Stopped"); t.look("PROMPT> "); say(code(t))
say(ask(t, "jobs -s | wc -l")); t.line("fg >/dev/null"); t.line("text"); t.look("line"); t.look("PROMPT> "); say(code(t)); t.line("exit"); say(wait(t.p.pid))
`),
	"terminal/^Z, bg and kill": tty(`
t = shell()
t.line("$R python3 -S -c 'from kid import *; trace(); say(\"u\" \"p\"); forever()'"); t.look("up"); t.typed("\x1a"); t.look("Stopped"); t.look("PROMPT> ")
t.line("bg"); t.look("PROMPT> "); say(ask(t, "jobs -r | wc -l")); t.line("kill %1; wait %1"); t.look("PROMPT> "); say(code(t)); t.line("exit"); say(wait(t.p.pid))
`),
	"terminal/^Z again and again": tty(`
t = shell()
t.line("$R python3 -S -c 'from kid import *; trace(); say(\"u\" \"p\"); [say(\"g\" \"ot\", l) for l in sys.stdin if l != \"end\\n\" or sys.exit(3)]'"); t.look("up")
for i in range(5): t.typed("\x1a"); t.look("Stopped"); t.look("PROMPT> "); say(ask(t, "jobs -s | wc -l")); t.line("fg >/dev/null"); t.line("text"); t.look("got text")
t.line("end"); t.look("PROMPT> "); say(code(t)); t.line("exit"); say(wait(t.p.pid))
`),
	"terminal/SIGTTIN of the background": tty(`
t = shell()
t.line("$R python3 -S -c 'from kid import *; trace(); say(\"u\" \"p\"); sys.stdin.readline(); say(\"r\" \"ead\"); sys.exit(3)' &"); t.look("up"); t.typed("\n")
until(lambda: ask(t, "jobs -s | wc -l") == "1", "the job to be stopped"); say("stopped"); t.line("fg >/dev/null"); t.line("text"); t.look("read"); t.look("PROMPT> "); say(code(t)); t.line("exit"); say(wait(t.p.pid))
`),
	"terminal/tostop": tty(`
t = shell()
t.line("stty tostop"); t.look("PROMPT> ")
t.line("$R python3 -S -c 'from kid import *; trace(); open(\"up\", \"w\"); say(\"h\" \"ello\"); sys.exit(3)' &"); t.look("PROMPT> "); until(lambda: os.path.exists("up"), "the job")
until(lambda: ask(t, "jobs -s | wc -l") == "1", "the job to be stopped", 3); t.line("fg >/dev/null"); t.look("hello"); t.look("PROMPT> "); say(code(t)); t.line("exit"); say(wait(t.p.pid))
`),
	"terminal/hang-up": tty(`
t = Terminal(RUN + words("trace(); signal.signal(1, lambda n, f: (open('hup', 'w').write('HUP'), os._exit(0))); say('ready'); forever()")); t.look("ready"); t.close()
until(lambda: os.path.exists("hup") and open("hup").read(), "SIGHUP"); say(open("hup").read()); say(wait(t.p.pid) in ("exit 0", "SIGHUP"))
`),
	"terminal/hang-up of a shell": tty(`
t = shell()
t.line("$R python3 -S -c 'from kid import *; trace(); signal.signal(1, lambda n, f: (open(\"hup\", \"w\").write(\"HUP\"), os._exit(0))); say(\"re\" \"ady\"); forever()' &"); t.look("ready"); t.close()
until(lambda: os.path.exists("hup") and open("hup").read(), "SIGHUP"); say(open("hup").read()); say(wait(t.p.pid))
`),
	"terminal/nohup": tty(`
t = shell()
t.line("nohup $R python3 -S -c 'from kid import *; trace(); open(\"up\", \"w\"); until(lambda: os.path.exists(\"go\")); open(\"done\", \"w\").write(\"%d\" % signal.getsignal(1))' >/dev/null 2>&1 </dev/null &"); until(lambda: os.path.exists("up"), "the job")
t.close(); say(wait(t.p.pid)); open("go", "w"); until(lambda: os.path.exists("done") and open("done").read(), "the end"); say(open("done").read())
`),
	"terminal/window size": tty(`
t = Terminal(RUN + words("import fcntl, struct, termios\ntrace()\ndef size(): say('size', *struct.unpack('4H', fcntl.ioctl(0, 0x5413, b'x' * 8))[:2])\nsignal.signal(28, lambda n, f: (size(), os._exit(4)))\nsize(); say('ready'); forever()"), rows=33, cols=77)
t.look("size 33 77"); t.look("ready"); fcntl.ioctl(t.master, termios.TIOCSWINSZ, struct.pack("4H", 50, 132, 0, 0)); t.look("size 50 132"); say(wait(t.p.pid))
`),
	"terminal/what a program sees of it": tty(`
t = Terminal(RUN + words("""
trace()
say('isatty', *[os.isatty(n) for n in (0, 1, 2)]); say('name', os.ttyname(0) == sys.argv[1]); say('foreground', os.tcgetpgrp(0) == os.getpgrp())
tries('open', lambda: os.close(os.open('/dev/tty', os.O_RDWR))); say('end')
""", "x")); say(t.look("end", 3).replace("name False", "name")); say(wait(t.p.pid))
`),
	"terminal/name": tty(`
m, s = os.openpty(); name = os.ttyname(s); os.close(m); os.close(s)
t = Terminal(RUN + words("trace(); say('name', os.ttyname(0)); say('end')")); say("name /dev/pts/" in t.look("end")); say(wait(t.p.pid))
`),
	"terminal/lines, ^D and echo": tty(`
t = Terminal(RUN + words("trace(); say('ready'); [say('got', repr(l)) for l in sys.stdin]; say('end of file')")); t.look("ready")
t.line("one"); t.look("got 'one\\n'"); t.typed("tw\x7fwo\n"); t.look("got"); t.typed("\x04"); t.look("end of file"); say(wait(t.p.pid))
`),
	"terminal/raw mode": tty(`
t = Terminal(RUN + words("import tty, termios\ntrace(); old = termios.tcgetattr(0); tty.setraw(0); say('ready')\nsay(repr(os.read(0, 1)), repr(os.read(0, 1)), repr(os.read(0, 3))); termios.tcsetattr(0, termios.TCSADRAIN, old); say('end')"))
t.look("ready"); t.typed("a"); t.typed("\x03"); t.typed("\x1b[A"); say(t.look("end").strip()); say(wait(t.p.pid))
`),
	"terminal/modes stay as a program leaves them": tty(`
t = shell()
t.line("$R python3 -S -c 'from kid import *; trace(); import termios; a = termios.tcgetattr(0); a[3] &= ~termios.ECHOCTL; termios.tcsetattr(0, 0, a); say(\"s\" \"et\")'"); t.look("set"); t.look("PROMPT> ")
say(ask(t, "stty -a | grep -o .echoctl")); t.line("exit"); say(wait(t.p.pid))
`),
	"terminal/ghosts as jobs: ^C, ^Z, fg, bg": tty(`
t = shell(RUN + ["` + toolDir + `/bin/spread-bash", "--norc", "--noediting", "-i"])
J = "python3 -S -c 'from kid import *; trace(); say(\"u\" \"p\"); sys.stdin.readline(); say(\"l\" \"ine\"); sys.exit(3)'"
t.line(J); t.look("up"); t.typed("\x03"); t.look("PROMPT> "); say(code(t))
t.line(J); t.look("up"); t.typed("\x1a"); t.look("Stopped"); t.look("PROMPT> "); say(code(t)); t.line("fg >/dev/null"); t.line("text"); t.look("line"); t.look("PROMPT> "); say(code(t))
t.line(J); t.look("up"); t.typed("\x1a"); t.look("Stopped"); t.look("PROMPT> "); t.line("bg >/dev/null"); t.look("PROMPT> "); t.typed("\n")
until(lambda: ask(t, "jobs -s | wc -l") == "1", "SIGTTIN"); t.line("kill -9 %1"); t.look("PROMPT> "); until(lambda: ask(t, "jobs | wc -l") == "0", "the end"); say("gone")
t.line("exit"); say(wait(t.p.pid))
`),
	"terminal/ghosts as jobs: pipelines": tty(`
t = shell(RUN + ["` + toolDir + `/bin/spread-bash", "--norc", "--noediting", "-i"])
t.line("python3 -S -c 'from kid import *; trace(); [(say(i), time.sleep(0.01)) for i in range(100000)]' | python3 -S -c 'from kid import *; trace(); signal.signal(18, lambda n, f: os.write(2, b\"go\" b\"es on\\n\")); sys.stdin.readline(); os.write(2, b\"u\" b\"p\\n\"); [0 for d in iter(lambda: os.read(0, 4096), b\"\")]'"); t.look("up")
t.typed("\x1a"); t.look("Stopped"); t.look("PROMPT> "); say(ask(t, "jobs -s | wc -l")); t.line("fg >/dev/null"); t.look("goes on"); t.typed("\x03"); t.look("PROMPT> "); say(ask(t, "echo ${PIPESTATUS[@]}")); t.line("exit"); say(wait(t.p.pid))
`),
	"terminal/tcsetpgrp": tty(`
t = Terminal(RUN + words("""
trace(); signal.signal(22, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    signal.signal(2, lambda n, f: (say('child caught'), os._exit(3))); os.setpgid(0, 0); os.tcsetpgrp(0, os.getpgrp()); say('ready'); forever()
say('child', ended(os.waitpid(pid, 0)[1])); tries('back', os.tcsetpgrp, 0, os.getpgrp()); say('end')
""")); t.look("ready", 3); t.typed("\x03"); t.look("child caught"); say(t.look("end")); say(wait(t.p.pid))
`),
	"terminal/script(1)": tty(`
open("p.py", "w").write("from kid import *\ntrace()\nsay(*[os.isatty(n) for n in (0, 1, 2)])\nsys.exit(6)\n")
r = subprocess.run(["script", "-qec", " ".join(RUN + ["/usr/bin/python3", "-S", "p.py"]), "/dev/null"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
say(r.returncode, r.stdout.decode().replace("\r\n", "\n"))
`),
	"terminal/tmux": tty(`
sock = os.path.join(here, "tmux.sock")
def tmux(*a): return subprocess.run(["tmux", "-S", sock, "-f", "/dev/null"] + list(a), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=15).stdout.decode()
open("inner.py", "w").write("from kid import *\ntrace()\nsignal.signal(2, lambda n, f: say('caught'))\nsay('isatty', os.isatty(0), os.get_terminal_size(0).columns)\nwhile True:\n  l = sys.stdin.readline()\n  if not l: break\n  say('got', l.strip())\nsay('end of file')\n")
tmux("new-session", "-d", "-x", "91", "-y", "30", "-s", "s", " ".join(RUN + ["/usr/bin/python3", "-S", os.path.join(here, "inner.py")]) + "; echo status $?; cat")
def shows(text): until(lambda: text in tmux("capture-pane", "-p", "-t", "s"), text); say(text)
shows("isatty True 91"); tmux("send-keys", "-t", "s", "hello", "Enter"); shows("got hello"); tmux("send-keys", "-t", "s", "C-c"); shows("caught"); tmux("send-keys", "-t", "s", "C-d"); shows("end of file"); shows("status 0"); tmux("kill-server")
`),
}

// tty is a case outside of any session: somebody at a terminal, in which things are run.
func tty(text string) Case { return python(Outside, "from terminal import *\n"+text) }
