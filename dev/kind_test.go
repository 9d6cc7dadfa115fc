package dev

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func newPid(s string) (int, error) { return strconv.Atoi(s) }

func TestClassify(t *testing.T) {
	open := func(path string, flags int) func(*testing.T) *os.File {
		return func(t *testing.T) *os.File {
			fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Skip(path, err)
			}
			return os.NewFile(uintptr(fd), path)
		}
	}
	made := func(name string, fn func() (int, error)) func(*testing.T) *os.File {
		return func(t *testing.T) *os.File {
			fd, err := fn()
			if err != nil {
				t.Fatal(err)
			}
			return os.NewFile(uintptr(fd), name)
		}
	}
	socket := func(kind int) func(*testing.T) *os.File {
		return func(t *testing.T) *os.File {
			sp, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Close(sp[1]) })
			return os.NewFile(uintptr(sp[0]), "socket")
		}
	}
	terminal := func(t *testing.T) *os.File {
		near, far, err := newTerminal(nil)
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { near.Close() })
		return far
	}
	for _, c := range []struct {
		name string
		n    int
		make func(*testing.T) *os.File
		want Kind
		why  string
	}{
		{"null", 0, open("/dev/null", unix.O_RDWR), Path, ""},
		{"urandom", 5, open("/dev/urandom", unix.O_RDONLY), Path, ""},
		{"directory", 5, open("/tmp", unix.O_RDONLY), Path, ""},
		{"regular", 7, open("/etc/passwd", unix.O_RDONLY), Shipped, ""},
		{"read end", 0, func(t *testing.T) *os.File { r, _ := newPipe(t); return r }, Shipped, ""},
		{"read end for ever empty", 0, func(t *testing.T) *os.File { r, w := newPipe(t); w.Close(); return r }, Ended, ""},
		{"last words", 0, func(t *testing.T) *os.File { r, w := newPipe(t); write(t, w, "x"); w.Close(); return r }, Shipped, ""},
		{"write end", 9, func(t *testing.T) *os.File { _, w := newPipe(t); return w }, Output, ""},
		{"terminal in", 0, terminal, Terminal, ""},
		{"terminal out", 1, terminal, Terminal, ""},
		{"terminal both ways", 3, terminal, Terminal, ""},
		{"stream socket in", 0, socket(unix.SOCK_STREAM), Shipped, ""},
		{"stream socket out", 2, socket(unix.SOCK_STREAM), Output, ""},
		{"other socket", 3, socket(unix.SOCK_STREAM), Stay, "socket"},
		{"datagrams", 1, socket(unix.SOCK_DGRAM), Stay, "socket"},
		{"listener", 0, func(t *testing.T) *os.File {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: t.TempDir() + "/s"})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			f, err := l.File()
			if err != nil {
				t.Fatal(err)
			}
			return f
		}, Stay, "listening"},
		{"eventfd", 4, made("eventfd", func() (int, error) { return unix.Eventfd(0, unix.EFD_CLOEXEC) }), Stay, "eventfd"},
		{"epoll", 4, made("epoll", func() (int, error) { return unix.EpollCreate1(unix.EPOLL_CLOEXEC) }), Stay, "eventpoll"},
		{"inotify", 4, made("inotify", func() (int, error) { return unix.InotifyInit1(unix.IN_CLOEXEC) }), Stay, "inotify"},
		{"memfd", 4, made("memfd", func() (int, error) { return unix.MemfdCreate("m", unix.MFD_CLOEXEC) }), Stay, "memfd"},
		{"path only", 4, open("/etc/passwd", unix.O_PATH), Stay, "path"},
		{"name space", 4, open("/proc/self/ns/net", unix.O_RDONLY), Stay, "kernel object"},
		{"master", 4, open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY), Stay, "master"},
		{"fuse", 4, open("/dev/fuse", unix.O_RDWR), Stay, "device"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := c.make(t)
			defer f.Close()
			kind, why := Classify(c.n, f)
			if kind != c.want || !strings.Contains(why, c.why) || (why == "") != (kind != Stay) {
				t.Errorf("%v, %q; want %v, %q", kind, why, c.want, c.why)
			}
		})
	}
}

func TestDescribeRefuses(t *testing.T) {
	s, err := NewServer("", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "eventfd")
	defer f.Close()
	_, w := newPipe(t)
	if _, _, err := s.Describe(0, 0, []int{1, 7}, []*os.File{w, f}); err == nil || !strings.Contains(err.Error(), "descriptor 7") {
		t.Errorf("%v: want a reason that names the descriptor", err)
	}
	if len(s.files) != 0 {
		t.Error("a refused job left descriptors behind")
	}
}

func FuzzUnmarshal(f *testing.F) {
	good, err := Marshal([]Desc{{N: 1, Kind: Output, ID: 4, Same: 1}, {N: 0, Kind: Path, Path: "/dev/null"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`[{"n":0,"k":9}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ds, err := Unmarshal(b)
		if err != nil {
			return
		}
		again, err := Marshal(ds)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Unmarshal(again); err != nil {
			t.Fatalf("%s was read, and %s is not: %v", b, again, err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add(encode(1, 2, 1<<63), 3)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if n = n & 7; n == 0 {
			return
		}
		if v, err := header(b, n); err == nil && len(v) != n {
			t.Fatalf("%d values, want %d", len(v), n)
		}
	})
}
