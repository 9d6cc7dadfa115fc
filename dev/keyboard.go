package dev

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/link"
)

// keyboard brings what is typed at home to a process's terminal, when one of its processes waits for it and no sooner: what nobody
// reads belongs to whoever reads next at home.
//
// The kernel tells nobody that a terminal is waited for. So the job's processes are looked at, a few times a second, for a system call
// that waits on it. One that takes its keys one by one is taken to wait always.
type keyboard struct {
	*console
	obj    *Object
	pids   func() ([]int, error)
	cancel context.CancelFunc
	done   chan struct{}
}

const (
	lookFirst = 20 * time.Millisecond // after the start, and after a line
	lookEvery = 200 * time.Millisecond
	maxLine   = 4096 // bytes: no terminal has longer lines
)

// Watch tells who the processes of the set are, as this host numbers them, so that what they read from a terminal can be brought to
// them. It is called once, when they have started.
func (s *Set) Watch(pids func() ([]int, error)) {
	for _, k := range s.keyboards {
		ctx, cancel := context.WithCancel(s.life)
		k.pids, k.cancel, k.done = pids, cancel, make(chan struct{})
		go k.run(ctx)
	}
}

// stopKeyboards ends the reading at home: what is typed from now on is for others.
func (s *Set) stopKeyboards() {
	for _, k := range s.keyboards {
		if k.cancel != nil {
			k.cancel()
			<-k.done
		}
	}
	s.keyboards = nil
}

func (k *keyboard) run(ctx context.Context) {
	defer close(k.done)
	t := time.NewTimer(lookFirst)
	defer t.Stop()
	for pause := lookFirst; ; t.Reset(pause) {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		n := k.wanted()
		if n == 0 {
			pause = min(2*pause, lookEvery)
			continue
		}
		switch err := k.bring(ctx, n); {
		case err == nil:
			pause = lookFirst / 20
		case errors.Is(err, syscall.EINTR):
			pause = lookFirst
		default:
			return // the home's terminal hung up, or nobody has this one open
		}
	}
}

// bring brings at most n bytes: a line, the end of the file, or keys. It gives up when nobody waits any more (EINTR).
func (k *keyboard) bring(ctx context.Context, n int) error {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	type result struct {
		link.Reply
		err error
	}
	got := make(chan result, 1)
	go func() {
		r, err := k.obj.read(reading, n)
		got <- result{r, err}
	}()
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case r := <-got:
			if r.err != nil {
				return r.err
			}
			var home unix.Termios
			if len(r.Header) > 0 && json.Unmarshal(r.Header, &home) == nil {
				k.follow(&home)
			}
			if len(r.Body) == 0 {
				r.Body = k.endOfFile()
			}
			_, err := k.near.Write(r.Body)
			return err
		case <-t.C:
			if k.wanted() == 0 {
				stop()
			}
		}
	}
}

// wanted says how many bytes a process of the job waits for; 0: none does, or what it waits for is there already.
func (k *keyboard) wanted() int {
	if k.unread() { // first: it makes those run who have been served
		return 0
	}
	return k.waited()
}

func (k *keyboard) waited() int {
	pids, err := k.pids()
	if err != nil {
		return 0
	}
	if k.byKey() && len(pids) > 0 {
		return maxLine
	}
	for _, pid := range pids {
		calls, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
		if err != nil {
			continue
		}
		for _, call := range calls {
			if n := k.wants(pid, call); n > 0 {
				return n
			}
		}
	}
	return 0
}

// wants looks at the system call that a thread waits in.
func (k *keyboard) wants(pid int, call string) int {
	b, err := os.ReadFile(call)
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b)) // number, six arguments, stack and instruction; or "running", or -1
	if len(f) < 7 {
		return 0
	}
	nr, err := strconv.Atoi(f[0])
	if err != nil {
		return 0
	}
	var a [6]uint64
	for i := range a {
		if a[i], err = strconv.ParseUint(f[i+1], 0, 64); err != nil {
			return 0
		}
	}
	found := false
	switch nr {
	case unix.SYS_READ:
		if k.is(pid, int32(a[0])) {
			return int(min(a[2], maxLine))
		}
	case unix.SYS_READV, unix.SYS_PREADV2:
		found = k.is(pid, int32(a[0]))
	case unix.SYS_PPOLL:
		found = k.polled(pid, a[0], a[1])
	case unix.SYS_PSELECT6:
		found = k.selected(pid, a[0], a[1])
	case unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2:
		found = k.watched(pid, int32(a[0]))
	default:
		found = k.older(pid, nr, a)
	}
	if found {
		return maxLine
	}
	return 0
}

// is reports whether a descriptor of a process is this terminal.
func (k *keyboard) is(pid int, fd int32) bool {
	var st unix.Stat_t
	err := unix.Stat(fmt.Sprintf("/proc/%d/fd/%d", pid, fd), &st)
	return err == nil && st.Dev == k.dev && st.Ino == k.ino
}

func (k *keyboard) polled(pid int, at, n uint64) bool {
	b := memory(pid, at, int(min(n, 1024))*8)
	for ; len(b) >= 8; b = b[8:] {
		fd, events := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint16(b[4:])
		if events&unix.POLLIN != 0 && k.is(pid, fd) {
			return true
		}
	}
	return false
}

// selected reads the set that a select was given; the kernel writes its answer there only when the call returns.
func (k *keyboard) selected(pid int, n, at uint64) bool {
	if at == 0 {
		return false
	}
	for i, b := range memory(pid, at, int(min(n, 1024)+7)/8) {
		for bit := range 8 {
			if b&(1<<bit) != 0 && k.is(pid, int32(8*i+bit)) {
				return true
			}
		}
	}
	return false
}

// watched looks at what an epoll waits for.
func (k *keyboard) watched(pid int, epoll int32) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, epoll))
	if err != nil {
		return false
	}
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) < 4 || string(f[0]) != "tfd:" {
			continue
		}
		fd, err1 := strconv.Atoi(string(f[1]))
		events, err2 := strconv.ParseUint(string(f[3]), 16, 32)
		if err1 == nil && err2 == nil && events&unix.EPOLLIN != 0 && k.is(pid, int32(fd)) {
			return true
		}
	}
	return false
}

// memory reads some of a process's memory; what cannot be read is left out.
func memory(pid int, at uint64, n int) []byte {
	if n == 0 {
		return nil
	}
	b := make([]byte, n)
	got, err := unix.ProcessVMReadv(pid, []unix.Iovec{iovec(b)}, []unix.RemoteIovec{{Base: uintptr(at), Len: n}}, 0)
	if err != nil {
		return nil
	}
	return b[:got]
}

func iovec(b []byte) unix.Iovec {
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return v
}
