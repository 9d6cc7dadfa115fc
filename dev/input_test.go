package dev

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAlone: a pipe is read ahead only if nobody but the job can read it.
func TestAlone(t *testing.T) {
	start := func(stdin *os.File) int {
		cmd := exec.Command("sleep", "60")
		cmd.Stdin = stdin
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		return cmd.Process.Pid
	}
	rd, wr := newPipe(t)
	job := start(rd)
	run := start(nil) // no program of the job's
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/0", job))
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command("/bin/sh", "-c", "read x")
	for _, c := range []struct {
		name string
		who  holder
		want bool
	}{
		{"nothing is known", holder{}, false},
		{"no supervisor", holder{job: job}, false},
		{"the job", holder{job, os.Getpid()}, true},
		{"not the job", holder{run, os.Getpid()}, false},
	} {
		if got := c.who.alone(link); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	other.Stdout = wr // the writing side does not count
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if !(holder{job, os.Getpid()}).alone(link) {
		t.Error("a writer counts as a reader")
	}
	_ = other.Process.Kill()
	_ = other.Wait()
	second := start(rd)
	if (holder{job, os.Getpid()}).alone(link) || (holder{second, os.Getpid()}).alone(link) {
		t.Error("a second reader does not count")
	}
}

// TestInput: what is filled ahead arrives whole, as a pipe, and ends.
func TestInput(t *testing.T) {
	r := newRig(t)
	rd, wr := newPipe(t)
	out, outw := newPipe(t)
	id, err := r.server.Add(rd)
	if err != nil {
		t.Fatal(err)
	}
	defer r.server.Remove(id)
	outID, err := r.server.Add(outw)
	if err != nil {
		t.Fatal(err)
	}
	defer r.server.Remove(outID)
	desc, err := Marshal([]Desc{{N: 0, Kind: Input, ID: id, Same: 1}, {N: 1, Kind: Output, ID: outID, Flags: os.O_WRONLY, Same: 2}})
	if err != nil {
		t.Fatal(err)
	}
	fds, set, err := r.client.Open(t.Context(), r.conn, desc, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	go func() {
		defer wr.Close()
		for range 1000 {
			if _, err := wr.WriteString("0123456789012345678901234567890123456789012345678901234567890123456789\n"); err != nil {
				return
			}
		}
	}()
	if ws := r.run("test -p /dev/stdin && wc -c", fds, set); ws != 0 {
		t.Fatalf("status %#x", int(ws))
	}
	if got := available(t, out); got != "71000\n" {
		t.Errorf("%q", got)
	}
}

// TestInputIsLeft: a job that ends without reading its input ends.
func TestInputIsLeft(t *testing.T) {
	r := newRig(t)
	rd, wr := newPipe(t)
	id, err := r.server.Add(rd)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := Marshal([]Desc{{N: 0, Kind: Input, ID: id, Same: 1}})
	if err != nil {
		t.Fatal(err)
	}
	fds, set, err := r.client.Open(t.Context(), r.conn, desc, Options{})
	if err != nil {
		t.Fatal(err)
	}
	write(t, wr, "not read\n")
	r.run("exit 0", fds, set)
	begin := time.Now()
	set.Close()
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("closing took %v", took)
	}
	r.server.Remove(id)
}

// TestOpenedByName: a file that is only read is a real one there, and the home's offset follows at the end.
func TestOpenedByName(t *testing.T) {
	ship := newFuseShipper(t)
	r := newRig(t)
	name := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(name, []byte("skipped\none\ntwo\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := in.Seek(8, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	out, outw := newPipe(t)
	opened := 0
	o := Options{Ship: ship, Find: func(path string) (*os.File, error) {
		opened++
		return bare(path)
	}}
	fds, set := r.open(o, 0, in, outw)
	if ws := r.run(`stat -L -c %s /dev/stdin; head -n 1`, fds, set); ws != 0 {
		t.Fatalf("status %#x", int(ws))
	}
	if got := available(t, out); got != "22\none\n" || opened != 1 {
		t.Errorf("%q, opened %d times", got, opened)
	}
	rest, err := io.ReadAll(in)
	if err != nil || string(rest) != "two\nthree\n" {
		t.Errorf("left %q, %v", rest, err)
	}
}

func bare(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	return os.NewFile(uintptr(fd), path), err
}

// TestNotAnotherFile: what has the name of an inherited file by now is not opened in its place, though it is as long: the client may
// read files that the process may not.
func TestNotAnotherFile(t *testing.T) {
	ship := newFuseShipper(t)
	r := newRig(t)
	name := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(name, []byte("mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, outw := newPipe(t)
	found := 0
	o := Options{Ship: ship, Find: func(path string) (*os.File, error) {
		found++
		secret := path + ".secret"
		if err := os.WriteFile(secret, []byte("root\n"), 0o600); err != nil {
			return nil, err
		}
		if err := os.Rename(secret, path); err != nil {
			return nil, err
		}
		return bare(path)
	}}
	fds, set := r.open(o, 0, in, outw)
	if ws := r.run("cat", fds, set); ws != 0 {
		t.Fatalf("status %#x", int(ws))
	}
	if got := available(t, out); got != "mine\n" || found != 1 {
		t.Errorf("%q, found %d times", got, found)
	}
}
