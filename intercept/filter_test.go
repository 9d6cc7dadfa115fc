package intercept

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// verdict runs the program as the kernel would, for the instructions it uses.
func verdict(t interface{ Fatalf(string, ...any) }, prog []unix.SockFilter, arch, nr uint32, args [6]uint64) uint32 {
	var data [64]byte
	binary.LittleEndian.PutUint32(data[0:], nr)
	binary.LittleEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.LittleEndian.PutUint64(data[16+8*i:], a)
	}
	var acc uint32
	for pc := 0; pc < len(prog); pc++ {
		switch in := prog[pc]; in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[in.K:])
		case unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K:
			acc >>= in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if acc == in.K {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			if acc >= in.K {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			if acc > in.K {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			if acc&in.K != 0 {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %d: code %#x", pc, in.Code)
		}
	}
	t.Fatalf("the program has no end")
	return 0
}

func TestFilter(t *testing.T) {
	prog, err := Filter()
	if err != nil {
		t.Fatal(err)
	}
	const foreign = 5<<16 | 77
	all := func(v int64) uint64 { return uint64(v) }
	for _, c := range []struct {
		name   string
		nr     uint32
		args   [6]uint64
		notify bool
	}{
		{"execve", unix.SYS_EXECVE, [6]uint64{}, true},
		{"execveat", unix.SYS_EXECVEAT, [6]uint64{}, true},
		{"getpid", unix.SYS_GETPID, [6]uint64{foreign}, false},
		{"kill here", unix.SYS_KILL, [6]uint64{77, 15}, false},
		{"kill the top pid of here", unix.SYS_KILL, [6]uint64{32767, 15}, false},
		{"kill a leased pid", unix.SYS_KILL, [6]uint64{32768, 15}, true},
		{"kill the last leased pid", unix.SYS_KILL, [6]uint64{65535, 15}, true},
		{"a negative leased thread", unix.SYS_TKILL, [6]uint64{all(-32769), 15}, true},
		{"kill there", unix.SYS_KILL, [6]uint64{foreign, 15}, true},
		{"kill there, dirty high half", unix.SYS_KILL, [6]uint64{0xdead<<32 | foreign, 15}, true},
		{"kill all", unix.SYS_KILL, [6]uint64{all(-1), 15}, true},
		{"kill all, 32 bits", unix.SYS_KILL, [6]uint64{0xffffffff, 15}, true},
		{"kill a group here", unix.SYS_KILL, [6]uint64{all(-77), 15}, true},
		{"kill the own group", unix.SYS_KILL, [6]uint64{0, 15}, true},
		{"kill the own group, dirty high half", unix.SYS_KILL, [6]uint64{0xdead << 32, 15}, true},
		{"a negative thread", unix.SYS_TKILL, [6]uint64{all(-77), 15}, false},
		{"kill a group there", unix.SYS_KILL, [6]uint64{all(-foreign), 15}, true},
		{"stop here", unix.SYS_KILL, [6]uint64{77, 19}, true},
		{"tgkill, second pid there", unix.SYS_TGKILL, [6]uint64{77, foreign, 15}, true},
		{"tgkill here", unix.SYS_TGKILL, [6]uint64{77, 78, 15}, false},
		{"tgkill stop", unix.SYS_TGKILL, [6]uint64{77, 78, 19}, true},
		{"setpgid 0 there", unix.SYS_SETPGID, [6]uint64{0, foreign}, true},
		{"priority of a process there", unix.SYS_GETPRIORITY, [6]uint64{unix.PRIO_PROCESS, foreign}, true},
		{"priority of a user", unix.SYS_GETPRIORITY, [6]uint64{unix.PRIO_USER, foreign}, false},
		{"waitid on a pidfd", unix.SYS_WAITID, [6]uint64{unix.P_PIDFD, foreign}, false},
		{"waitid there", unix.SYS_WAITID, [6]uint64{unix.P_PID, foreign}, true},
		{"wait for any", unix.SYS_WAIT4, [6]uint64{all(-1)}, false},
		{"set the own priority", unix.SYS_SETPRIORITY, [6]uint64{unix.PRIO_PROCESS, 0, 5}, false},
		{"set another's priority", unix.SYS_SETPRIORITY, [6]uint64{unix.PRIO_PROCESS, 77, 5}, true},
		{"set a group's priority", unix.SYS_SETPRIORITY, [6]uint64{unix.PRIO_PGRP, 77, 5}, true},
		{"set a user's priority", unix.SYS_SETPRIORITY, [6]uint64{unix.PRIO_USER, 77, 5}, false},
		{"set another's priority of input and output", unix.SYS_IOPRIO_SET, [6]uint64{1, 77, 5}, true},
		{"get another's priority", unix.SYS_GETPRIORITY, [6]uint64{unix.PRIO_PROCESS, 77}, false},
		{"set the own CPUs", unix.SYS_SCHED_SETAFFINITY, [6]uint64{0, 8}, false},
		{"set another's CPUs", unix.SYS_SCHED_SETAFFINITY, [6]uint64{77, 8}, true},
		{"get another's CPUs", unix.SYS_SCHED_GETAFFINITY, [6]uint64{77, 8}, false},
		{"set another's scheduler", unix.SYS_SCHED_SETSCHEDULER, [6]uint64{77}, true},
		{"set another's parameters", unix.SYS_SCHED_SETPARAM, [6]uint64{77}, true},
		{"set another's attributes", unix.SYS_SCHED_SETATTR, [6]uint64{77}, true},
		{"get another's limit", unix.SYS_PRLIMIT64, [6]uint64{77, 7, 0, 0x7fff0000}, false},
		{"set another's limit", unix.SYS_PRLIMIT64, [6]uint64{77, 7, 0x7fff0000, 0}, true},
		{"set another's limit, low half of the address null", unix.SYS_PRLIMIT64, [6]uint64{77, 7, 1 << 32, 0}, true},
		{"set the own limit", unix.SYS_PRLIMIT64, [6]uint64{0, 7, 0x7fff0000, 0}, false},
		{"get a limit there", unix.SYS_PRLIMIT64, [6]uint64{foreign, 7, 0, 0x7fff0000}, true},
		{"set a limit there", unix.SYS_PRLIMIT64, [6]uint64{foreign, 7, 0x7fff0000, 0}, true},
		{"trace there", unix.SYS_PTRACE, [6]uint64{unix.PTRACE_SEIZE, foreign}, true},
	} {
		got := verdict(t, prog, auditArch, c.nr, c.args)
		want := uint32(unix.SECCOMP_RET_ALLOW)
		if c.notify {
			want = unix.SECCOMP_RET_USER_NOTIF
		}
		if got != want {
			t.Errorf("%s: verdict %#x, want %#x", c.name, got, want)
		}
		if got := verdict(t, prog, unix.AUDIT_ARCH_I386, c.nr, c.args); got != unix.SECCOMP_RET_ALLOW {
			t.Errorf("%s from a 32-bit program: verdict %#x", c.name, got)
		}
	}
}

// TestLocalNeverLooked: whatever the call, local pids and no SIGSTOP mean that only exec is seen, kill of a process group, and what changes
// another process.
func TestLocalNeverLooked(t *testing.T) {
	prog, err := Filter()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		nr := rapid.Uint32Range(0, 600).Draw(t, "nr")
		var args [6]uint64
		for i := range args {
			v := rapid.Int64Range(-32768, 32767).Filter(func(v int64) bool { return v != 19 }).Draw(t, "arg")
			args[i] = uint64(v)
		}
		want := uint32(unix.SECCOMP_RET_ALLOW)
		seen := false
		switch nr {
		case unix.SYS_EXECVE, unix.SYS_EXECVEAT:
			seen = true
		case unix.SYS_KILL:
			seen = int64(args[0]) <= 0
		case unix.SYS_SETPRIORITY:
			seen = args[1] != 0 && args[0] != unix.PRIO_USER
		case unix.SYS_IOPRIO_SET:
			seen = args[1] != 0 && args[0] != ioprioWhoUser
		case unix.SYS_PRLIMIT64:
			seen = args[0] != 0 && args[2] != 0
		case unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETATTR:
			seen = args[0] != 0
		}
		if seen {
			want = unix.SECCOMP_RET_USER_NOTIF
		}
		if got := verdict(t, prog, auditArch, nr, args); got != want {
			t.Fatalf("call %d%v: verdict %#x", nr, args, got)
		}
	})
}
