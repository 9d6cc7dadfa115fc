package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/place"
	"github.com/onehost/onehost/proc/jobs"
	"github.com/onehost/onehost/proc/list"
	"github.com/onehost/onehost/sys"
)

// meter measures this host: the load of all of it, and the share the daemon itself uses to serve others.
type meter struct {
	group *sys.CPUGroup
	cpus  float64
	slots int

	mu   sync.Mutex
	all  *place.Meter
	own  *place.Meter
	load float64
	mine float64

	used    time.Duration         // by the carriers, up to now
	carried map[int]time.Duration // by each that there was at the last sample, by its process
}

func newMeter() (*meter, error) {
	g, err := sys.FindCPUGroup()
	if err != nil {
		return nil, fmt.Errorf("finding this host's CPU group: %w", err)
	}
	cpus, err := g.Capacity()
	if err != nil {
		return nil, fmt.Errorf("reading this host's CPUs: %w", err)
	}
	return &meter{group: g, cpus: cpus, slots: place.DefaultSlots(cpus), all: place.NewMeter(cpus), own: place.NewMeter(cpus)}, nil
}

// sample reads the CPU time used up to now. The heart asks for a report with each beat, so nothing else need wake up for it.
// carried is what each carrier has used: that serves others too.
func (m *meter) sample(now time.Time, carried map[int]time.Duration) error {
	usage, err := m.group.Usage()
	if err != nil {
		return err
	}
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		return err
	}
	own := time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	m.mu.Lock()
	defer m.mu.Unlock()
	for pid, t := range carried {
		m.used += max(t-m.carried[pid], 0)
	}
	m.carried = carried
	m.load, m.mine = m.all.Sample(now, usage), m.own.Sample(now, own+m.used)
	return nil
}

func (m *meter) loads() (all, own float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.load, m.mine
}

// ownReport is what this host says of itself in its heartbeats.
func (n *Node) ownReport() place.Report {
	load, _ := n.meter.loads()
	return place.Report{Slots: n.meter.slots, Jobs: n.helper.Jobs() + n.broker.Here(), Load: load, CPUs: n.meter.cpus}
}

// loadPayload measures this host and gives what its heartbeat is to carry.
func (n *Node) loadPayload() []byte {
	if err := n.meter.sample(time.Now(), n.helper.CPU()); err != nil {
		n.cfg.Log.Warn("reading this host's CPU time", "err", err)
	}
	data, err := n.ownReport().MarshalBinary()
	if err != nil {
		return nil // it never fails
	}
	return data
}

// cluster is the node as the broker sees it.
type cluster Node

func (c *cluster) Self() (names.Host, names.HostName) {
	num, _, name, _ := c.member.Self()
	return num, name
}

func (c *cluster) CPUs() float64 { return c.meter.cpus }

func (c *cluster) OwnShare() float64 {
	_, own := c.meter.loads()
	return own
}

// hosts is how many there are in the cluster, as far as is known.
func (n *Node) hosts() int {
	v := n.member.View()
	if v.Seq == 0 {
		return int(names.MaxHost)
	}
	return len(v.Up())
}

func (c *cluster) Members() []jobs.MemberHost {
	n := (*Node)(c)
	self, _ := c.Self()
	silent := c.member.Sight().Silent
	var rows []jobs.MemberHost
	for _, h := range c.member.View().Hosts {
		_, gone := silent[h.Number] // no view may ever say so: the voters may be gone with it
		row := jobs.MemberHost{Number: h.Number, Name: h.Name, Alive: h.State.Up() && !gone, Drained: h.State == "drained"}
		if h.Number == self {
			row.Report, row.At = n.ownReport(), time.Now()
		} else if r, ok := n.report(self, h.Number); ok {
			row.Report = r
			_, row.At = c.member.Load(h.Number)
		}
		rows = append(rows, row)
	}
	return rows
}

func (c *cluster) Hosts() []list.Host {
	sight := c.member.Sight()
	var all []list.Host
	for _, h := range c.member.View().Hosts {
		_, silent := sight.Silent[h.Number]
		all = append(all, list.Host{Number: h.Number, Name: h.Name, Alive: h.State.Up(), Silent: silent && !sight.Quorum})
	}
	return all
}

func (c *cluster) Conn(ctx context.Context, h names.Host) (*link.Conn, error) {
	return c.member.Conn(ctx, h)
}
