package e2e_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTerminalOn: a command on another host has a terminal there if that is asked for, and the one here is as it was when it is over.
func TestTerminalOn(t *testing.T) {
	c := cluster(t, 3)
	h1, h2 := c.Host("h1"), c.Host("h2")
	job{host: h2}.must(t, `seq 1000 > /root/numbers; printf 'PS1="%% "\n' > /root/.profile; cp /root/.profile /root/.bash_profile`)
	x := openTerminal(t, h1)
	has := func(parts ...string) func(string) bool {
		return func(s string) bool {
			for _, p := range parts {
				if !strings.Contains(s, p) {
					return false
				}
			}
			return true
		}
	}
	x.typed("clear; stty -g > modes; onehost on h2 tty; onehost on -t h2 sh -c 'tty; stty size; stty -a | grep -wo .*iutf8; ps -o tpgid= -p $$ | grep -wq $$ && echo in front; exit 6'; echo st''atus $?")
	x.see("both", func(s string) bool {
		return has("not a tty", "/dev/pts/", "\n24 100\n", " iutf8", "in front", "status 6")(s)
	})

	// A login shell with job control, whose keys are its own.
	x.typed("clear; onehost on h2")
	x.ends("%")
	x.typed("clear; echo $0 $TERM $(uname -n) $PWD; shopt login_shell")
	x.see("a login shell", func(s string) bool { return has("-bash ", " h2 /root", "on\n")(s) })
	x.typed("clear; sleep 2001")
	x.see("it", func(string) bool { return len(only(processes(t), there("sleep 2001"))) == 1 })
	x.key("C-z")
	x.see("the shell's word", func(s string) bool { return has("Stopped")(s) && strings.HasSuffix(s, "%") })
	x.typed("clear; fg")
	x.ends("sleep 2001")
	x.key("C-c")
	x.ends("%")
	x.typed("S=$?; clear; echo $S; stty size")
	x.see("death by SIGINT", has("130\n24 100\n"))
	x.tmux("resize-window", "-x", "90", "-y", "20")
	x.typed("clear; stty size")
	x.see("the new size", has("20 90\n"))
	x.tmux("resize-window", "-x", "100", "-y", "24")
	x.typed("clear; until stty size | grep '24 100'; do sleep 0.05; done") // tmux takes its time for a second one
	x.see("the size of before", has("24 100\n"))

	// Programs that have the screen to themselves.
	x.typed("clear; less numbers")
	x.see("the first page", func(s string) bool { return strings.HasPrefix(s, "1\n2\n") })
	x.key("G")
	x.see("the last", has("\n1000\n"))
	x.key("q")
	x.typed("clear; vim -u NONE --cmd 'set laststatus=2' new.txt") // its word of a new file is lost when it draws all again
	x.see("an empty file", has("\n~\n", "new.txt"))
	x.key("i")
	x.typed("typed on h1")
	x.tmux("resize-window", "-x", "80", "-y", "20")
	x.key("Escape")
	x.typed(":wq")
	x.ends("%")
	x.typed("clear; cat new.txt; top -d 1")
	x.see("the list", has("Tasks:", "onehostd"))
	x.key("q")
	x.ends("%")
	x.typed("exit 9")
	x.ends("@")
	x.typed("S=$?; clear; echo $S; stty -g | cmp - modes && echo as before")
	x.see("its status", has("9\nas before\n"))
	if out := (job{host: h2}).must(t, "cat /root/new.txt"); out != "typed on h1\n\n" {
		t.Errorf("what was typed: %q", out)
	}
	x.tmux("resize-window", "-x", "100", "-y", "24")

	// ^C and ^Z without a terminal there are signals.
	x.typed("clear; onehost on h2 sleep 2002")
	x.see("it", func(string) bool { return len(only(processes(t), there("sleep 2002"))) == 1 })
	x.key("C-z")
	x.see("the shell's word", func(s string) bool { return has("Stopped")(s) && strings.HasSuffix(s, "@") })
	x.see("its stop", func(string) bool {
		all := only(processes(t), there("sleep 2002"))
		return len(all) == 1 && all[0].state == "T"
	})
	x.typed("clear; fg")
	x.see("it to go on", func(string) bool {
		all := only(processes(t), there("sleep 2002"))
		return len(all) == 1 && all[0].state == "S"
	})
	x.key("C-c")
	x.ends("@")
	x.typed("S=$?; clear; echo $S")
	x.see("death by SIGINT", has("130\n"))

	// However it ends, the terminal is as it was.
	front := func() int {
		all := only(processes(t), func(p process) bool {
			return p.host == "h1" && len(p.argv) > 1 && p.argv[0] == "onehost" && p.argv[1] == "on"
		})
		if len(all) != 1 {
			t.Fatalf("the fronts are %v", all)
		}
		return all[0].number(t)
	}
	x.typed("clear; onehost on -t h2 sh -c 'echo up; exec sleep 2003'; echo $?; stty -g | cmp - modes && echo as before")
	x.see("it", func(s string) bool { return s == "up" })
	x.see("it", func(string) bool { return len(only(processes(t), there("exec sleep"))) == 0 })
	if err := unix.Kill(front(), unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	x.see("its end by SIGTERM", has("143\nas before\n"))
	x.typed("clear; onehost on -t h2 sh -c 'trap \"\" HUP; echo up; sleep 2004'; echo $?; stty -g | cmp - modes && echo as before")
	x.see("it", func(s string) bool { return s == "up" })
	if err := h2.Cut(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.see("its end", has("\nonehost: on h2: host h2 is lost: it crashed, or the way to it is cut; the command is ended there\n125\nas before\n"))
	gone(t, 5e9, there("sleep 2004"))
	if err := h2.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	back(t, job{host: h1})

	// The terminal hangs up.
	x.typed("clear; onehost on -t h2 sh -c 'trap \"\" HUP; echo up; sleep 2005'")
	x.see("it", func(s string) bool { return s == "up" })
	x.tmux("kill-server")
	gone(t, 3e9, there("sleep 2005"))
	nothingLeft(t, c)
}
