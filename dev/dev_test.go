package dev

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func null(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestPartialInput: a reader that takes a part leaves the rest to the next, at home or not.
func TestPartialInput(t *testing.T) {
	ship := newFuseShipper(t)
	for _, c := range []struct{ name, script, out, rest string }{
		{"read", `read x; echo "$x"`, "one\n", "two\nthree\n"},
		{"head", `head -c 5`, "one\nt", "wo\nthree\n"},
		{"loop", `read x; head -c 1 >/dev/null; read y; echo $x-$y`, "one-wo\n", "three\n"},
		{"nothing", `:`, "", "one\ntwo\nthree\n"},
	} {
		for _, source := range []string{"pipe", "file"} {
			t.Run(c.name+" from a "+source, func(t *testing.T) {
				r := newRig(t)
				in, wr := newPipe(t)
				if source == "file" {
					f, err := os.OpenFile(filepath.Join(t.TempDir(), "in"), os.O_RDWR|os.O_CREATE, 0o600)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					write(t, f, "skipped\none\ntwo\nthree\n")
					if _, err := f.Seek(8, io.SeekStart); err != nil {
						t.Fatal(err)
					}
					in = f
				} else {
					write(t, wr, "one\ntwo\nthree\n")
				}
				out, outw := newPipe(t)
				fds, set := r.open(Options{Ship: ship}, 0, in, outw)
				if ws := r.run(c.script, fds, set); ws != 0 {
					t.Fatalf("status %#x", int(ws))
				}
				if got := available(t, out); got != c.out {
					t.Errorf("printed %q, want %q", got, c.out)
				}
				wr.Close()
				rest, err := io.ReadAll(in)
				if err != nil || string(rest) != c.rest {
					t.Errorf("left %q, %v; want %q", rest, err, c.rest)
				}
			})
		}
	}
}

// TestSharedOffset: writers here and there share one open file.
func TestSharedOffset(t *testing.T) {
	ship := newFuseShipper(t)
	r := newRig(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write(t, f, "home\n")
	fds, set := r.open(Options{Ship: ship}, 0, null(t), f, f)
	if ws := r.run("echo out; echo err >&2; echo out", fds, set); ws != 0 {
		t.Fatalf("status %#x", int(ws))
	}
	write(t, f, "home again\n")
	got, err := os.ReadFile(f.Name())
	if err != nil || string(got) != "home\nout\nerr\nout\nhome again\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestOutput sends much through a reader that begins late: the writer waits, nothing is lost.
func TestOutput(t *testing.T) {
	r := newRig(t)
	out, outw := newPipe(t)
	fds, set := r.open(Options{}, 0, null(t), outw)
	const size = 8 << 20
	cmd := r.start("head -c 8388608 /dev/urandom | tee "+filepath.Join(t.TempDir(), "copy"), fds, set)
	copied := cmd.Args[2][strings.Index(cmd.Args[2], "tee ")+4:]
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }()
	select {
	case err := <-waited:
		t.Fatalf("the writer ended (%v) with nobody reading: 8 MB are held somewhere", err)
	case <-time.After(200 * time.Millisecond):
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, out, size); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	r.drain(set)
	want, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) != size || [32]byte(sum.Sum(nil)) != sha256.Sum256(want) || available(t, out) != "" {
		t.Error("what arrived differs")
	}
}

// TestClosedOutput: a writer whose reader at home has gone dies as it would there.
func TestClosedOutput(t *testing.T) {
	r := newRig(t)
	out, outw := newPipe(t)
	fds, set := r.open(Options{}, 0, null(t), outw)
	cmd := r.start("exec yes", fds, set)
	if _, err := io.ReadFull(out, make([]byte, 100000)); err != nil {
		t.Fatal(err)
	}
	out.Close()
	_ = cmd.Wait()
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGPIPE {
		t.Errorf("status %#x: want SIGPIPE", int(ws))
	}
	r.drain(set)
}

// TestOrder: two descriptors that are one keep the order of their writes.
func TestOrder(t *testing.T) {
	r := newRig(t)
	out, outw := newPipe(t)
	fds, set := r.open(Options{}, 0, null(t), outw, outw)
	if fds[1].File == nil || fds[1].File != fds[2].File {
		t.Error("2>&1 has become two files")
	}
	if ws := r.run("i=0; while [ $i -lt 200 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done", fds, set); ws != 0 {
		t.Fatalf("status %#x", int(ws))
	}
	var want strings.Builder
	for i := range 200 {
		n := string(rune('0'+i/100)) + string(rune('0'+i/10%10)) + string(rune('0'+i%10))
		n = strings.TrimLeft(n, "0")
		if n == "" {
			n = "0"
		}
		want.WriteString("o" + n + "\ne" + n + "\n")
	}
	if got := available(t, out); got != want.String() {
		t.Errorf("order differs: %q", got)
	}
}

// TestDrain finds all output at home when it returns, and the flush before the output.
func TestDrain(t *testing.T) {
	r := newRig(t)
	out, outw := newPipe(t)
	var flushed atomic.Int32
	fds, set := r.open(Options{BeforeForward: func(context.Context) error {
		if n, err := unix.IoctlGetInt(int(out.Fd()), unix.TIOCINQ); err == nil && n == 0 {
			flushed.Add(1) // it is not at home yet
		}
		return nil
	}}, 0, null(t), outw)
	if ws := r.run("echo done", fds, set); ws != 0 {
		t.Fatalf("status %#x", int(ws))
	}
	if got := available(t, out); got != "done\n" || flushed.Load() == 0 {
		t.Errorf("%q, flushed %d times", got, flushed.Load())
	}
	// A descendant that lives on: what it has written by then is at home, and Drain does not wait for its end.
	fds, set = r.open(Options{}, 0, null(t), outw)
	if ws := r.run("echo before; sleep 30 & echo $!", fds, set); ws != 0 {
		t.Fatalf("status %#x", int(ws))
	}
	got := strings.Fields(available(t, out))
	if len(got) != 2 || got[0] != "before" {
		t.Fatalf("%q", got)
	}
	pid, err := newPid(got[1])
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL) // it is an orphan of ours
}

