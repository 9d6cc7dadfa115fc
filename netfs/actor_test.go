package netfs_test

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// actorEnv makes the test program an actor: a process that does what it is told through its standard input.
const actorEnv = "ONEHOST_NETFS_TEST_ACTOR"

// deed is one system call, or a few, for an actor to do.
type deed struct {
	What      string
	Slot      int // which of its descriptors
	Path, To  string
	Flags     int
	Off, Size int64
	Data      []byte
}

// outcome is what came of a deed.
type outcome struct {
	Err   syscall.Errno
	Data  []byte
	Size  int64
	Links uint64
	Names []string
}

func actorMain() {
	in, out := gob.NewDecoder(os.Stdin), gob.NewEncoder(os.Stdout)
	slots := make(map[int]int)
	for {
		var d deed
		if err := in.Decode(&d); err != nil {
			return
		}
		o, err := d.do(slots)
		if err != nil && !errors.As(err, &o.Err) {
			o.Err = syscall.EBADMSG
		}
		if err := out.Encode(o); err != nil {
			return
		}
	}
}

func (d *deed) do(slots map[int]int) (o outcome, err error) {
	fd := slots[d.Slot]
	switch d.What {
	case "open":
		fd, err = unix.Open(d.Path, d.Flags|unix.O_CLOEXEC, 0o644)
		if err == nil {
			slots[d.Slot] = fd
		}
	case "close":
		delete(slots, d.Slot)
		err = unix.Close(fd)
	case "pwrite":
		var n int
		n, err = unix.Pwrite(fd, d.Data, d.Off)
		o.Size = int64(n)
	case "append":
		var n int
		n, err = unix.Write(fd, d.Data)
		o.Size = int64(n)
	case "pread":
		o.Data = make([]byte, d.Size)
		n := 0
		for n < len(o.Data) {
			k, e := unix.Pread(fd, o.Data[n:], d.Off+int64(n))
			if err = e; e != nil || k == 0 {
				break
			}
			n += k
		}
		o.Data = o.Data[:n]
	case "mmap": // all of it, as large as it says it is
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err != nil || st.Size == 0 {
			return o, err
		}
		var m []byte
		if m, err = unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ, unix.MAP_PRIVATE); err == nil {
			o.Data = slices.Clone(m)
			err = unix.Munmap(m)
		}
	case "map": // stores through a mapping
		var m []byte
		from := d.Off &^ 4095
		if m, err = unix.Mmap(fd, from, int(d.Off-from)+len(d.Data), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
			copy(m[d.Off-from:], d.Data)
			err = unix.Munmap(m)
		}
	case "truncate":
		err = unix.Ftruncate(fd, d.Size)
	case "fsync":
		err = unix.Fsync(fd)
	case "fstat", "stat":
		var st unix.Stat_t
		if d.What == "stat" {
			err = unix.Lstat(d.Path, &st)
		} else {
			err = unix.Fstat(fd, &st)
		}
		o.Size, o.Links = st.Size, uint64(st.Nlink) //nolint:unconvert // not everywhere as long
		o.Size, o.Links = st.Size, uint64(st.Nlink) //nolint:unconvert // 32 bits on arm64
	case "chmod":
		err = unix.Chmod(d.Path, uint32(d.Flags))
	case "rename":
		err = unix.Rename(d.Path, d.To)
	case "unlink":
		err = unix.Unlink(d.Path)
	case "link":
		err = unix.Link(d.Path, d.To)
	case "readdir":
		var f *os.File
		if f, err = os.Open(d.Path); err == nil {
			o.Names, err = f.Readdirnames(-1)
			_ = f.Close()
		}
	default:
		err = fmt.Errorf("what is %q?", d.What)
	}
	return o, err
}

// actor is such a process.
type actor struct {
	cmd *exec.Cmd
	in  *gob.Encoder
	out *gob.Decoder
}

func newActor(t testing.TB) *actor {
	t.Helper()
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), actorEnv+"=1", "GORACE=atexit_sleep_ms=0") // or each ends a second late
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _, _ = io.Copy(io.Discard, out); _ = c.Wait() })
	return &actor{c, gob.NewEncoder(in), gob.NewDecoder(out)}
}

// do has a deed done. An actor that is gone, by SIGBUS for one, fails with EIO.
func (a *actor) do(d deed) outcome {
	var o outcome
	if err := a.in.Encode(d); err != nil {
		return outcome{Err: syscall.EIO}
	}
	if err := a.out.Decode(&o); err != nil {
		return outcome{Err: syscall.EIO}
	}
	return o
}
