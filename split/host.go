package split

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// Cluster is a split that is up.
type Cluster struct {
	in    instance
	hosts []*Host
	Notes []string // what could not be done as asked, one line each
}

// Host is one host of a split. Its methods look at the split afresh, so other processes may change it meanwhile.
type Host struct {
	in   instance
	name names.HostName
}

// Open finds a split that is up by its name, "" being the machine's own.
func Open(name string) (*Cluster, error) {
	in := instance(name)
	s, err := in.load()
	if err != nil {
		return nil, err
	}
	return newCluster(in, s), nil
}

func newCluster(in instance, s *state) *Cluster {
	c := &Cluster{in: in}
	for _, h := range s.Hosts {
		c.hosts = append(c.hosts, &Host{in: in, name: h.Name})
	}
	return c
}

// Hosts lists the hosts in order.
func (c *Cluster) Hosts() []*Host { return c.hosts }

// Host gives the host of that name. One that does not exist answers every method with an error that lists the known ones.
func (c *Cluster) Host(name names.HostName) *Host { return &Host{in: c.in, name: name} }

// Down ends the split and leaves nothing of it.
func (c *Cluster) Down(ctx context.Context) error { return Down(ctx, string(c.in)) }

// Name of the host.
func (h *Host) Name() names.HostName { return h.name }

// Addr is the host's address on the split's network.
func (h *Host) Addr() (netip.Addr, error) {
	_, st, err := h.state()
	if err != nil {
		return netip.Addr{}, err
	}
	return hostAddr(st.Number), nil
}

// Control is the path, outside, of the control socket of the host's onehostd.
func (h *Host) Control() string {
	return filepath.Join(h.in.hostRun(h.name), "onehost", filepath.Base(daemonControl))
}

// Pid is the machine's number of the host's init; 0 if the host is down.
func (h *Host) Pid() (int, error) {
	_, st, err := h.state()
	if err != nil || !st.alive() {
		return 0, err
	}
	return st.Pid, nil
}

func (h *Host) state() (*state, *hostState, error) {
	s, err := h.in.load()
	if err != nil {
		return nil, nil, err
	}
	st, err := s.host(h.name)
	return s, st, err
}

// change runs f under the lock and saves the state after it, also when f failed half way.
func (h *Host) change(ctx context.Context, f func(s *state, st *hostState) error) error {
	if _, _, err := h.state(); err != nil { // says so without making a lock file where there is no split
		return err
	}
	l, err := h.in.lock(ctx)
	if err != nil {
		return err
	}
	s, st, err := h.state()
	if err != nil {
		l.release()
		if errors.Is(err, ErrNone) {
			l.remove()
		}
		return err
	}
	defer l.release()
	return errors.Join(f(s, st), h.in.save(s))
}

func (h *Host) errDown() error {
	return fmt.Errorf("%s is down: boot it with 'onehost split start %s%s'", h.name, h.name, h.in.flags())
}

// Kill crashes the host: first it falls silent, then everything of it gets SIGKILL. Its disk stays. It returns when nothing of it runs.
func (h *Host) Kill(ctx context.Context) error {
	return h.change(ctx, func(_ *state, st *hostState) error {
		if !st.alive() {
			return h.errDown()
		}
		return h.crash(ctx, st)
	})
}

// crash also clears up after a host that died by itself.
func (h *Host) crash(ctx context.Context, st *hostState) error {
	g, err := h.in.cgroups()
	if err != nil {
		return err
	}
	if err := h.in.setCut(h.name, true); err != nil {
		return err
	}
	if st.alive() {
		if err := unix.Kill(st.Pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("%s: %w", h.name, err)
		}
	}
	if err := g.kill(ctx, h.name); err != nil {
		return fmt.Errorf("%s: %w", h.name, err)
	}
	st.Pid, st.Birth, st.Frozen = 0, 0, false
	nl, err := h.in.openSwitch()
	if err != nil {
		return err
	}
	defer nl.Close()
	if err := unplug(nl, h.name); err != nil {
		return err
	}
	return g.remove(ctx, h.name)
}

// Start boots the host again with the disk it had. It returns when its daemon answers and knows its cluster.
func (h *Host) Start(ctx context.Context) error {
	return h.change(ctx, func(s *state, st *hostState) error {
		if st.alive() {
			return fmt.Errorf("%s is up already", h.name)
		}
		if err := h.crash(ctx, st); err != nil {
			return err
		}
		g, err := h.in.cgroups()
		if err != nil {
			return err
		}
		if err := h.in.boot(ctx, g, s, st); err != nil {
			return errors.Join(err, h.crash(context.WithoutCancel(ctx), st))
		}
		if s.Config.Daemon == "" {
			return nil
		}
		return h.in.rejoin(ctx, s, st)
	})
}

