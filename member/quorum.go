package member

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
)

// raft's own timeouts are long, and so its messages rare: each wakes up both ends, for ever. They only matter when the heart
// cannot tell: it sees by its beats that there is no leader, and then calls an election at once. Nor does a voter learn of
// changes by them: it watches the leader as others do.
const (
	raftHeartbeat = 10 * time.Second // the leader sends one in a tenth to a fifth of it
	raftLease     = 5 * time.Second  // how long a leader without a quorum goes on
	raftCommit    = 5 * time.Second  // how late a voter's copy may be in learning which of its entries count
	raftApply     = 5 * time.Second
)

// quorum is this host's copy of the registry: a State driven by raft. Only voters have one.
type quorum struct {
	self   names.Host
	raft   *raft.Raft
	trans  *transport
	store  *store
	end    context.CancelFunc // ends trans
	leads  chan bool          // raft's word on whether this host leads
	onView func(View)
	whole  atomic.Uint64 // the term in which this copy led and had carried out all entries of those before

	mu    sync.Mutex // guards state; held by raft's goroutine during Apply, so onView is called without it
	state State
}

// caller sends one call to another host.
type caller func(ctx context.Context, to names.Host, method string, header, body []byte) (link.Reply, error)

// openQuorum starts raft on the directory. bootstrap makes this host the only voter of a new registry. onView gets each
// view, in order, on raft's goroutine: it must not wait for raft.
func openQuorum(dir string, self names.Host, bootstrap bool, call caller, onView func(View), log *slog.Logger) (_ *quorum, err error) {
	if err := mkdir(dir); err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	q := &quorum{self: self, onView: onView, end: end, leads: make(chan bool, 16)}
	q.trans = &transport{self: self, call: call, inbox: make(chan raft.RPC, 16), ctx: ctx}
	defer func() {
		if err != nil {
			end()
			if q.store != nil {
				q.store.Close()
			}
		}
	}()
	if q.store, err = openStore(dir + "/raft.db"); err != nil {
		return nil, err
	}
	logger := hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.Warn, Output: slogWriter{log}, DisableTime: true})
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, logger)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	conf := raft.DefaultConfig()
	conf.LocalID = serverID(self)
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = raftHeartbeat, raftHeartbeat, raftLease
	conf.CommitTimeout = raftCommit
	conf.ShutdownOnRemove = false // the view says when this copy ends
	conf.SnapshotThreshold, conf.TrailingLogs = 512, 128
	conf.NotifyCh = q.leads
	conf.Logger = logger
	conf.NoLegacyTelemetry = true
	if bootstrap {
		err = raft.BootstrapCluster(conf, q.store, q.store, snaps, q.trans, raft.Configuration{
			Servers: []raft.Server{{ID: conf.LocalID, Address: q.trans.LocalAddr()}},
		})
		if err != nil {
			return nil, fmt.Errorf("registry: %w", err)
		}
	}
	if q.raft, err = raft.NewRaft(conf, (*machine)(q), q.store, q.store, snaps, q.trans); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	if voters, err := q.voters(); err == nil && slices.Equal(voters, []names.Host{self}) {
		q.campaign() // nobody else could be elected: do not wait for the timeout
	}
	return q, nil
}

// close stops raft. It must not be called from onView.
func (q *quorum) close() error {
	q.end()
	err := q.raft.Shutdown().Error()
	return errors.Join(err, q.store.Close())
}

// campaign makes this copy stand for election now. It forgets the leader it knew, so it is not called twice for one.
func (q *quorum) campaign() {
	ctx, cancel := context.WithTimeout(q.trans.ctx, raftTimeout)
	defer cancel()
	_, _ = q.trans.deliver(ctx, &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}, strings.NewReader(""))
}

func (q *quorum) leading() bool { return q.raft.State() == raft.Leader }

// leader is the host that leads as far as this copy knows; names.Here if it knows of none.
func (q *quorum) leader() names.Host {
	_, id := q.raft.LeaderWithID()
	return serverHost(id)
}

// settle makes sure that a copy that leads has carried out all that was decided before it did: its copy may be behind by
// raftCommit, and what it says of tokens and voters would be of then. EAGAIN means that it does not lead any more.
func (q *quorum) settle() error {
	term := q.raft.CurrentTerm()
	if q.whole.Load() == term {
		return nil
	}
	if err := notLeading(q.raft.Barrier(raftApply).Error()); err != nil {
		return err
	}
	q.whole.Store(term) // if the term is another by now, this is asked again
	return nil
}

// voters lists the hosts that vote, by raft's latest configuration.
func (q *quorum) voters() ([]names.Host, error) {
	f := q.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, err
	}
	var hosts []names.Host
	for _, s := range f.Configuration().Servers {
		hosts = append(hosts, serverHost(s.ID))
	}
	slices.Sort(hosts)
	return hosts, nil
}

// applied is what a command did.
type applied struct {
	Host Host   `json:"host"`
	Seq  uint64 `json:"seq"` // of the view after it
	err  error
}

// apply commits a command and carries it out. EAGAIN means that this copy does not lead (any more).
func (q *quorum) apply(c Command) (applied, error) {
	if c.At.IsZero() {
		c.At = time.Now()
	}
	data, err := json.Marshal(c)
	if err != nil {
		return applied{}, err
	}
	f := q.raft.Apply(data, raftApply)
	if err := f.Error(); err != nil {
		return applied{}, notLeading(err)
	}
	a, ok := f.Response().(applied)
	if !ok {
		return applied{}, fmt.Errorf("registry: unexpected answer %T", f.Response())
	}
	return a, a.err
}

func notLeading(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) || errors.Is(err, raft.ErrRaftShutdown) ||
		errors.Is(err, raft.ErrLeadershipTransferInProgress) || errors.Is(err, raft.ErrEnqueueTimeout) {
		return refuse(errLeader, "the registry has no leader at this moment (%v): try again", err)
	}
	return fmt.Errorf("registry: %w", err)
}

// snapshot is the state as this copy knows it. Its slices are shared: do not write to them.
func (q *quorum) snapshot() State {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.state
}

// machine is quorum as raft sees it.
type machine quorum

// Apply carries out one committed command.
func (m *machine) Apply(entry *raft.Log) any {
	var c Command
	if err := json.Unmarshal(entry.Data, &c); err != nil {
		return applied{err: fmt.Errorf("registry: entry %d is damaged: %w", entry.Index, err)}
	}
	m.mu.Lock()
	h, changed, err := m.state.Apply(c)
	view := m.state.View
	m.mu.Unlock()
	if changed {
		m.onView(view)
	}
	return applied{Host: h, Seq: view.Seq, err: err}
}

// Snapshot gives the state; views in it are never written to, so a shallow copy will do.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return frozen(m.state), nil
}

// Restore replaces the state.
func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	var s State
	if err := json.NewDecoder(r).Decode(&s); err != nil {
		return fmt.Errorf("registry: snapshot: %w", err)
	}
	m.mu.Lock()
	m.state = s
	m.mu.Unlock()
	if s.View.Seq > 0 {
		m.onView(s.View)
	}
	return nil
}

// frozen is a State on its way to a snapshot.
type frozen State

// Persist writes the snapshot.
func (f frozen) Persist(sink raft.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode(State(f)); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release has nothing to release.
func (frozen) Release() {}

// slogWriter passes raft's lines on as debug messages: what an operator needs to know, Member says itself.
type slogWriter struct{ log *slog.Logger }

func (w slogWriter) Write(p []byte) (int, error) {
	w.log.Debug(strings.TrimSpace(string(p)))
	return len(p), nil
}
