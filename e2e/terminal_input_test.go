package e2e_test

import (
	"strings"
	"testing"
	"time"
)

// TestTerminalElsewhere: a program that runs on another host has the terminal that it would have at home: it is one, of the right
// size, it is read line by line and key by key, its echo can be turned off, and what a program does not read the shell gets.
func TestTerminalElsewhere(t *testing.T) {
	c := cluster(t, 2)
	h1 := c.Hosts()[0]
	job{host: h1, dir: "/root"}.must(t, `mkdir -p .config/onehost; echo 'go read stty' > .config/onehost/place
cat > ask.py <<'P'
import os, sys, termios, getpass, signal, time
print([os.isatty(i) for i in (0, 1, 2)], os.get_terminal_size(), os.ttyname(0).startswith("/dev/pts/"))
print("hello", input("name? "))
old = termios.tcgetattr(0); new = termios.tcgetattr(0); new[3] &= ~termios.ECHO; termios.tcsetattr(0, termios.TCSAFLUSH, new)
secret = input("secret? "); termios.tcsetattr(0, termios.TCSADRAIN, old); print("\nit is", secret)
signal.signal(signal.SIGWINCH, lambda *a: print("now", tuple(os.get_terminal_size())))
print("resize me")
while sys.stdin.readline() != "go on\n": pass
print("read all:", sys.stdin.read().split())
P
printf 'all: ; @%s ask.py; uname -n >/dev/null; cat /etc/passwd >/dev/null\n' `+python+` > ask.mk
printf 'all: ; @perl -e "sleep 2"; awk 1 /dev/null\n' > deaf.mk`)
	x := openTerminal(t, h1)
	x.typed("clear; onehost run -q --no-local make -f ask.mk")
	x.see("the questions", func(s string) bool {
		return strings.Contains(s, "[True, True, True] os.terminal_size(columns=100, lines=24) True") && strings.HasSuffix(s, "name?")
	})
	if n := len(only(processes(t), func(p process) bool { return remote(p) && p.argv[len(p.argv)-1] == "ask.py" })); n != 1 {
		t.Fatalf("it runs elsewhere %d times", n)
	}
	x.typed("world")
	x.see("the answer", func(s string) bool { return strings.HasSuffix(s, "name? world\nhello world\nsecret?") })
	x.typed("hush")
	x.see("what was typed unseen", func(s string) bool { return strings.HasSuffix(s, "secret?\nit is hush\nresize me") })
	x.tmux("resize-window", "-x", "90", "-y", "20")
	x.see("the new size", func(s string) bool { return strings.HasSuffix(s, "now (90, 20)") })
	x.key("C-z")
	x.see("the shell's word", func(s string) bool { return strings.Contains(s, "Stopped") && strings.HasSuffix(s, "@") })
	x.typed("echo the shell''s")
	x.ends("the shells\n@")
	x.typed("clear; fg")
	x.ends("-f ask.mk") // what is typed before is the shell's
	x.typed("go on")
	x.typed("one two")
	x.typed("three")
	x.key("C-d")
	x.ends("read all: ['one', 'two', 'three']\n@")

	// A program in the background that reads is stopped, as it would be at home, and reads when it is back.
	x.typed("clear; onehost run -q --no-local make -f ask.mk &")
	x.see("the shell, and no answer taken", func(s string) bool { return strings.Contains(s, "name?") })
	x.typed("echo mine")
	x.see("its stop", func(s string) bool { return strings.Contains(s, "\nmine\n") })
	eventually(t, 5*time.Second, "it to be stopped", func() bool {
		return len(only(processes(t), func(p process) bool { return remote(p) && p.argv[len(p.argv)-1] == "ask.py" && p.state == "T" })) == 1
	})
	x.typed("clear; jobs")
	x.see("the job", func(s string) bool { return strings.Contains(s, "Stopped") })
	x.typed("clear; fg")
	x.ends("-f ask.mk")
	x.typed("again")
	x.see("the answer", func(s string) bool { return strings.Contains(s, "hello again") })
	x.key("C-c")
	x.ends("@")
	gone(t, endLimit, func(p process) bool { return p.argv[0] != "bash" && p.argv[0] != "env" })

	// What is typed while a build runs that reads nothing is the shell's.
	x.typed("clear; onehost run -q --no-local make -f deaf.mk")
	eventually(t, 10*time.Second, "it to run elsewhere", func() bool {
		return len(only(processes(t), func(p process) bool { return remote(p) && p.argv[0] == "perl" })) == 1
	})
	x.typed("echo typed''ahead")
	x.see("it", func(s string) bool { return strings.Contains(s, "\ntypedahead\n") })
}
