package intercept

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// rule says when a system call is notified.
type rule struct {
	nr     uint32
	always bool
	pids   []int // arguments that hold pids: notified if one of them is not this kernel's own
	stop   int   // argument that holds a signal, or -1: notified if it is SIGSTOP
	group  bool  // the first argument names a process group if it is 0 or negative: notified then
	which  int   // argument that says what kind of number the pid argument holds, or -1
	not    []int // values of it that say the number is no pid
	pgrp   int   // value of it that says the number is a process group's
	sets   bool  // it changes something of the process: notified if the pid is not 0, for it may be a ghost's
	given  int   // argument that is null if nothing is to be changed, or -1
}

func always(nr uint32) rule { return rule{nr: nr, always: true, stop: -1, which: -1, given: -1} }
func pids(nr uint32, args ...int) rule {
	return rule{nr: nr, pids: args, stop: -1, which: -1, given: -1}
}
func (r rule) orStop(arg int) rule { r.stop = arg; return r }
func (r rule) orGroup() rule       { r.group = true; return r }
func (r rule) unless(values ...int) rule {
	r.which, r.not = 0, values
	return r
}
func (r rule) setting() rule            { r.sets = true; return r }
func (r rule) settingAll(pgrp int) rule { r.sets, r.pgrp = true, pgrp; return r }
func (r rule) settingIf(arg int) rule   { r.sets, r.given = true, arg; return r }

// namesGroup reports whether the number of a call is a process group's.
func (r rule) namesGroup(n *Notification) bool {
	return r.which >= 0 && r.pgrp != 0 && int(uint32(n.Args[r.which])) == r.pgrp
}

// table lists of what is looked at, the frequent ones first: the filter compares numbers in this order.
func table() []rule {
	return []rule{
		always(unix.SYS_EXECVE),
		always(unix.SYS_EXECVEAT),
		pids(unix.SYS_WAIT4, 0),
		// SIGSTOP cannot be blocked: a ghost would stop without its process hearing of it.
		// Nor can a ghost tell that a signal went to all of its group, as which it must reach the group elsewhere.
		pids(unix.SYS_KILL, 0).orStop(1).orGroup(),
		pids(unix.SYS_TKILL, 0).orStop(1),
		pids(unix.SYS_TGKILL, 0, 1).orStop(2),
		pids(unix.SYS_RT_SIGQUEUEINFO, 0).orStop(1),
		pids(unix.SYS_RT_TGSIGQUEUEINFO, 0, 1).orStop(2),
		pids(unix.SYS_WAITID, 1).unless(unix.P_PIDFD),
		pids(unix.SYS_PIDFD_OPEN, 0),
		pids(unix.SYS_SETPGID, 0, 1),
		pids(unix.SYS_GETPGID, 0),
		pids(unix.SYS_GETSID, 0),
		pids(unix.SYS_GETPRIORITY, 1).unless(unix.PRIO_USER),
		pids(unix.SYS_SETPRIORITY, 1).unless(unix.PRIO_USER).settingAll(unix.PRIO_PGRP),
		pids(unix.SYS_IOPRIO_GET, 1).unless(ioprioWhoUser),
		pids(unix.SYS_IOPRIO_SET, 1).unless(ioprioWhoUser).settingAll(ioprioWhoGroup),
		pids(unix.SYS_PRLIMIT64, 0).settingIf(2),
		pids(unix.SYS_SCHED_SETAFFINITY, 0).setting(),
		pids(unix.SYS_SCHED_GETAFFINITY, 0),
		pids(unix.SYS_SCHED_SETSCHEDULER, 0).setting(),
		pids(unix.SYS_SCHED_GETSCHEDULER, 0),
		pids(unix.SYS_SCHED_SETPARAM, 0).setting(),
		pids(unix.SYS_SCHED_GETPARAM, 0),
		pids(unix.SYS_SCHED_SETATTR, 0).setting(),
		pids(unix.SYS_SCHED_GETATTR, 0),
		pids(unix.SYS_SCHED_RR_GET_INTERVAL, 0),
		pids(unix.SYS_PTRACE, 1),
		pids(unix.SYS_PROCESS_VM_READV, 0),
		pids(unix.SYS_PROCESS_VM_WRITEV, 0),
		pids(unix.SYS_KCMP, 0, 1),
		pids(unix.SYS_MIGRATE_PAGES, 0),
		pids(unix.SYS_MOVE_PAGES, 0),
		pids(unix.SYS_GET_ROBUST_LIST, 0),
	}
}

// What the number of ioprio_set is: IOPRIO_WHO_PGRP, IOPRIO_WHO_USER.
const (
	ioprioWhoGroup = 2
	ioprioWhoUser  = 3
)

