// Package sys is the kernel's interface: the system calls and structures that golang.org/x/sys lacks or that
// need unsafe, each in its own file, split by GOARCH where the architecture matters. It is the only room that
// may import unsafe. Its functions return syscall.Errno, do no logging and keep no state.
package sys
