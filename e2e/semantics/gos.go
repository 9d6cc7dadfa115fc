package semantics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// gos: Go's os/exec, which starts programs by vfork or clone with CLONE_PIDFD and waits by pidfd.
var gos = map[string]Case{
	"go/run and output":       inGo(Parent, goOutput),
	"go/kill and signals":     inGo(Parent, goSignals),
	"go/context":              inGo(Parent, goContext),
	"go/process groups":       inGo(Parent, goGroups),
	"go/many at once":         inGo(Parent, goMany),
	"go/pipes":                inGo(Parent, goPipes),
	"go/errors":               inGo(Parent, goErrors),
	"go/usage":                inGo(Parent, goUsage),
	"go/run, inside":          inGo(Whole, goOutput),
	"go/signals, inside":      inGo(Whole, goSignals),
	"go/many at once, inside": inGo(Whole, goMany),
	"go/signals to itself":    inGo(Whole, goNotify),
	"go/waitid by hand":       inGo(Parent, goWaitid),
}

func py(code string) *exec.Cmd {
	return exec.Command("/usr/bin/python3", "-S", "-c", "from kid import *\n"+code)
}

func goOutput(w io.Writer) {
	out, err := py("say('out'); sys.stderr.write('err'); sys.exit(3)").Output()
	fmt.Fprintf(w, "%q %v\n", out, err)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		fmt.Fprintf(w, "%q %d %v\n", exit.Stderr, exit.ExitCode(), exit.Exited())
	}
	cmd := py("say(sys.stdin.read().upper(), os.environ['X'], os.getcwd())")
	cmd.Stdin, cmd.Env, cmd.Dir = strings.NewReader("text"), append(os.Environ(), "X=y"), "/usr"
	out, err = cmd.CombinedOutput()
	fmt.Fprintf(w, "%q %v\n", out, err)
}

func goSignals(w io.Writer) {
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGKILL, unix.SIGINT, unix.SIGUSR1, unix.SIGHUP} {
		cmd := py("signal.signal(2, signal.SIG_DFL); say('ready'); forever()")
		out, err := cmd.StdoutPipe()
		if err != nil {
			fmt.Fprintln(w, err)
			return
		}
		if err := cmd.Start(); err != nil {
			fmt.Fprintln(w, err)
			return
		}
		ready := make([]byte, 6)
		_, err = io.ReadFull(out, ready)
		fmt.Fprintf(w, "%q %v %v\n", ready, err, cmd.Process.Signal(sig))
		fmt.Fprintln(w, cmd.Wait(), cmd.ProcessState.ExitCode(), cmd.Process.Signal(unix.SIGTERM))
	}
}

func goContext(w io.Writer) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/bin/python3", "-S", "-c", "import time; time.sleep(100)")
	fmt.Fprintln(w, cmd.Run(), ctx.Err())
	ctx, cancel = context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd = exec.CommandContext(ctx, "/usr/bin/python3", "-S", "-c", "import sys; sys.exit(2)")
	fmt.Fprintln(w, cmd.Run(), ctx.Err())
}

func goGroups(w io.Writer) {
	for _, attr := range []*syscall.SysProcAttr{{Setpgid: true}, {Setsid: true}, {Pdeathsig: unix.SIGKILL}, {Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}} {
		cmd := py("say(os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid(), os.getuid(), os.getgid())")
		cmd.SysProcAttr = attr
		out, err := cmd.CombinedOutput()
		fmt.Fprintf(w, "%q %v\n", out, err)
	}
}

func goMany(w io.Writer) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	sum := 0
	for i := range 32 {
		wg.Go(func() {
			cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf("exit %d", i))
			_ = cmd.Run() // the status tells
			mu.Lock()
			sum += cmd.ProcessState.ExitCode()
			mu.Unlock()
		})
	}
	wg.Wait()
	fmt.Fprintln(w, sum)
}

func goPipes(w io.Writer) {
	a, b := py("[say(i) for i in range(1000)]"), py("say(sum(int(l) for l in sys.stdin))")
	var err error
	if b.Stdin, err = a.StdoutPipe(); err != nil {
		fmt.Fprintln(w, err)
		return
	}
	var out bytes.Buffer
	b.Stdout = &out
	fmt.Fprintln(w, b.Start(), a.Run(), b.Wait())
	fmt.Fprint(w, out.String())
	r, far, err := os.Pipe()
	if err != nil {
		fmt.Fprintln(w, err)
		return
	}
	cmd := py("os.write(3, b'through three')")
	cmd.ExtraFiles = []*os.File{far}
	fmt.Fprintln(w, cmd.Run(), far.Close())
	got, err := io.ReadAll(r)
	fmt.Fprintf(w, "%q %v\n", got, err)
}

func goErrors(w io.Writer) {
	for _, name := range []string{"/no/such/program", "/etc/passwd", "/etc", "nosuchprogram"} {
		err := exec.Command(name).Run()
		fmt.Fprintln(w, err, errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission))
	}
	cmd := py("pass")
	cmd.Dir = "/no/such/directory"
	fmt.Fprintln(w, cmd.Run())
}

func goUsage(w io.Writer) {
	cmd := py("e = time.process_time() + 0.3\nwhile time.process_time() < e: pass")
	err := cmd.Run()
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	fmt.Fprintln(w, err, used > 250*time.Millisecond, used < 5*time.Second)
}

func goNotify(w io.Writer) {
	ch := make(chan os.Signal, 10)
	signal.Notify(ch, unix.SIGUSR1, unix.SIGTERM, unix.SIGHUP, syscall.Signal(40))
	for _, sig := range []syscall.Signal{unix.SIGUSR1, unix.SIGTERM, unix.SIGHUP, 40} {
		fmt.Fprintln(w, unix.Kill(os.Getpid(), sig))
		select {
		case got := <-ch:
			fmt.Fprintln(w, got)
		case <-time.After(10 * time.Second):
			fmt.Fprintln(w, "TIMEOUT")
		}
	}
}

func goWaitid(w io.Writer) {
	cmd := py("say('ready'); forever()")
	out, err := cmd.StdoutPipe()
	if err != nil {
		fmt.Fprintln(w, err)
		return
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(w, err)
		return
	}
	pid := cmd.Process.Pid
	_, err = io.ReadFull(out, make([]byte, 6))
	fmt.Fprintln(w, err, unix.Kill(pid, unix.SIGSTOP))
	var ws unix.WaitStatus
	got, err := unix.Wait4(pid, &ws, unix.WUNTRACED, nil)
	fmt.Fprintln(w, got == pid, ws.Stopped(), ws.StopSignal(), err, unix.Kill(pid, unix.SIGCONT))
	got, err = unix.Wait4(pid, &ws, unix.WCONTINUED, nil)
	fmt.Fprintln(w, got == pid, ws.Continued(), err, unix.Kill(pid, unix.SIGKILL))
	got, err = unix.Wait4(pid, &ws, 0, nil)
	fmt.Fprintln(w, got == pid, ws.Signal(), err)
}