// Restart kills the host's onehostd, if it runs, and starts it again. It does not wait until the new one answers.
func (h *Host) Restart(ctx context.Context) error {
	conn, err := h.dial(ctx)
	if err != nil {
		return err
	}
	conn.Close()
	ctx, cancel := context.WithTimeout(ctx, restartTime)
	defer cancel()
	var d daemonStatus
	if err := control.Call(ctx, h.in.initSocket(h.name), opRestart, struct{}{}, &d); err != nil {
		return fmt.Errorf("onehostd of %s: %w", h.name, err)
	}
	return nil
}

// restartTime bounds the end of a daemon that is killed, and the start of the next.
const restartTime = 10 * time.Second

// Freeze stops every process of the host at once, as a machine that hangs. Its kernel still answers pings.
func (h *Host) Freeze(ctx context.Context) error { return h.freeze(ctx, true) }

// Thaw lets a frozen host go on.
func (h *Host) Thaw(ctx context.Context) error { return h.freeze(ctx, false) }

func (h *Host) freeze(ctx context.Context, on bool) error {
	return h.change(ctx, func(_ *state, st *hostState) error {
		if !st.alive() {
			return h.errDown()
		}
		g, err := h.in.cgroups()
		if err != nil {
			return err
		}
		if err := g.freeze(ctx, h.name, on); err != nil {
			return err
		}
		st.Frozen = on
		return nil
	})
}

// Cut takes the host off the network: what is sent either way is dropped in silence, the carrier stays up. It lasts over Kill and Start.
func (h *Host) Cut(ctx context.Context) error { return h.cut(ctx, true) }

// Heal puts the host back on the network.
func (h *Host) Heal(ctx context.Context) error { return h.cut(ctx, false) }

func (h *Host) cut(ctx context.Context, on bool) error {
	return h.change(ctx, func(_ *state, st *hostState) error {
		if err := h.in.setCut(h.name, on); err != nil {
			return err
		}
		st.Cut = on
		return nil
	})
}

// Status of one host, as `onehost split status --json` shows it.
type Status struct {
	Name    names.HostName `json:"name"`
	State   string         `json:"state"` // up, frozen, down
	Cut     bool           `json:"cut"`
	Address string         `json:"address"`
	Pid     int            `json:"pid,omitempty"` // of its init, as the machine numbers it
	CPUs    []int          `json:"cpus,omitempty"`
	Quota   float64        `json:"cpu_quota,omitempty"` // CPUs
	Rate    uint64         `json:"rate,omitempty"`      // bit/s each way
	Daemon  string         `json:"daemon"`              // running, how it ended, none, or unknown
}

// Status looks at every host.
func (c *Cluster) Status(ctx context.Context) ([]Status, error) {
	s, err := c.in.load()
	if err != nil {
		return nil, err
	}
	all := make([]Status, 0, len(s.Hosts))
	for _, st := range s.Hosts {
		row := Status{
			Name: st.Name, State: "down", Cut: st.Cut, Address: hostAddr(st.Number).String(), CPUs: st.CPUs,
			Quota: float64(s.Config.Quota) / 1000, Rate: uint64(s.Config.Rate), Daemon: "none",
		}
		if st.alive() {
			row.State, row.Pid = "up", st.Pid
			if st.Frozen {
				row.State = "frozen"
			}
			if s.Config.Daemon != "" {
				row.Daemon = c.Host(st.Name).daemonState(ctx)
			}
		}
		all = append(all, row)
	}
	return all, nil
}

func (h *Host) daemonState(ctx context.Context) string {
	d, err := h.daemon(ctx)
	switch {
	case err != nil:
		return "unknown"
	case d.Pid != 0:
		return "running"
	default:
		return d.Ended
	}
}

// daemon asks the init about the daemon.
func (h *Host) daemon(ctx context.Context) (daemonStatus, error) {
	_, st, err := h.state()
	if err != nil {
		return daemonStatus{}, err
	}
	if st.Frozen {
		return daemonStatus{}, fmt.Errorf("%s is frozen", h.name)
	}
	return h.in.daemonOf(ctx, st)
}

func (i instance) daemonOf(ctx context.Context, h *hostState) (daemonStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var d daemonStatus
	err := control.Call(ctx, i.initSocket(h.Name), opDaemon, struct{}{}, &d)
	return d, err
}
