package proc

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/onehost/onehost/names"
)

// subject starts a process of the user with a long environment, and many descriptors if wanted.
func subject(t *testing.T, env string, descriptors int) int {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.Env = []string{"SUBJECT=" + env}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for range descriptors {
		cmd.ExtraFiles = append(cmd.ExtraFiles, null)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	pid := cmd.Process.Pid
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // Start returns at the exec, before the kernel has all of it
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err == nil && len(b) > len(env) {
			return pid
		}
		if time.Now().After(end) {
			t.Fatal("the process has no environment")
		}
	}
}

// TestLook: what each caller sees of a user's process is what the kernel shows to such a one, by a link too.
func TestLook(t *testing.T) {
	needRoot(t)
	pid := subject(t, "secret", 0)
	const no = syscall.EACCES
	for _, c := range []struct {
		look   Look
		others syscall.Errno // what one who is neither root nor the user gets
		want   string        // is in what is seen
	}{
		{Look{Kind: LookStat}, 0, ""},
		{Look{Kind: LookRead, Path: "status", Size: MaxView}, 0, "Name:\tsleep\n"},
		{Look{Kind: LookRead, Path: "cmdline", Size: MaxView}, 0, "sleep\x001000\x00"},
		{Look{Kind: LookRead, Path: "limits", Size: MaxView}, 0, "Max open files"},
		{Look{Kind: LookRead, Path: "environ", Size: MaxView}, no, "SUBJECT=secret\x00"},
		{Look{Kind: LookRead, Path: "maps", Size: MaxView}, no, "[stack]\n"},
		{Look{Kind: LookRead, Path: fmt.Sprintf("task/%d/environ", pid), Size: MaxView}, no, "SUBJECT=secret\x00"},
		{Look{Kind: LookRead, Path: "io", Size: MaxView}, no, "rchar"},
		{Look{Kind: LookLink, Path: "exe"}, no, "sleep"},
		{Look{Kind: LookLink, Path: "fd/0"}, no, "/dev/null"},
		{Look{Kind: LookList, Path: "fd"}, no, "0 1 2 "},
		{Look{Kind: LookList, Path: "task"}, 0, fmt.Sprint(pid, " ")},
		{Look{Kind: LookList}, 0, "status "},
		{Look{Kind: LookRead, Path: "nothing", Size: MaxView}, syscall.ENOENT, ""},
	} {
		for who, caller := range map[string]*Caller{"daemon": Daemon, "root": root(), "user": callerOf(user), "other": callerOf(other)} {
			want := syscall.Errno(0)
			if who == "other" || c.others == syscall.ENOENT {
				want = c.others
			}
			for way, p := range map[string]Process{"here": Here(pid), "there": &Remote{Pid: names.MakePid(3, pid), To: 3, By: wire{Here(pid)}}} {
				views, err := p.Look(t.Context(), caller, []Look{c.look})
				if err != nil || len(views) != 1 {
					t.Errorf("%+v by %s %s: %v, %v", c.look, who, way, views, err)
					continue
				}
				v := views[0]
				text := string(v.Data)
				for _, e := range v.Entries {
					text += e.Name + " "
				}
				if v.Errno != want || v.Errno == 0 && !strings.Contains(text, c.want) {
					t.Errorf("%+v by %s %s: %v %q; want %v %q", c.look, who, way, v.Errno, text, want, c.want)
				}
				if c.look.Kind == LookStat && (v.UID != user || v.GID != user || v.Mode != syscall.S_IFDIR|0o555) {
					t.Errorf("%s %s: its directory: %+v", who, way, v)
				}
				if c.look.Kind == LookRead && v.Errno == 0 && (v.Mode&syscall.S_IFMT != syscall.S_IFREG || v.UID != user || v.More) {
					t.Errorf("%+v by %s %s: %+v", c.look, who, way, v)
				}
			}
		}
	}
}

// TestLookAtTheDaemon: the child that looks for a user has this process's memory, or is its child; to the user that opens nothing.
func TestLookAtTheDaemon(t *testing.T) {
	needRoot(t)
	var looks []Look
	for _, file := range []string{"environ", "maps", "smaps", "smaps_rollup", "numa_maps", "auxv", "task/" + itoa(os.Getpid()) + "/environ"} {
		looks = append(looks, Look{Kind: LookRead, Path: file, Size: MaxView})
	}
	looks = append(looks, Look{Kind: LookList, Path: "map_files"}, Look{Kind: LookList, Path: "fd"}, Look{Kind: LookLink, Path: "exe"})
	views, err := Here(os.Getpid()).Look(t.Context(), callerOf(user), looks)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range views {
		if v.Errno != syscall.EACCES && v.Errno != syscall.EPERM && v.Errno != syscall.ENOENT { // not every kernel has each
			t.Errorf("%+v: %v, %d bytes, %d names", looks[i], v.Errno, len(v.Data), len(v.Entries))
		}
	}
	if _, errno := views[0].Data, views[0].Errno; errno != syscall.EACCES {
		t.Errorf("environ: %v", errno)
	}
}

