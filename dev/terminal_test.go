package dev

import (
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newTerminal makes a terminal as one at home: the master is the person.
func newTerminal(size *unix.Winsize) (master, slave *os.File, err error) {
	if master, err = hostPTMX(); err != nil {
		return nil, nil, err
	}
	n := -1
	_ = control(master, func(fd int) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return
		}
		peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if errno != 0 {
			err = errno
			return
		}
		n = int(peer)
		if size != nil {
			err = unix.IoctlSetWinsize(n, unix.TIOCSWINSZ, size)
		}
	})
	if err != nil {
		master.Close()
		return nil, nil, err
	}
	return master, os.NewFile(uintptr(n), "home's terminal"), nil
}

// person sits before a terminal at home.
type person struct {
	t      *testing.T
	master *os.File
	seen   strings.Builder
}

func (p *person) types(s string) {
	p.t.Helper()
	if _, err := p.master.WriteString(s); err != nil {
		p.t.Fatal(err)
	}
}

// sees waits until the screen so far ends so.
func (p *person) sees(end string) {
	p.t.Helper()
	buf := make([]byte, 4096)
	for !strings.HasSuffix(p.seen.String(), end) {
		_ = p.master.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := p.master.Read(buf)
		if err != nil {
			p.t.Fatalf("%v; seen %q, want the end %q", err, p.seen.String(), end)
		}
		p.seen.Write(buf[:n])
	}
}

// TestKeyboard: a process reads the home's terminal as it would there: lines, their editing, the end of the file, no echo, single keys,
// by read and by select; and what it does not read is left.
func TestKeyboard(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		talk   func(p *person)
		left   string // to be read at home afterwards
	}{
		"lines": {`test -t 0 || exit 9; read a; echo "got $a"; read b; echo "got $b"`, func(p *person) {
			p.types("first\x7f\x7fsh\n")
			p.sees("got firsh\r\n")
			p.types("second\nthird\n")
			p.sees("got second\r\n")
		}, "third\n"},
		"the end of the file": {`cat; echo over`, func(p *person) {
			p.types("line\n")
			p.sees("line\r\nline\r\n")
			p.types("\x04")
			p.sees("over\r\n")
		}, ""},
		"typed ahead, a part read": {`sleep 0.2; dd bs=3 count=1 2>/dev/null; echo .`, func(p *person) {
			p.types("abcdef\n")
			p.sees("abc.\r\n")
		}, "def\n"},
		"no echo": {`stty -echo; printf 'Password: '; read x; stty echo; echo; echo "got $x"; read y; echo "got $y"`, func(p *person) {
			p.sees("Password: ")
			p.types("secret\n")
			p.sees("Password: \r\ngot secret\r\n")
			p.types("open\n")
			p.sees("open\r\ngot open\r\n")
		}, ""},
		"keys": {`s=$(stty -g); stty -icanon -echo min 1; echo ready; dd bs=1 count=1 2>/dev/null; stty $s; echo .; stty -a | grep -o ' icanon'`, func(p *person) {
			p.sees("ready\r\n")
			p.types("k")
			p.sees("k.\r\n icanon\r\n")
		}, ""},
		"select": {`exec ` + pythonPath + ` -c '
import os, select, sys
print(select.select([0], [], [], 0.3)[0], flush=True)
print(select.select([0], [], [], 20)[0], os.read(0, 100), flush=True)
p = select.poll(); p.register(0, select.POLLIN); print(p.poll(20000), os.read(0, 100), flush=True)
e = select.epoll(); e.register(0, select.EPOLLIN); print(e.poll(20), os.read(0, 100), flush=True)'`, func(p *person) {
			p.sees("[]\r\n")
			p.types("one\n")
			p.sees("[0] b'one\\n'\r\n")
			p.types("two\n")
			p.sees("b'two\\n'\r\n")
			p.types("three\n")
			p.sees("b'three\\n'\r\n")
		}, ""},
		"nobody reads": {`sleep 0.3`, func(p *person) { p.types("mine\n") }, "mine\n"},
		"raw output":   {`stty -opost; sleep 0.1; printf 'a\nb'; stty opost; sleep 0.1; printf 'c\nd\n'`, func(p *person) { p.sees("a\nbc\r\nd\r\n") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			master, slave, err := newTerminal(nil)
			if err != nil {
				t.Skip("needs terminals:", err)
			}
			defer master.Close()
			defer slave.Close()
			fds, set := r.open(Options{}, 0, slave, slave, slave)
			if fds[0].File != fds[1].File || fds[1].File != fds[2].File {
				t.Error("one terminal has become several")
			}
			cmd := r.start(c.script, fds, set)
			set.Watch(func() ([]int, error) { return family(cmd.Process.Pid), nil })
			c.talk(&person{t: t, master: master})
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			r.drain(set)
			_ = control(slave, func(fd int) { _ = unix.SetNonblock(fd, true) })
			b, err := io.ReadAll(io.LimitReader(slave, int64(max(1, len(c.left)))))
			if string(b) != c.left && (c.left != "" || len(b) > 0) {
				t.Errorf("left %q, %v, want %q", b, err, c.left)
			}
		})
	}
}

const pythonPath = "/usr/bin/python3"

// family is a process and its descendants.
func family(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		n := strconv.Itoa(all[i])
		b, err := os.ReadFile("/proc/" + n + "/task/" + n + "/children")
		if err != nil {
			continue
		}
		for f := range strings.FieldsSeq(string(b)) {
			if child, err := strconv.Atoi(f); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}
