package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/sys"
)

// Oldest kernel that has everything a session needs: seccomp's WAIT_KILLABLE_RECV came with 5.19.
const (
	needMajor = 5
	needMinor = 19
)

// checkKernel looks for the features of the kernel.
func checkKernel() []Finding {
	return []Finding{
		checkRelease(),
		checkProbe("seccomp notification", sys.ProbeSeccompNotify(),
			"run a kernel with CONFIG_SECCOMP_FILTER, 5.19 or later; in a container allow seccomp(2)", "sessions can watch exec"),
		checkProbe("pidfd_getfd", sys.ProbePidfdGetfd(),
			"run Linux 5.6 or later; in a container allow pidfd_getfd(2)", "descriptors of a process that goes elsewhere can be fetched"),
		checkPtrace(),
		checkNamespaces(),
		checkFUSE(),
		checkProbe("fanotify", sys.ProbeFanotify(),
			"run a kernel with CONFIG_FANOTIFY, 5.9 or later", "changes at home reach the other hosts"),
		optional(checkProbe("file handles", sys.ProbeFileHandle("/"),
			"use a root file system that gives file handles (overlay needs index=on,nfs_export=on)", "files of / can be named by handle")),
		optional(checkProbe("userfaultfd", sys.ProbeUserfaultfd(),
			"run a kernel with CONFIG_USERFAULTFD", "pages of a process that moves can be served")),
		checkOverlay(),
		checkCgroups(),
	}
}

// optional turns a missing feature into a warning.
func optional(f Finding) Finding {
	if f.State == verdictMissing {
		f.State = verdictWarn
	}
	return f
}

// checkProbe judges a probe's answer. EPERM from a user who is not root says nothing: the daemon is.
func checkProbe(check string, e syscall.Errno, mend, good string) Finding {
	switch {
	case e == 0:
		return ok(check, "%s", good)
	case (e == unix.EPERM || e == unix.EACCES) && os.Geteuid() != 0:
		return warn(check, "run 'onehost doctor' as root to know", "cannot be checked by this user: %v", e)
	case e == unix.EPERM || e == unix.EACCES:
		return missing(check, mend, "root may not use it here: %v", e)
	case e == unix.ENOSYS || e == unix.EINVAL:
		return missing(check, mend, "this kernel lacks it: %v", e)
	default:
		return missing(check, mend, "%v", e)
	}
}

func checkRelease() Finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return missing("kernel", "", "uname: %v", err)
	}
	release := string(bytes.TrimRight(u.Release[:], "\x00"))
	major, minor := parseRelease(release)
	if major < needMajor || major == needMajor && minor < needMinor {
		return missing("kernel", fmt.Sprintf("run Linux %d.%d or later", needMajor, needMinor), "Linux %s is too old", release)
	}
	return ok("kernel", "Linux %s", release)
}

// parseRelease reads the first two numbers of a kernel release; what is not there is 0.
func parseRelease(s string) (major, minor int) {
	number := func() int {
		end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
		if end < 0 {
			end = len(s)
		}
		n, err := strconv.Atoi(s[:end])
		if err != nil {
			n = 0
		}
		s = strings.TrimPrefix(s[end:], ".")
		return n
	}
	major = number()
	return major, number()
}

func checkPtrace() Finding {
	const check, path = "ptrace", "/proc/sys/kernel/yama/ptrace_scope"
	scope, err := readInt(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ok(check, "not restricted")
	case err != nil:
		return missing(check, "", "%v", err)
	case scope >= 3:
		return missing(check, "boot with kernel.yama.ptrace_scope=1: 3 cannot be taken back", "ptrace_scope is %d: nothing may be traced, so no process can be sent elsewhere", scope)
	case scope == 2:
		return warn(check, "sysctl -w kernel.yama.ptrace_scope=1", "ptrace_scope is 2: sessions of users other than root stay at home")
	default:
		return ok(check, "ptrace_scope is %d", scope)
	}
}

func checkNamespaces() Finding {
	const check = "name spaces"
	var lacking []string
	for _, ns := range []string{"pid", "mnt", "uts", "net", "ipc"} {
		if _, err := os.Stat("/proc/self/ns/" + ns); err != nil {
			lacking = append(lacking, ns)
		}
	}
	if len(lacking) > 0 {
		return missing(check, "mount /proc, and run a kernel with CONFIG_NAMESPACES and all its kinds", "lacking: %s", strings.Join(lacking, " "))
	}
	return ok(check, "pid mnt uts net ipc")
}

