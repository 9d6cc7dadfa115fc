package intercept

import (
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestNestFilter(t *testing.T) {
	const pass, foreign, home, own = 0x1234_5678_9abc_def0, 5<<16 | 77, 77, 33500
	prog, err := Nests{First: 33000, Last: 34023, Pass: pass}.Filter()
	if err != nil {
		t.Fatal(err)
	}
	minus := func(v int64) uint64 { return uint64(-v) }
	for _, c := range []struct {
		name string
		nr   uint32
		args [6]uint64
		want uint32
	}{
		{"execve", unix.SYS_EXECVE, [6]uint64{}, unix.SECCOMP_RET_ALLOW},
		{"getpid", unix.SYS_GETPID, [6]uint64{foreign}, unix.SECCOMP_RET_ALLOW},
		{"clone of a process", unix.SYS_CLONE, [6]uint64{uint64(unix.SIGCHLD) | unix.CLONE_CHILD_SETTID, 0, pass}, unix.SECCOMP_RET_ALLOW},
		{"clone of a process by vfork", unix.SYS_CLONE, [6]uint64{uint64(unix.SIGCHLD) | unix.CLONE_VM | unix.CLONE_VFORK}, unix.SECCOMP_RET_ALLOW},
		{"clone of a thread", unix.SYS_CLONE, [6]uint64{unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND, 0, pass}, unix.SECCOMP_RET_USER_NOTIF},
		{"clone3", unix.SYS_CLONE3, [6]uint64{1, 88}, unix.SECCOMP_RET_USER_NOTIF},
		{"clone3 with half of the pass", unix.SYS_CLONE3, [6]uint64{1, 88, pass & 0xffffffff}, unix.SECCOMP_RET_USER_NOTIF},
		{"clone3 with the other half", unix.SYS_CLONE3, [6]uint64{1, 88, pass &^ 0xffffffff}, unix.SECCOMP_RET_USER_NOTIF},
		{"clone3 of the init", unix.SYS_CLONE3, [6]uint64{1, 88, pass}, unix.SECCOMP_RET_ALLOW},
		{"getppid", unix.SYS_GETPPID, [6]uint64{}, unix.SECCOMP_RET_USER_NOTIF},
		{"getpgid of its own", unix.SYS_GETPGID, [6]uint64{own}, unix.SECCOMP_RET_USER_NOTIF},
		{"setsid", unix.SYS_SETSID, [6]uint64{}, unix.SECCOMP_RET_USER_NOTIF},
		{"setpgid", unix.SYS_SETPGID, [6]uint64{}, unix.SECCOMP_RET_USER_NOTIF},
		{"setpgid of the init's child", unix.SYS_SETPGID, [6]uint64{0, 0, pass}, unix.SECCOMP_RET_ALLOW},
		{"kill its own", unix.SYS_KILL, [6]uint64{own, 9}, unix.SECCOMP_RET_ALLOW},
		{"stop its own", unix.SYS_KILL, [6]uint64{own, uint64(unix.SIGSTOP)}, unix.SECCOMP_RET_ALLOW},
		{"kill its own, dirty high half", unix.SYS_KILL, [6]uint64{0xdead<<32 | own, 9}, unix.SECCOMP_RET_ALLOW},
		{"kill one of the home", unix.SYS_KILL, [6]uint64{home, 9}, unix.SECCOMP_RET_USER_NOTIF},
		{"kill one of another nest", unix.SYS_KILL, [6]uint64{34024, 9}, unix.SECCOMP_RET_USER_NOTIF},
		{"kill one of another nest below", unix.SYS_KILL, [6]uint64{32999, 9}, unix.SECCOMP_RET_USER_NOTIF},
		{"kill a foreigner", unix.SYS_KILL, [6]uint64{foreign, 9}, unix.SECCOMP_RET_USER_NOTIF},
		{"kill a foreigner whose number looks like its own", unix.SYS_KILL, [6]uint64{5<<16 | own, 9}, unix.SECCOMP_RET_USER_NOTIF},
		{"kill the group", unix.SYS_KILL, [6]uint64{0, 9}, unix.SECCOMP_RET_USER_NOTIF},
		{"kill a group of its own", unix.SYS_KILL, [6]uint64{minus(own), 9}, unix.SECCOMP_RET_USER_NOTIF},
		{"kill all", unix.SYS_KILL, [6]uint64{minus(1), 9}, unix.SECCOMP_RET_USER_NOTIF},
		{"tgkill in the init", unix.SYS_TGKILL, [6]uint64{1, 5, 23}, unix.SECCOMP_RET_ALLOW},
		{"tgkill of its own", unix.SYS_TGKILL, [6]uint64{own, own + 1, 23}, unix.SECCOMP_RET_ALLOW},
		{"tgkill of a job's thread", unix.SYS_TGKILL, [6]uint64{home, own, 23}, unix.SECCOMP_RET_USER_NOTIF},
		{"tgkill of another", unix.SYS_TGKILL, [6]uint64{own, home, 23}, unix.SECCOMP_RET_USER_NOTIF},
		{"the caller's priority", unix.SYS_SETPRIORITY, [6]uint64{unix.PRIO_PROCESS, 0, 3}, unix.SECCOMP_RET_ALLOW},
		{"another's priority", unix.SYS_SETPRIORITY, [6]uint64{unix.PRIO_PROCESS, home, 3}, unix.SECCOMP_RET_USER_NOTIF},
		{"a user's priority", unix.SYS_SETPRIORITY, [6]uint64{unix.PRIO_USER, 1000, 3}, unix.SECCOMP_RET_ALLOW},
		{"the caller's limits", unix.SYS_PRLIMIT64, [6]uint64{0, 7}, unix.SECCOMP_RET_ALLOW},
		{"wait for a group of the home", unix.SYS_WAIT4, [6]uint64{minus(home)}, unix.SECCOMP_RET_ALLOW},
		{"pidfd_open", unix.SYS_PIDFD_OPEN, [6]uint64{home}, unix.SECCOMP_RET_USER_NOTIF},
	} {
		if got := verdict(t, prog, auditArch, c.nr, c.args); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
	}
	for _, c := range []struct{ nr, flags, want uint32 }{
		{435, 0, unix.SECCOMP_RET_USER_NOTIF},
		{compatClone, unix.CLONE_VM, unix.SECCOMP_RET_USER_NOTIF},
		{compatClone, 0, unix.SECCOMP_RET_ALLOW},
		{2, 0, unix.SECCOMP_RET_ALLOW},
		{190, 0, unix.SECCOMP_RET_ALLOW},
		{20, 0, unix.SECCOMP_RET_ALLOW}, // 20 is getpid there
	} {
		if got := verdict(t, prog, compatArch, c.nr, [6]uint64{uint64(c.flags)}); got != c.want {
			t.Errorf("call %d of a 32-bit program, flags %#x: %#x, want %#x", c.nr, c.flags, got, c.want)
		}
	}
	every, err := Nests{First: 33000, Last: 34023, Pass: pass, Forks: true}.Filter()
	if err != nil {
		t.Fatal(err)
	}
	for arch, nrs := range map[uint32][]uint32{auditArch: append([]uint32{unix.SYS_CLONE}, moreForks...), compatArch: {2, 190, compatClone}} {
		for _, nr := range nrs {
			if got := verdict(t, every, arch, nr, [6]uint64{uint64(unix.SIGCHLD)}); got != unix.SECCOMP_RET_USER_NOTIF {
				t.Errorf("fork by call %d of %#x: %#x", nr, arch, got)
			}
		}
	}
	if otherNumbers != 0 {
		if got := verdict(t, prog, auditArch, otherNumbers+57, [6]uint64{}); got != unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS) {
			t.Errorf("fork by x32's number: %#x", got)
		}
	}
	rapid.Check(t, func(t *rapid.T) { // every call gets some verdict
		nr := rapid.Uint32Range(0, 600).Draw(t, "nr")
		pid := uint64(rapid.Uint32().Draw(t, "pid"))
		verdict(t, prog, auditArch, nr, [6]uint64{pid, pid, pid})
	})
}
