package semantics

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keptTooLong is the exit status of keep when the case did not end by itself. None of the cases ends like that.
const keptTooLong = 199

// statusFD is where keep says how its command ended.
const statusFD = 3

// keep runs a command as its subreaper and tells how it ended. What it left behind, or what did not end within the limit, is killed:
// nothing of a case outlives it.
func keep(args []string) int {
	limit, err := time.ParseDuration(args[0])
	if err != nil || len(args) < 2 {
		fmt.Fprintln(os.Stderr, "keep: want a limit and a command")
		return 2
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "keep:", err)
		return 2
	}
	unix.CloseOnExec(statusFD)
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	file, err := lookPath(args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "keep:", err)
		return 127
	}
	pid, err := syscall.ForkExec(file, args[1:], &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		fmt.Fprintf(os.Stderr, "keep: %s: %v\n", file, err)
		return 127
	}
	late := time.NewTimer(limit)
	for {
		status, ended := reap(pid)
		if ended {
			sweep(pid)
			if _, err := unix.Write(statusFD, []byte(ending(status))); err != nil {
				fmt.Fprintln(os.Stderr, "keep:", err)
				return 2
			}
			return 0
		}
		select {
		case <-children:
		case <-late.C:
			fmt.Fprintf(os.Stderr, "keep: not within %v:\n%s", limit, tree(os.Getpid(), ""))
			sweep(pid)
			return keptTooLong
		}
	}
}

// reap waits for all that has ended and tells whether the command is among them.
func reap(command int) (status unix.WaitStatus, ended bool) {
	for {
		var st unix.WaitStatus
		pid, err := unix.Wait4(-1, &st, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || pid == 0:
			return status, ended
		case pid == command:
			status, ended = st, true
		}
	}
}

// sweep kills every descendant until there is none.
func sweep(command int) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		below := children(os.Getpid())
		if len(below) == 0 {
			return
		}
		for _, pid := range below {
			_ = unix.Kill(pid, unix.SIGKILL) // gone: it is reaped below
		}
		reap(command)
	}
}

// ending says how a process ended.
func ending(st unix.WaitStatus) string {
	switch {
	case st.Signaled() && st.CoreDump():
		return fmt.Sprintf("signal %d, core dumped", st.Signal())
	case st.Signaled():
		return fmt.Sprintf("signal %d", st.Signal())
	}
	return fmt.Sprintf("exit %d", st.ExitStatus())
}

// children gives those of a process, of all its threads.
func children(pid int) []int {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil
	}
	var all []int
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread is gone
		}
		for word := range bytes.FieldsSeq(text) {
			if n, err := strconv.Atoi(string(word)); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// tree shows what lives below a process, for a case that hangs.
func tree(pid int, indent string) string {
	var out strings.Builder
	for _, c := range children(pid) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", c)) // gone meanwhile: empty
		if len(line) > 300 {
			line = line[:300]
		}
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", c))
		fmt.Fprintf(&out, "%s%d %q %s\n", indent, c, bytes.ReplaceAll(line, []byte{0}, []byte{' '}), stat)
		out.WriteString(tree(c, indent+"  "))
	}
	return out.String()
}

func lookPath(name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: not found", name)
}
