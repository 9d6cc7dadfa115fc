package split

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
)

// Names by which our binary is started for another purpose: argv[0] of the process.
const (
	argBoot = "onehost-split-boot" // stage one of a host's init, outside
	argInit = "onehost-split-init" // stage two, pid 1 of the host
	argTTY  = "onehost-split-tty"  // leader of a terminal session in a host
)

// Reexec takes over when this process was started by a split for its own ends; then it does not return. Otherwise it returns
// false at once. Call it with os.Args first thing in main (and in TestMain of tests that make splits).
func Reexec(args []string) bool {
	if len(args) == 0 {
		return false
	}
	var err error
	switch args[0] {
	case argBoot:
		err = bootStage()
	case argInit:
		err = initStage()
	case argTTY:
		os.Exit(ttyStage(args[1:]))
	default:
		return false
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
	return true
}

// Descriptors of the boot stage.
const (
	fdConfig = 3 // read: a bootConfig, then end of file; end of file alone means that the maker died
	fdReport = 4 // write: end of file when the host is up, or the error of the boot
)

// bootConfig is what a host's init is told.
type bootConfig struct {
	Host    hostState         `json:"host"`
	Dir     string            `json:"dir"` // of this host in the split's tmpfs
	Hosts   []hostState       `json:"hosts"`
	Binds   []string          `json:"binds"`
	Bins    map[string]string `json:"bins"` // path in the host: path on the machine
	Trees   []hierarchy       `json:"trees"`
	Daemon  []string          `json:"daemon,omitempty"`
	Cluster names.ClusterName `json:"cluster"`
}

// closeStray closes what the maker of the split happened to have open: a host lives on, and would hold its locks and pipes for as
// long. What this process opened itself is close-on-exec, which tells the two apart.
func closeStray(first int) error {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("inherited descriptors: %w", err)
	}
	for _, e := range fds {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < first {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
	return nil
}

// bootStage turns this process, the first of new name spaces, into a host's init.
func bootStage() error {
	if err := closeStray(fdReport + 1); err != nil {
		return err
	}
	runtime.LockOSThread() // unshare below is the thread's own; exec keeps this thread's view for all
	report := os.NewFile(fdReport, "report")
	unix.CloseOnExec(fdConfig) // or every process of the host would have it
	raw, err := io.ReadAll(os.NewFile(fdConfig, "config"))
	if err != nil || len(raw) == 0 {
		return errors.New("whoever started this host is gone")
	}
	var c bootConfig
	if err := json.Unmarshal(raw, &c); err != nil {
		return fail(report, err)
	}
	if err := c.boot(); err != nil {
		return fail(report, err)
	}
	daemon, err := json.Marshal(c.Daemon)
	if err != nil {
		return fail(report, err)
	}
	if _, err := unix.FcntlInt(fdReport, unix.F_SETFD, 0); err != nil { // stage two says that the host is up
		return fail(report, err)
	}
	err = unix.Exec("/proc/self/exe", []string{argInit, string(daemon)}, hostEnv())
	return fail(report, fmt.Errorf("exec of the init: %w", err))
}

func fail(report *os.File, err error) error {
	_, _ = io.WriteString(report, err.Error())
	return err
}

// hostEnv is the environment of the init and of the daemon.
func hostEnv() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh", "LANG=C.UTF-8"}
}

func (c *bootConfig) boot() error {
	unix.Umask(0o022)
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return missing(err, "cgroup name space", "use one built with CONFIG_CGROUPS")
	}
	// In v2 a cgroup with children that have controllers may hold no process itself: move on, so that the host may divide its own.
	for _, t := range c.Trees {
		if t.V2 {
			if err := enterLeaf(c.cgroupDir(t)); err != nil {
				return err
			}
		}
	}
	if err := unix.Sethostname([]byte(c.Host.Name)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := c.mountAll(); err != nil {
		return err
	}
	return c.writeFiles()
}

func (c *bootConfig) cgroupDir(t hierarchy) string {
	return t.Mount + "/" + c.cgroupName() + "/" + string(c.Host.Name)
}

// cgroupName is the split's suffix, which its directory bears as well.
func (c *bootConfig) cgroupName() string {
	dir := strings.TrimSuffix(c.Dir, "/"+string(c.Host.Name))
	return "onehost-" + dir[strings.LastIndexByte(dir, '/')+1:]
}

func enterLeaf(dir string) error {
	if err := os.MkdirAll(dir+"/init", 0o755); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	if err := write(dir+"/init/cgroup.procs", "0"); err != nil {
		return err
	}
	controllers, err := os.ReadFile(dir + "/cgroup.controllers")
	if err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	enable(dir, strings.Fields(string(controllers)))
	return nil
}

// writeFiles gives the host the files that differ from the machine's. They are replaced, not written through: the machine's may be a link
// into /run.
func (c *bootConfig) writeFiles() error {
	var hosts strings.Builder
	hosts.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, h := range c.Hosts {
		fmt.Fprintf(&hosts, "%s\t%s.%s %s\n", hostAddr(h.Number), h.Name, c.Cluster, h.Name)
	}
	for path, text := range map[string]string{"/etc/hostname": string(c.Host.Name) + "\n", "/etc/hosts": hosts.String()} {
		if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	if kernelAtLeast(6, 14) { // before, it is the machine's
		if err := os.WriteFile("/proc/sys/kernel/pid_max", []byte("32768"), 0o644); err != nil {
			return fmt.Errorf("pid_max of the host: %w", err)
		}
	}
	return nil
}