func checkFUSE() Finding {
	const check = "FUSE"
	if !hasFilesystem("fuse") {
		return missing(check, "modprobe fuse", "this kernel has no fuse file system")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return missing(check, "mknod /dev/fuse c 10 229 (in a container: pass the device in)", "%v", err)
	}
	return ok(check, "/dev/fuse is there")
}

func checkOverlay() Finding {
	const check = "overlay"
	if !hasFilesystem("overlay") {
		return warn(check, "modprobe overlay", "this kernel has no overlay file system: onehost split cannot make hosts")
	}
	return ok(check, "onehost split can make roots")
}

func hasFilesystem(name string) bool {
	data, err := os.ReadFile("/proc/filesystems")
	return err == nil && slices.Contains(strings.Fields(string(data)), name)
}

func checkCgroups() Finding {
	const check = "cgroups"
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return missing(check, "mount /proc", "%v", err)
	}
	version := cgroupWithCPU(string(mounts), func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			return ""
		}
		return string(data)
	})
	if version == 0 {
		return warn(check, "mount a cgroup hierarchy with the cpu controller", "no cpu controller: split cannot limit hosts, and load is that of the whole machine")
	}
	return ok(check, "version %d has the cpu controller", version)
}

// cgroupWithCPU finds the version of the cgroup hierarchy that holds the cpu controller, 0 for none.
func cgroupWithCPU(mounts string, read func(string) string) int {
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		switch f[2] {
		case "cgroup":
			if slices.Contains(strings.Split(f[3], ","), "cpu") {
				return 1
			}
		case "cgroup2":
			if slices.Contains(strings.Fields(read(f[1]+"/cgroup.controllers")), "cpu") {
				return 2
			}
		}
	}
	return 0
}

// Lowest limits that a daemon of a busy cluster should have.
const (
	wantFiles     = 4096
	wantProcesses = 4096
)

// checkLimits looks at limits, pid_max and the clock.
func checkLimits() []Finding {
	return []Finding{
		checkPidMax(),
		checkLimit("open files", unix.RLIMIT_NOFILE, wantFiles, "ulimit -Hn"),
		checkLimit("processes", unix.RLIMIT_NPROC, wantProcesses, "ulimit -Hu"),
		checkClock(),
	}
}

func checkPidMax() Finding {
	const check = "pid_max"
	n, err := readInt("/proc/sys/kernel/pid_max")
	if err != nil {
		return missing(check, "mount /proc", "%v", err)
	}
	return judgePidMax(n)
}

func judgePidMax(n int) Finding {
	const check = "pid_max"
	if n > names.MaxNative+1 {
		return missing(check, fmt.Sprintf("sysctl -w kernel.pid_max=%d, and the same in /etc/sysctl.d/onehost.conf", names.MaxNative+1),
			"is %d, over %d: a pid of this host must fit in 15 bits, as %d and above are names of its processes on other hosts", n, names.MaxNative+1, names.FirstLease)
	}
	return ok(check, "is %d", n)
}

func checkLimit(check string, resource int, want uint64, command string) Finding {
	var l unix.Rlimit
	if err := unix.Getrlimit(resource, &l); err != nil {
		return missing(check, "", "getrlimit: %v", err)
	}
	if l.Max < want {
		return warn(check, fmt.Sprintf("raise the hard limit (%s) to %d: LimitNOFILE= and LimitNPROC= in systemd, limits.conf(5) elsewhere", command, want), "at most %d: a wide build may run out", l.Max)
	}
	if l.Max == unix.RLIM_INFINITY {
		return ok(check, "unlimited")
	}
	return ok(check, "at most %d", l.Max)
}

func checkClock() Finding {
	const check = "clock"
	synced, e := sys.ClockSynchronized()
	switch {
	case e != 0:
		return warn(check, "", "adjtimex: %v", e)
	case !synced:
		return warn(check, "run an NTP client: timedatectl set-ntp true", "nothing keeps it right: times that programs make themselves may differ between hosts (files get the home's time)")
	default:
		return ok(check, "kept right")
	}
}

func readInt(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}
