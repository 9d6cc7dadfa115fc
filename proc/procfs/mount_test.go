package procfs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if Reexec(os.Args) {
		return
	}
	os.Exit(m.Run())
}

// private gives this test's thread a mount name space of its own; the thread ends with the test.
func private(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
}

// sh runs a script, which sees the mounts of this thread.
func sh(t *testing.T, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "bash", "-c", script).CombinedOutput()
	if err != nil {
		out = append(out, (err.Error() + "\n")...)
	}
	return string(out)
}

// TestNative: what is of this host is as in the native /proc. There is no daemon, so nothing else is there.
func TestNative(t *testing.T) {
	private(t)
	dir := t.TempDir()
	s, err := New(Config{ControlPath: filepath.Join(dir, "none"), Dir: dir, Native: "/proc"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Attach(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Wait(ctx); err != nil {
			t.Error(err)
		}
	}()
	sleeper := exec.Command("bash", "-c", "exec 5>"+dir+"-gone; rm "+dir+"-gone; echo kept >&5; exec sleep 1000")
	sleeper.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	sleeper.Dir, sleeper.Env = "/", []string{"PATH=" + os.Getenv("PATH"), "SECRET=1"}
	stdin, err := sleeper.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	if err := os.Chmod(filepath.Dir(dir), 0o777); err != nil { // for the user's file
		t.Fatal(err)
	}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sleeper.Process.Kill()
		_ = sleeper.Wait() // killed
	}()
	pid := sleeper.Process.Pid
	for end := time.Now().Add(10 * time.Second); strings.TrimSpace(sh(t, fmt.Sprintf("cat /proc/%d/comm", pid))) != "sleep"; {
		if time.Now().After(end) {
			t.Fatal("it does not sleep")
		}
	}
	const same = ` < /dev/null`
	for _, c := range []string{
		"grep -v -e ctxt -e SigQ P/status; cat P/cmdline P/environ P/limits P/maps", "cut -d' ' -f 1-9,18-24 P/stat",
		"ls P; ls P/task; ls -l P/ | wc -l", "stat -c '%F %U %a' P P/fd P/task P/task/PID",
		"readlink P/exe P/cwd P/root P/fd/0 P/ns/net", "stat -L -c %i P/fd/0 P/ns/net", "cat P/fd/5", "nsenter --net=P/ns/net true && echo in",
		"cat P/fd/0" + same + " & sleep .1; kill $!; wait $!; echo $?",
		"ls P/fd", "ls -l P/fd | wc -l", "cat P/nothing", "ls P/fd/99", "cat P/task/PID/comm",
		"cat D/version D/self/comm D/meminfo | head -3", "cat D/filesystems", "ls D/self/task | wc -l", "cat D/thread-self/comm",
		"ls -d D/1 D/acpi D/nothing D/0 D/01 D/-1 D/99999999999", "cat D/sys/kernel/pid_max", "find D -maxdepth 1 -type d -name PID 2>/dev/null | wc -l",
		"setpriv --reuid 65534 --clear-groups cat P/environ", "setpriv --reuid 65533 --clear-groups cat P/environ",
		"setpriv --reuid 65533 --clear-groups ls P/fd", "setpriv --reuid 65533 --clear-groups readlink P/exe", "setpriv --reuid 65533 --clear-groups cat P/comm",
		"cd P && pwd -P | tail -c 3; cat comm", "cd P/task/PID && cat comm", "[ P/exe -ef /bin/sleep ] && echo same",
		"echo x > P/comm; cat P/comm", "echo 500 > P/oom_score_adj; cat P/oom_score_adj",
	} {
		ask := func(d string) string {
			script := strings.NewReplacer("PID", fmt.Sprint(pid), "P/", fmt.Sprintf("%s/%d/", d, pid), " P ", fmt.Sprintf(" %s/%d ", d, pid), "D", d).Replace(c)
			return strings.ReplaceAll(strings.ReplaceAll(sh(t, script), d, "D"), "/proc/", "D/") // messages name the file
		}
		if want, got := ask("/proc"), ask(dir); got != want {
			g, w := strings.SplitAfter(got, "\n"), strings.SplitAfter(want, "\n")
			for len(g) > 1 && len(w) > 1 && g[0] == w[0] {
				g, w = g[1:], w[1:]
			}
			t.Errorf("%s: after %d lines: %.200q; in the native /proc: %.200q", c, strings.Count(got, "\n")-len(g)+1, g[0], w[0])
		}
	}
	// A descriptor of a process's directory is the kernel's, and one can refuse to follow links.
	fd := func(flags int) int {
		fd, err := unix.Open(fmt.Sprintf("%s/%d", dir, pid), unix.O_DIRECTORY|unix.O_CLOEXEC|flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	for range 3 {
		kernels, ours := fd(0), fd(unix.O_NOFOLLOW)
		if err := unix.PidfdSendSignal(kernels, 0, nil, 0); err != nil {
			t.Errorf("a signal by the directory's descriptor: %v", err)
		}
		var st unix.Statfs_t
		if err := unix.Fstatfs(ours, &st); err != nil || st.Type != unix.FUSE_SUPER_MAGIC {
			t.Errorf("no link was followed, and yet: %x, %v", st.Type, err)
		}
		unix.Close(kernels)
		unix.Close(ours)
	}
}

// TestStay: whoever of the two that stay is killed, nothing is left.
func TestStay(t *testing.T) {
	private(t)
	for _, end := range []string{"", keeperName, serverName} {
		dir := t.TempDir()
		// The thread that calls has the mounts, and the children of it.
		if err := Mount(t.Context(), filepath.Join(dir, "none"), dir); err != nil {
			t.Fatal(err)
		}
		if is, err := mounted(dir); !is || err != nil {
			t.Fatalf("mounted: %v, %v", is, err)
		}
		if out := sh(t, "cat "+dir+"/self/comm"); out != "cat\n" {
			t.Errorf("%q", out)
		}
		if end == "" {
			if err := Unmount(dir); err != nil {
				t.Error(err)
			}
		} else {
			sh(t, "pkill -9 -f '^"+end+" .* "+dir+"$'")
		}
		for limit := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			is, err := mounted(dir)
			left := sh(t, "pgrep -f '^onehost-proc.* "+dir+"$' || true")
			if !is && err == nil && left == "" {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("%q killed: mounted: %v, %v; processes: %q", end, is, err, left)
			}
		}
		if err := Unmount(dir); err == nil {
			t.Error("it was unmounted twice")
		}
	}
	for dir, want := range map[string]string{"/proc": "must stay", "/proc/self": "must stay", "/nothing": "no such file", "/dev/null": "not a directory"} {
		if err := Mount(t.Context(), "", dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
