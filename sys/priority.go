package sys

import (
	"errors"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// SetNice gives every thread of this process a nice value; threads and children made later inherit it. Below the present
// value it needs CAP_SYS_NICE (EACCES).
func SetNice(nice int) error {
	done := map[string]bool{}
	for again := true; again; { // a thread made meanwhile by one that was not done yet is found in the next round
		again = false
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || done[t.Name()] {
				continue
			}
			if err := unix.Setpriority(unix.PRIO_PROCESS, tid, nice); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
			done[t.Name()], again = true, true
		}
	}
	return nil
}

// Nice gives the nice value of the calling thread.
func Nice() (int, error) {
	n, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	return 20 - n, err // the system call gives 20-nice, to stay positive
}

// Scheduler gives the scheduling policy of a process, with the flag SCHED_RESET_ON_FORK.
func Scheduler(pid int) (uint32, error) {
	policy, _, errno := syscall.RawSyscall(unix.SYS_SCHED_GETSCHEDULER, uintptr(pid), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return uint32(policy), nil
}

// RealTime reports whether a policy goes before all others, so that it has parameters and means something for one machine only.
func RealTime(policy uint32) bool {
	const resetOnFork = 0x40000000
	switch policy &^ resetOnFork {
	case unix.SCHED_NORMAL, unix.SCHED_BATCH, unix.SCHED_IDLE:
		return false
	}
	return true
}

// IOPriority gives the class and level of a process's input and output, as the kernel packs them; 0: none was set.
func IOPriority(pid int) (uint32, error) {
	const whoProcess = 1
	prio, _, errno := syscall.RawSyscall(unix.SYS_IOPRIO_GET, whoProcess, uintptr(pid), 0)
	if errno != 0 {
		return 0, errno
	}
	return uint32(prio), nil
}
