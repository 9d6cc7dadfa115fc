package split

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

var errPrivilege = errors.New("onehost split makes name spaces, mounts and cgroups: run it as root (sudo)")

// privilege turns a refusal into the line that says what to do.
func privilege(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return errPrivilege
	}
	return err
}

// capabilities that a split cannot do without.
var capabilities = []struct {
	bit  uint
	name string
}{{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_MKNOD, "CAP_MKNOD"}}

// checkMachine looks for what a split needs, before anything is made.
func checkMachine() error {
	if os.Geteuid() != 0 {
		return errPrivilege
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("capabilities of this process: %w", err)
	}
	for _, c := range capabilities {
		if data[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			return fmt.Errorf("this root lacks %s (a container?): run onehost split on the machine itself, or give the container that capability", c.name)
		}
	}
	for _, ns := range []struct{ file, option string }{
		{"net", "CONFIG_NET_NS"}, {"pid", "CONFIG_PID_NS"}, {"mnt", "CONFIG_NAMESPACES"}, {"uts", "CONFIG_UTS_NS"}, {"ipc", "CONFIG_IPC_NS"}, {"cgroup", "CONFIG_CGROUPS"},
	} {
		if _, err := os.Stat("/proc/self/ns/" + ns.file); err != nil {
			return fmt.Errorf("this kernel has no %s name spaces: use one built with %s", ns.file, ns.option)
		}
	}
	types, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return fmt.Errorf("kinds of file system: %w", err)
	}
	if !bytes.Contains(types, []byte("\toverlay\n")) && !tryOverlay() {
		return errors.New("this kernel has no overlay file system: load it with 'modprobe overlay', or use a kernel built with CONFIG_OVERLAY_FS")
	}
	return nil
}

// tryOverlay asks for an overlay, by which the kernel loads the module.
func tryOverlay() bool {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// missing explains an error of making something by the kernel option it needs.
func missing(err error, what, mend string) error {
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EPROTONOSUPPORT) {
		return fmt.Errorf("this kernel has no %s: %s: %w", what, mend, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// kernelAtLeast compares the running kernel's version.
func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	a, b := parseRelease(unix.ByteSliceToString(u.Release[:]))
	return a > major || a == major && b >= minor
}

func parseRelease(s string) (major, minor int) {
	first, rest, _ := strings.Cut(s, ".")
	second := rest
	if i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		second = rest[:i]
	}
	major, _ = strconv.Atoi(first) // 0 for what is no number: an old kernel
	minor, _ = strconv.Atoi(second)
	return major, minor
}
