package jobs

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/place"
)

// Cluster is what a broker knows of the hosts.
type Cluster interface {
	Self() (number names.Host, name names.HostName)
	CPUs() float64         // that the home may use
	OwnShare() float64     // of them, how much its daemon uses itself, 0..1
	Members() []MemberHost // all the registry knows, the home among them
}

// MemberHost is what the registry and the heartbeats say of a host.
type MemberHost struct {
	Number  names.Host
	Name    names.HostName
	Alive   bool
	Drained bool
	Report  place.Report
	At      time.Time // of the report; zero: none yet
}

// BrokerConfig is what a Broker is made of.
type BrokerConfig struct {
	Home    *Home
	Cluster Cluster
	Warm    func(hosts []names.Host) // makes nests ready; must not block
}

// Broker answers where the candidates of this home's sessions run, and counts what runs where.
type Broker struct {
	cfg  BrokerConfig
	here atomic.Int64

	mu        sync.Mutex
	open      int // sessions
	table     *place.Table
	self      names.Host // whose table it is
	refreshed time.Time
	reported  map[names.Host]time.Time // of the last report the table took
	placed    map[jobKey]placed
	costs     *place.Costs
}

// placed is a job that has its place.
type placed struct {
	ticket place.Ticket
	work   place.Work
}

// refreshEvery is how old the table may be when it is asked: reports come at this pace.
const refreshEvery = 100 * time.Millisecond

// NewBroker makes a broker.
func NewBroker(cfg BrokerConfig) *Broker {
	return &Broker{cfg: cfg, reported: map[names.Host]time.Time{}, placed: map[jobKey]placed{}, costs: place.NewCosts()}
}

// Here says how many of this home's jobs run at home now. It takes no lock: the reports of this host, which the table takes
// under one, ask it.
func (b *Broker) Here() int { return int(b.here.Load()) }

// refreshLocked brings the table up to date. A home that was given another number begins a new table.
func (b *Broker) refreshLocked(now time.Time) {
	self, _ := b.cfg.Cluster.Self()
	if b.table == nil || b.self != self {
		b.table, b.self, b.refreshed = place.NewTable(self), self, time.Time{}
		clear(b.reported)
	}
	if now.Sub(b.refreshed) < refreshEvery {
		return
	}
	b.refreshed = now
	b.table.Own(b.cfg.Cluster.OwnShare())
	for _, h := range b.cfg.Cluster.Members() {
		b.table.Set(h.Number, h.Name, h.Alive, h.Drained)
		if !h.At.IsZero() && h.At != b.reported[h.Number] {
			b.reported[h.Number] = h.At
			b.table.Report(now, h.Number, h.Report)
		}
	}
}

// ServeSession handles control.OpSession: it answers until the session closes its connection, then ends what is left of it.
func (b *Broker) ServeSession(ctx context.Context, who control.Caller, c *control.Conn, body json.RawMessage, files []*os.File) error {
	closeAll(files)
	var req control.SessionRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return fmt.Errorf("bad session request: %w: %w", err, syscall.EINVAL)
	}
	self, name := b.cfg.Cluster.Self()
	if self == names.Here {
		return control.Refuse(syscall.ENOTCONN, "this host is in no cluster: 'onehost init NAME' makes one, 'onehost run --local' needs none")
	}
	allowed, err := b.allowed(req.Hosts)
	if err != nil {
		return err
	}
	id := req.Resume
	if id == 0 {
		var n [8]byte
		_, _ = rand.Read(n[:])                       // it never fails
		id = binary.NativeEndian.Uint64(n[:])>>1 | 1 // nobody can guess it
		b.cfg.Home.OpenSession(id, who.UID)
	} else if err := b.cfg.Home.ResumeSession(id, who.UID, req.Used); err != nil {
		return err
	}
	b.mu.Lock()
	now := time.Now()
	b.refreshLocked(now)
	if b.open++; b.open == 1 {
		b.table.Begin(now)
	}
	b.mu.Unlock()
	defer b.end(id)
	ctx, cancel := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	if err := c.Send(control.SessionReply{Session: id, Home: name, CPUs: b.cfg.Cluster.CPUs()}); err != nil {
		return nil // gone already
	}
	b.warm(allowed)
	for {
		var p control.PlaceRequest
		files, err := c.Receive(&p)
		closeAll(files)
		switch {
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case p.Release != nil:
			b.release(jobKey{id, p.Release.Job}, p.Release.CPU)
			b.cfg.Home.Drop(id, p.Release.Job)
			continue
		}
		reply := b.place(id, &req, allowed, &p)
		if reply.Refused {
			waiting.Go(func() { _ = c.Send(b.await(ctx, id, &req, allowed, &p)) }) // a session that is gone is seen above
			continue
		}
		if err := c.Send(reply); err != nil {
			return nil
		}
	}
}

