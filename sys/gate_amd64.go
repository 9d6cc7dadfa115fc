package sys

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hasGate says that this machine has gates.
const hasGate = true

// startGate makes the gate's thread and gives its id.
func startGate(s *gateState) (tid int, _ syscall.Errno) {
	return startBare(bareThread, s, gateLoop, &s.stack, &s.alive)
}

// gateLoop is the thread: see startBare.
//
//go:norace
//go:nosplit
//go:noinline
func gateLoop(s *gateState) {
	for {
		s.poll[0] = unix.PollFd{Fd: s.listener, Events: unix.POLLIN}
		s.poll[1] = unix.PollFd{Fd: s.wake, Events: unix.POLLIN}
		n, _, _ := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&s.poll[0])), 2, 0, 0, 8, 0)
		if int(n) < 0 {
			continue
		}
		if s.poll[1].Revents != 0 || s.poll[0].Revents&unix.POLLIN == 0 { // told to end, or nobody is left under the filter
			break
		}
		s.notif = SeccompNotif{}
		_, _, e := syscall.RawSyscall(unix.SYS_IOCTL, uintptr(s.listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&s.notif)))
		if e == unix.ENOENT || e == unix.EINTR { // the caller died first
			continue
		}
		if e == 0 && s.passes() {
			s.resp = SeccompResp{ID: s.notif.ID, Flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
			syscall.RawSyscall(unix.SYS_IOCTL, uintptr(s.listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&s.resp)))
			continue
		}
		if e != 0 {
			break
		}
		n, _, e = syscall.RawSyscall(unix.SYS_WRITE, uintptr(s.out), uintptr(unsafe.Pointer(&s.notif)), unsafe.Sizeof(s.notif))
		if e != 0 || n != unsafe.Sizeof(s.notif) {
			break
		}
	}
	syscall.RawSyscall(unix.SYS_CLOSE, uintptr(s.out), 0, 0)
	for {
		syscall.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	}
}

// passes reports whether the call is an exec that concerns nobody.
//
//go:norace
//go:nosplit
func (s *gateState) passes() bool {
	d := &s.notif.Data
	tid := s.notif.Pid
	if d.Nr != unix.SYS_EXECVE || s.hold != 0 || tid >= GatePids || has(&s.watched, tid) || d.Args[1] == 0 {
		return false
	}
	// The file's name and the address of the first word.
	size := uint64(gateName)
	if left := gatePage - d.Args[0]%gatePage; left < size {
		size = left
	}
	s.local[0].Len, s.local[1].Len = size, 8
	s.remote[0] = unix.RemoteIovec{Base: uintptr(d.Args[0]), Len: int(size)}
	s.remote[1] = unix.RemoteIovec{Base: uintptr(d.Args[1]), Len: 8}
	if s.read(2) != uintptr(size)+8 || s.word == 0 || !s.plain(&s.path, size) {
		return false
	}
	size = gateName
	if left := gatePage - s.word%gatePage; left < size {
		size = left
	}
	s.local[0].Len = size
	s.remote[0] = unix.RemoteIovec{Base: uintptr(s.word), Len: int(size)}
	if s.read(1) != uintptr(size) || !s.plain(&s.path, size) {
		return false
	}
	if has(&s.settled, tid) {
		return true
	}
	parent := uint32(0)
	if s.spreaders > 0 {
		if parent = s.parent(tid); parent == 0 || has(&s.watched, parent) {
			return false
		}
	}
	// Of the keeper's children only the command counts, all its threads.
	if tid == s.command {
		return false
	}
	_, _, e := syscall.RawSyscall(unix.SYS_TGKILL, uintptr(tid), uintptr(tid), 0)
	return e == 0
}

//go:norace
//go:nosplit
func (s *gateState) read(n uintptr) uintptr {
	got, _, _ := syscall.RawSyscall6(unix.SYS_PROCESS_VM_READV, uintptr(s.notif.Pid), uintptr(unsafe.Pointer(&s.local[0])), n,
		uintptr(unsafe.Pointer(&s.remote[0])), n, 0)
	return got
}

// plain reports whether the name, of which size bytes were read, is whole and none of those that count.
//
//go:norace
//go:nosplit
func (s *gateState) plain(name *[gateName]byte, size uint64) bool {
	end, base := uint64(0), uint64(0)
	for ; end < size && name[end%gateName] != 0; end++ {
		if name[end%gateName] == '/' {
			base = end + 1
		}
	}
	if end == 0 || end == size { // empty, or longer than we read
		return false
	}
	for i := uint32(0); i < s.names && i < gateNames; i++ {
		n := &s.name[i]
		from := base
		if n.whole {
			from = 0
		}
		if uint64(n.len) != end-from {
			continue
		}
		same := true
		for k := uint64(0); k < uint64(n.len) && k < gateNameLen; k++ {
			same = same && n.b[k] == name[(from+k)%gateName]
		}
		if same {
			return false
		}
	}
	return true
}

// parent reads the parent of a thread's process from /proc; 0: it is gone, or its line is not as expected.
//
//go:norace
//go:nosplit
func (s *gateState) parent(tid uint32) uint32 {
	const dir, file = "/proc/", "/stat"
	at := 0
	for ; at < len(dir); at++ {
		s.proc[at%len(s.proc)] = dir[at]
	}
	div := uint32(1)
	for tid/div >= 10 {
		div *= 10
	}
	for ; div > 0; div /= 10 {
		s.proc[at%len(s.proc)] = byte('0' + tid/div%10)
		at++
	}
	for i := range len(file) {
		s.proc[at%len(s.proc)] = file[i]
		at++
	}
	s.proc[at%len(s.proc)] = 0
	fd, _, e := syscall.RawSyscall6(unix.SYS_OPENAT, 0, uintptr(unsafe.Pointer(&s.proc[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
	if e != 0 {
		return 0
	}
	n, _, e := syscall.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&s.stat[0])), uintptr(len(s.stat)))
	syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	if e != 0 || n > uintptr(len(s.stat)) {
		return 0
	}
	end := uintptr(0) // the name may hold anything, even what looks like an end
	for i := range n {
		if s.stat[i%gateStat] == ')' {
			end = i
		}
	}
	parent := uint32(0)
	for i := end + 4; i < n; i++ { // ") S "
		c := s.stat[i%gateStat]
		if c < '0' || c > '9' {
			break
		}
		parent = 10*parent + uint32(c-'0')
	}
	if end == 0 || parent >= GatePids {
		return 0
	}
	return parent
}

//go:norace
//go:nosplit
func has(set *[GatePids / 32]uint32, pid uint32) bool {
	return set[pid/32%(GatePids/32)]&(1<<(pid%32)) != 0
}