// TestLookOnly: nothing is looked at but the process itself.
func TestLookOnly(t *testing.T) {
	for path, want := range map[string]syscall.Errno{
		"../1/environ": syscall.ENOENT, "./environ": syscall.ENOENT, "/etc/passwd": syscall.ENOENT, "root/etc/shadow": syscall.ENOENT, "cwd/x": syscall.ENOENT,
		"task/../environ": syscall.ENOENT, "task/x/environ": syscall.ENOENT, "fd/3/x": syscall.ENOENT, "exe/": syscall.ENOENT, "a\x00b": syscall.ENOENT, "task/7/task/7/stat": syscall.ENOENT,
		"mem": syscall.EOPNOTSUPP, "fd/0": syscall.EOPNOTSUPP, "task/7/fd/0": syscall.EOPNOTSUPP, "pagemap": syscall.EOPNOTSUPP, "clear_refs": syscall.EOPNOTSUPP,
	} {
		views, err := Here(os.Getpid()).Look(t.Context(), Daemon, []Look{{Kind: LookRead, Path: path, Size: 10}})
		if err != nil || views[0].Errno != want {
			t.Errorf("%q: %v, %v; want %v", path, views, err, want)
		}
	}
	for _, l := range []Look{{}, {Kind: 9}, {Kind: LookRead, Path: "stat"}, {Kind: LookRead, Path: "stat", Size: MaxView + 1}, {Kind: LookRead, Path: "stat", Size: 1, Offset: -1}} {
		views, err := Here(os.Getpid()).Look(t.Context(), Daemon, []Look{l})
		if err != nil || views[0].Errno != syscall.EINVAL {
			t.Errorf("%+v: %v, %v", l, views, err)
		}
	}
	if _, err := Here(os.Getpid()).Look(t.Context(), Daemon, make([]Look, MaxLooks+1)); err == nil {
		t.Error("any number of looks")
	}
}

// TestLookInPieces: what is longer than one answer comes in several, whoever reads it.
func TestLookInPieces(t *testing.T) {
	needRoot(t)
	long := strings.Repeat("0123456789", 10000)
	pid := subject(t, long, 2500)
	for who, caller := range map[string]*Caller{"daemon": Daemon, "user": callerOf(user)} {
		var all []byte
		for more := true; more; {
			views, err := Here(pid).Look(t.Context(), caller, []Look{{Kind: LookRead, Path: "environ", Offset: int64(len(all)), Size: MaxView}})
			if err != nil || views[0].Errno != 0 || len(views[0].Data) > MaxView {
				t.Fatalf("%s: %v, %v", who, views, err)
			}
			all, more = append(all, views[0].Data...), views[0].More
		}
		if !bytes.Equal(all, []byte("SUBJECT="+long+"\x00")) {
			t.Errorf("%s: an environment of %d bytes: %.30q", who, len(all), all)
		}
		seen := map[string]bool{}
		for more := true; more; {
			views, err := Here(pid).Look(t.Context(), caller, []Look{{Kind: LookList, Path: "fd", Offset: int64(len(seen))}})
			if err != nil || views[0].Errno != 0 || len(views[0].Entries) > MaxEntries {
				t.Fatalf("%s: %v, %v", who, views, err)
			}
			for _, e := range views[0].Entries {
				if seen[e.Name] {
					t.Fatalf("%s: %s twice", who, e.Name)
				}
				seen[e.Name] = true
			}
			more = views[0].More && len(views[0].Entries) > 0
		}
		if len(seen) != 2503 {
			t.Errorf("%s: %d descriptors", who, len(seen))
		}
	}
}

// TestLookGone: of a process that has ended nothing is seen.
func TestLookGone(t *testing.T) {
	needRoot(t)
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	for who, caller := range map[string]*Caller{"daemon": Daemon, "user": callerOf(user)} {
		views, err := Here(cmd.Process.Pid).Look(t.Context(), caller, []Look{{Kind: LookStat}, {Kind: LookRead, Path: "stat", Size: 100}})
		if err != nil || views[0].Errno != syscall.ENOENT || views[1].Errno != syscall.ENOENT {
			t.Errorf("%s: %v, %v", who, views, err)
		}
	}
}

// BenchmarkLook reads what ps reads of a process, for this daemon and for a user.
func BenchmarkLook(b *testing.B) {
	pid := sleeper(b, user).Process.Pid
	looks := []Look{
		{Kind: LookStat},
		{Kind: LookRead, Path: "stat", Size: 8 << 10},
		{Kind: LookRead, Path: "status", Size: 8 << 10},
		{Kind: LookRead, Path: "cmdline", Size: 8 << 10},
	}
	for name, who := range map[string]*Caller{"daemon": Daemon, "user": callerOf(user)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Here(pid).Look(b.Context(), who, looks); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