// TestTerminal: the process has a terminal of the same size and modes, and output is processed once.
func TestTerminal(t *testing.T) {
	r := newRig(t)
	master, slave, err := newTerminal(&unix.Winsize{Row: 33, Col: 77})
	if err != nil {
		t.Skip("needs terminals:", err)
	}
	defer master.Close()
	defer slave.Close()
	home, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	home.Cc[unix.VINTR] = 5
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, home); err != nil {
		t.Fatal(err)
	}
	fds, set := r.open(Options{}, 0, null(t), slave, slave)
	if ws := r.run("test -t 1 -a -t 2 || exit 9; stty size <&1; stty -a <&2 | grep -o 'intr = ^E'; printf 'a\\nb\\n' >&2", fds, set); ws != 0 {
		t.Fatalf("status %#x", int(ws))
	}
	buf := make([]byte, 4096)
	_ = master.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := io.ReadAtLeast(master, buf, len("33 77\r\nintr = ^E\r\na\r\nb\r\n"))
	if got := string(buf[:n]); got != "33 77\r\nintr = ^E\r\na\r\nb\r\n" {
		t.Errorf("%q, %v", got, err)
	}
	set.SetWinsize(10, 20)
	ws, err := unix.IoctlGetWinsize(int(slave.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Row != 33 {
		t.Errorf("the home's terminal changed: %+v, %v", ws, err)
	}
}

// object keeps f at home and gives the helper's end.
func (r *rig) object(f *os.File) *Object {
	r.t.Helper()
	id, err := r.server.Add(f)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { r.server.Remove(id) })
	return newObject(newLine(r.conn, Options{}), &r.client.seq, Desc{ID: id}, r.t.Context())
}