// Offsets in struct seccomp_data.
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

// low is the offset of the low 32 bits of an argument, on the little-endian machines we run on.
func low(arg int) uint32 { return uint32(offArgs + 8*arg) }

// Filter builds the program. Calls of another architecture (a 32-bit program) are all let through: they run at home.
func Filter() ([]unix.SockFilter, error) {
	var b builder
	b.load(offArch)
	b.skipIf(auditArch, 1)
	b.ret(unix.SECCOMP_RET_ALLOW)
	b.load(offNr)
	for _, r := range table() {
		if err := b.rule(r.nr, r.body()); err != nil {
			return nil, err
		}
	}
	b.ret(unix.SECCOMP_RET_ALLOW)
	return b.prog, nil
}

// body is what follows once the number matched; it ends in a verdict on every path.
func (r rule) body() []unix.SockFilter {
	var b builder
	if r.always {
		b.ret(unix.SECCOMP_RET_USER_NOTIF)
		return b.prog
	}
	if r.which >= 0 {
		b.load(low(r.which))
		for _, v := range r.not {
			b.skipUnless(uint32(v), 1)
			b.ret(unix.SECCOMP_RET_ALLOW)
		}
	}
	if r.stop >= 0 {
		b.load(low(r.stop))
		b.skipUnless(uint32(unix.SIGSTOP), 1)
		b.ret(unix.SECCOMP_RET_USER_NOTIF)
	}
	if r.group {
		b.load(low(0))
		b.skipUnless(0, 1)
		b.ret(unix.SECCOMP_RET_USER_NOTIF)
		b.skipUnlessSet(1<<31, 1)
		b.ret(unix.SECCOMP_RET_USER_NOTIF)
	}
	if r.given >= 0 {
		b.load(low(r.given))
		b.skipUnless(0, 2)
		b.load(low(r.given) + 4)
		b.skipIf(0, 3)
	}
	if r.sets {
		b.load(low(r.pids[0]))
		b.skipIf(0, 1)
		b.ret(unix.SECCOMP_RET_USER_NOTIF)
	}
	for _, arg := range r.pids {
		b.load(low(arg))
		// The kernel's own numbers have 15 bits; the upper half of a home's space is leased to other hosts.
		b.add(unix.BPF_ALU|unix.BPF_RSH|unix.BPF_K, 15)
		b.skipIf(0, 2)
		b.skipIf(0x1ffff, 1)
		b.ret(unix.SECCOMP_RET_USER_NOTIF)
	}
	b.ret(unix.SECCOMP_RET_ALLOW)
	return b.prog
}

type builder struct{ prog []unix.SockFilter }

func (b *builder) add(code uint16, k uint32) {
	b.prog = append(b.prog, unix.SockFilter{Code: code, K: k})
}
func (b *builder) load(off uint32) { b.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, off) }
func (b *builder) ret(v uint32)    { b.add(unix.BPF_RET|unix.BPF_K, v) }

// rule adds what follows if the accumulator, the number of a call, is nr; it ends in a verdict on every path.
func (b *builder) rule(nr uint32, body []unix.SockFilter) error {
	if len(body) > 255 {
		return fmt.Errorf("seccomp filter: the rule of call %d is %d instructions long, over 255", nr, len(body))
	}
	b.skipUnless(nr, len(body))
	b.prog = append(b.prog, body...)
	return nil
}

func (b *builder) jump(code uint16, k uint32, yes, no int) {
	b.prog = append(b.prog, unix.SockFilter{Code: unix.BPF_JMP | code | unix.BPF_K, K: k, Jt: uint8(yes), Jf: uint8(no)})
}

// skipIf jumps over n instructions if the accumulator is k.
func (b *builder) skipIf(k uint32, n int) { b.jump(unix.BPF_JEQ, k, n, 0) }

// skipUnless jumps over n instructions if the accumulator is not k.
func (b *builder) skipUnless(k uint32, n int) { b.jump(unix.BPF_JEQ, k, 0, n) }

// skipUnlessSet jumps over n instructions if the accumulator has none of the bits of k.
func (b *builder) skipUnlessSet(k uint32, n int) { b.jump(unix.BPF_JSET, k, 0, n) }

// skipBelow jumps over n instructions if the accumulator is less than k.
func (b *builder) skipBelow(k uint32, n int) { b.jump(unix.BPF_JGE, k, 0, n) }

// skipUpTo jumps over n instructions if the accumulator is k at most.
func (b *builder) skipUpTo(k uint32, n int) { b.jump(unix.BPF_JGT, k, 0, n) }
