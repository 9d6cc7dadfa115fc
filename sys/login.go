//go:build linux

package sys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Setsid makes the child the leader of a session, and of a process group, of its own.
func (p *Program) Setsid() { p.add("setsid", stepPlain, unix.SYS_SETSID) }

// ControllingTerminal makes the terminal that is open as fd the controlling one of the child's session, which must have none.
func (p *Program) ControllingTerminal(fd int) {
	p.add("ioctl(TIOCSCTTY)", stepPlain, unix.SYS_IOCTL, uintptr(fd), unix.TIOCSCTTY, 0)
}

// DropCapability takes a capability out of the bounding set: nothing that the child becomes can have it.
func (p *Program) DropCapability(n int) {
	p.add("prctl(PR_CAPBSET_DROP)", stepPlain, unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0)
}

// TryChdir changes the working directory, if that is possible.
func (p *Program) TryChdir(path string) {
	p.add("chdir "+path, stepTry, unix.SYS_CHDIR, p.str(path))
}

// Search becomes the first program of paths that can be executed, as execvp(3) tries them. Each that cannot is reported, as a failed step is,
// and the last ends the child.
func (p *Program) Search(paths, argv, env []string) {
	a, e := p.strs(argv), p.strs(env)
	for _, path := range paths {
		p.add("exec "+path, stepSearch, unix.SYS_EXECVE, p.str(path), a, e)
	}
}

// Ended reports whether the child ended with the failure of this step; after one that was only tried it went on.
func (p *Program) Ended(step int, e syscall.Errno) bool {
	if step < 0 || step >= len(p.steps) {
		return true
	}
	switch kind := p.steps[step].kind; {
	case kind == stepTry:
		return false
	case kind == stepSearch && step < len(p.steps)-1:
		return !elsewhere(e)
	}
	return true
}

// elsewhere reports whether a failed exec leaves it open that another file of that name can be executed.
//
//go:nosplit
func elsewhere(e syscall.Errno) bool {
	return e == unix.ENOENT || e == unix.EACCES || e == unix.ENOTDIR || e == unix.ESTALE
}