// hostTime is how long a job that may not run at home waits for a host: one that has just joined has not told its load yet, one
// that crashed may come again.
const hostTime = 3 * time.Second

// await asks again until a host takes the job, at most for hostTime.
func (b *Broker) await(ctx context.Context, session uint64, req *control.SessionRequest, allowed []names.Host, p *control.PlaceRequest) control.PlaceReply {
	ctx, cancel := context.WithTimeout(ctx, hostTime)
	defer cancel()
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		reply := b.place(session, req, allowed, p)
		if !reply.Refused {
			return reply
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return reply
		}
	}
}

// allowed turns the names a person gave into numbers; nil means all.
func (b *Broker) allowed(only []names.HostName) ([]names.Host, error) {
	if len(only) == 0 {
		return nil, nil
	}
	byName := map[names.HostName]names.Host{}
	for _, h := range b.cfg.Cluster.Members() {
		byName[h.Name] = h.Number
	}
	var ns []names.Host
	for _, name := range only {
		n, ok := byName[name]
		if !ok {
			return nil, control.Refuse(syscall.ENOENT, "--hosts: no host %q in this cluster: 'onehost hosts' lists them", name)
		}
		ns = append(ns, n)
	}
	return ns, nil
}

func (b *Broker) warm(allowed []names.Host) {
	if b.cfg.Warm == nil {
		return
	}
	if allowed == nil {
		self, _ := b.cfg.Cluster.Self()
		for _, h := range b.cfg.Cluster.Members() {
			if h.Alive && !h.Drained && h.Number != self {
				allowed = append(allowed, h.Number)
			}
		}
	}
	b.cfg.Warm(allowed)
}

func (b *Broker) place(session uint64, req *control.SessionRequest, allowed []names.Host, p *control.PlaceRequest) control.PlaceReply {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refreshLocked(now)
	key := jobKey{session, p.Job}
	if at, ok := b.takeBackLocked(key); ok { // it begins again: its first host lost it
		b.table.Lost(now, at.ticket)
	}
	work := place.Work{Kind: p.Kind, Bytes: p.Bytes}
	d, ticket := b.table.Take(now, place.Request{
		Command: p.Command, Hosts: allowed, Avoid: p.Avoid, NoLocal: req.NoLocal, HomeSlots: req.Slots, Cost: b.costs.Estimate(work), Moves: p.Moves,
	})
	reply := control.PlaceReply{Seq: p.Seq, Job: p.Job, Name: d.Name, Reason: d.Reason, Refused: d.Refused}
	if d.Refused {
		return reply
	}
	b.placed[key] = placed{ticket, work}
	if d.Local {
		b.here.Add(1)
	} else {
		reply.Host = d.Host
	}
	return reply
}

func (b *Broker) release(key jobKey, used time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at, ok := b.takeBackLocked(key); ok {
		b.table.Done(at.ticket)
		if used > 0 {
			b.costs.Learn(at.work, used.Seconds())
		}
	}
}

// takeBackLocked forgets where a job was placed.
func (b *Broker) takeBackLocked(key jobKey) (placed, bool) {
	at, ok := b.placed[key]
	if ok {
		delete(b.placed, key)
		if at.ticket.Host == b.self {
			b.here.Add(-1)
		}
	}
	return at, ok
}

// end gives back everything a session still holds.
func (b *Broker) end(session uint64) {
	b.mu.Lock()
	b.open--
	for key := range b.placed {
		if key.session == session {
			if at, ok := b.takeBackLocked(key); ok {
				b.table.Cancel(at.ticket)
			}
		}
	}
	b.mu.Unlock()
	b.cfg.Home.DropSession(session)
}
