package split

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// bootLimit bounds the boot of a host, without its daemon.
const bootLimit = 15 * time.Second

// Up divides the machine. It returns when every host runs and, with a daemon, all are in one cluster. If it fails, or ctx ends, it leaves
// nothing behind.
func Up(ctx context.Context, cfg Config) (*Cluster, error) {
	allowed, err := allowedCPUs()
	if err != nil {
		return nil, err
	}
	notes, err := cfg.resolve(len(allowed))
	if err != nil {
		return nil, err
	}
	if err := checkMachine(); err != nil {
		return nil, err
	}
	in := instance(cfg.Name)
	g, err := in.cgroups()
	if err != nil {
		return nil, err
	}
	l, err := in.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer l.release()
	if err := in.vacant(); err != nil {
		return nil, err
	}
	s := &state{Since: time.Now(), Config: cfg}
	for n := range cfg.Hosts {
		h := &hostState{Name: hostName(n + 1), Number: n + 1}
		h.CPUs = append(h.CPUs, allowed[n*cfg.CPUs:(n+1)*cfg.CPUs]...)
		s.Hosts = append(s.Hosts, h)
	}
	if _, ok := g.tree("cpuset"); cfg.CPUs > 0 && !ok {
		notes = append(notes, "no cpuset cgroup controller: the hosts are kept to their CPUs by affinity, which a program can undo")
	}
	if !kernelAtLeast(6, 14) {
		notes = append(notes, "before Linux 6.14 pid_max is the machine's: onehost needs 'sysctl kernel.pid_max=32768'")
	}
	if err := in.raise(ctx, g, s); err != nil {
		downErr := in.clean(context.WithoutCancel(ctx))
		l.remove()
		return nil, errors.Join(err, downErr)
	}
	c := newCluster(in, s)
	c.Notes = notes
	return c, nil
}

// vacant says so when a split of this name is up or has left something.
func (i instance) vacant() error {
	if s, err := i.read(); err == nil && s.Ready {
		return fmt.Errorf("a split of %d hosts is up already: use it, or end it with 'onehost split down%s'", len(s.Hosts), i.flags())
	}
	left, err := i.leftovers()
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("a killed split left %s: clean up with 'onehost split down%s'", left[0], i.flags())
	}
	return nil
}

func (i instance) raise(ctx context.Context, g *cgroups, s *state) error {
	if err := os.Mkdir(i.dir(), 0o700); err != nil {
		return fmt.Errorf("directory of the split: %w", err)
	}
	if err := unix.Mount("onehost-"+i.suffix(), i.dir(), "tmpfs", 0, "mode=700"); err != nil {
		return fmt.Errorf("memory for the hosts' disks (tmpfs): %w", err)
	}
	if err := unix.Mount("", i.dir(), "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("memory for the hosts' disks (tmpfs): %w", err)
	}
	if err := i.save(s); err != nil {
		return err
	}
	if err := i.makeSwitch(); err != nil {
		return err
	}
	boots, bctx := errgroup.WithContext(ctx)
	for _, h := range s.Hosts {
		boots.Go(func() error { return i.boot(bctx, g, s, h) })
	}
	if err := boots.Wait(); err != nil {
		return err
	}
	if s.Config.Daemon != "" {
		if err := i.form(ctx, s); err != nil {
			return err
		}
	}
	s.Ready = true
	return i.save(s)
}

// boot starts a host's init, puts it into its cgroups and on the network before it does anything, and waits until the host is up.
func (i instance) boot(ctx context.Context, g *cgroups, s *state, h *hostState) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	if err := os.MkdirAll(i.hostDir(h.Name), 0o755); err != nil {
		return err
	}
	if err := g.makeHost(h, s.Config.Quota); err != nil {
		return err
	}
	config, err := json.Marshal(i.bootConfig(g, s, h))
	if err != nil {
		return err
	}
	cmd, tell, report, err := startInit(s.Config.Init)
	if err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	defer tell.Close()
	defer report.Close()
	go func() { _ = cmd.Wait() }() // buries it, if it dies before this process does
	h.Pid, h.Birth = cmd.Process.Pid, birth(cmd.Process.Pid)
	if err := i.bringUp(ctx, g, s, h, config, tell, report); err != nil {
		_ = unix.Kill(h.Pid, unix.SIGKILL)
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	return nil
}

func (i instance) bringUp(ctx context.Context, g *cgroups, s *state, h *hostState, config []byte, tell, report *os.File) error {
	if err := g.enter(h.Name, h.Pid); err != nil {
		return err
	}
	if _, ok := g.tree("cpuset"); !ok && len(h.CPUs) > 0 {
		var set unix.CPUSet
		for _, c := range h.CPUs {
			set.Set(c)
		}
		if err := unix.SchedSetaffinity(h.Pid, &set); err != nil {
			return fmt.Errorf("affinity: %w", err)
		}
	}
	if err := i.plug(h, h.Pid, s.Config.Rate); err != nil {
		return err
	}
	if _, err := tell.Write(config); err != nil {
		return fmt.Errorf("its init died: %w", err)
	}
	tell.Close()
	stop := context.AfterFunc(ctx, func() { _ = report.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	said, err := io.ReadAll(report)
	if ctx.Err() != nil {
		return fmt.Errorf("boot: %w", ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	if len(said) > 0 {
		return errors.New(string(said))
	}
	if !h.alive() {
		return errors.New("its init died while it booted")
	}
	return nil
}

func startInit(path string) (cmd *exec.Cmd, tell, report *os.File, err error) {
	configR, configW, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, err
	}
	defer configR.Close()
	reportR, reportW, err := os.Pipe()
	if err != nil {
		configW.Close()
		return nil, nil, nil, err
	}
	defer reportW.Close()
	cmd = &exec.Cmd{
		Path: path, Args: []string{argBoot}, Env: hostEnv(), Dir: "/", ExtraFiles: []*os.File{configR, reportW},
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
			Setsid:     true,
		},
	}
	if err := cmd.Start(); err != nil {
		configW.Close()
		reportR.Close()
		return nil, nil, nil, privilege(err)
	}
	return cmd, configW, reportR, nil
}

func (i instance) bootConfig(g *cgroups, s *state, h *hostState) bootConfig {
	c := bootConfig{Host: *h, Dir: i.hostDir(h.Name), Trees: g.trees, Cluster: s.Config.Cluster, Bins: map[string]string{}}
	for _, other := range s.Hosts {
		c.Hosts = append(c.Hosts, hostState{Name: other.Name, Number: other.Number})
	}
	for _, b := range s.Config.Binds {
		if b.Host == "" || b.Host == h.Name {
			c.Binds = append(c.Binds, b.Dir)
		}
	}
	const bin = "/usr/local/bin"
	if s.Config.Onehost != "" {
		c.Bins[filepath.Join(bin, "onehost")] = s.Config.Onehost
	}
	if s.Config.Daemon != "" {
		daemon := filepath.Join(bin, "onehostd")
		c.Bins[daemon] = s.Config.Daemon
		c.Daemon = []string{daemon, "--control", daemonControl, "--state", daemonState, "--listen", h.listen(), "--name", string(h.Name)}
	}
	return c
}