func TestInterruptedRead(t *testing.T) {
	for _, kind := range []string{"pipe", "socket", "terminal"} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t)
			rd, wr := endpoints(t, kind)
			o := r.object(rd)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if b, err := o.Read(ctx, 100); !errors.Is(err, syscall.EINTR) {
				t.Fatalf("%q, %v: want EINTR", b, err)
			}
			write(t, wr, "later\n")
			if b, err := o.Read(t.Context(), 100); err != nil || string(b) != "later\n" {
				t.Errorf("%q, %v: want what came after the interrupt", b, err)
			}
		})
	}
}

func endpoints(t *testing.T, kind string) (rd, wr *os.File) {
	t.Helper()
	switch kind {
	case "socket":
		sp, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		rd, wr = os.NewFile(uintptr(sp[0]), "socket"), os.NewFile(uintptr(sp[1]), "socket")
	case "terminal":
		var err error
		if wr, rd, err = newTerminal(nil); err != nil {
			t.Skip("needs terminals:", err)
		}
	default:
		return newPipe(t)
	}
	t.Cleanup(func() { rd.Close(); wr.Close() })
	return rd, wr
}

// TestInterruptLosesNothing interrupts reads at the moment their data comes: each byte is read once, by somebody.
func TestInterruptLosesNothing(t *testing.T) {
	r := newRig(t)
	rd, wr := newPipe(t)
	o := r.object(rd)
	for i := range 300 {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { write(t, wr, "x") })
		wg.Go(cancel)
		b, err := o.Read(ctx, 10)
		wg.Wait()
		rest := available(t, rd)
		switch {
		case err == nil && string(b) == "x" && rest == "":
		case errors.Is(err, syscall.EINTR) && len(b) == 0 && rest == "x":
		default:
			t.Fatalf("round %d: read %q, %v; left %q", i, b, err, rest)
		}
	}
}

func TestModesStay(t *testing.T) {
	r := newRig(t)
	rd, wr := newPipe(t)
	flags := func(f *os.File) (n int) {
		if err := control(f, func(fd int) { n, _ = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0) }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := flags(rd)
	o := r.object(rd)
	write(t, wr, "abc")
	if b, err := o.Read(t.Context(), 2); err != nil || string(b) != "ab" {
		t.Fatalf("%q, %v", b, err)
	}
	if flags(rd) != before {
		t.Error("reading changed the open file's flags")
	}
	if err := unix.SetNonblock(int(rd.Fd()), true); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Read(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if b, err := o.Read(t.Context(), 2); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("%q, %v: want EAGAIN of a non-blocking file", b, err)
	}
	if _, err := o.Write(t.Context(), []byte("x")); !errors.Is(err, syscall.EBADF) {
		t.Errorf("write to a read end: %v, want EBADF", err)
	}
	wr.Close()
	if b, err := o.Read(t.Context(), 2); err != nil || len(b) != 0 {
		t.Errorf("%q, %v: want the end", b, err)
	}
}

func TestEnded(t *testing.T) {
	r := newRig(t)
	rd, wr := newPipe(t)
	wr.Close()
	out, outw := newPipe(t)
	fds, set := r.open(Options{}, 0, rd, outw)
	if ws := r.run("cat; echo end", fds, set); ws != 0 || available(t, out) != "end\n" {
		t.Errorf("status %#x", int(ws))
	}
}

func TestSeek(t *testing.T) {
	r := newRig(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o := r.object(f)
	if n, err := o.Write(t.Context(), []byte("0123456789")); n != 10 || err != nil {
		t.Fatal(n, err)
	}
	if at, err := o.Seek(t.Context(), -3, io.SeekCurrent); at != 7 || err != nil {
		t.Fatal(at, err)
	}
	if b, err := o.Read(t.Context(), 9); err != nil || string(b) != "789" {
		t.Errorf("%q, %v", b, err)
	}
}
