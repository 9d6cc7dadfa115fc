// Package member says who is in the cluster.
package member

import (
	"context"
	"log/slog"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
)

// Defaults of Config.
const (
	DefaultStateDir = "/var/lib/onehost"
	DefaultPort     = 1996
)

// Config is what a Member needs to know.
type Config struct {
	StateDir string        // default DefaultStateDir; made with mode 0700
	Router   *link.Router  // the node registers its own methods on it before Open; Open adds the methods "member.…"
	Listen   string        // host:port of the link listener; default: the address that Init or Join is given
	Slots    int           // jobs this host takes at a time, told to all; default 1
	Load     func() []byte // the payload of each heartbeat, at most MaxLoad bytes; called every 100 ms; may be nil
	Log      *slog.Logger  // default: discards
}

// MaxLoad bounds the payload of a heartbeat, in bytes.
const MaxLoad = 512

// Member is this host's part in a cluster.
type Member struct{}

// Open takes up the cluster that the state directory knows, as a new incarnation, or waits for Init or Join if it knows none.
// It does not wait for other hosts: Ready does. One Member at a time holds a state directory.
func Open(cfg Config) (*Member, error) { return &Member{}, nil }

// Close stops without leaving: the others will see this host as failed unless it is opened again within the deadline. It ends
// all connections and waits for all goroutines.
func (m *Member) Close() error { return nil }

// Init makes this host number 1 of a new cluster. addr is the host:port that peers reach it by; empty: chosen.
func (m *Member) Init(ctx context.Context, cluster names.ClusterName, name names.HostName, addr string) error {
	return nil
}

// Join makes this host a member of the cluster that listens at addr. selfAddr is the host:port that peers reach this host by;
// empty: the local address of the connection to addr, DefaultPort.
func (m *Member) Join(ctx context.Context, addr, token string, name names.HostName, selfAddr string) error {
	return nil
}

// Token gives the join token and an address to join by; rotate makes a new token and voids the one before.
func (m *Member) Token(ctx context.Context, rotate bool) (token, addr string, err error) { return }

// Leave takes a host out of the cluster; names.Here or the own number takes out this host, which clears its state directory.
func (m *Member) Leave(ctx context.Context, host names.Host) error { return nil }

// Drain makes a host take no new jobs; resume makes it take jobs again.
func (m *Member) Drain(ctx context.Context, host names.Host, resume bool) error { return nil }

// Ready waits until the view shows this host alive in its present incarnation.
func (m *Member) Ready(ctx context.Context) error { return nil }

// View is the latest view; Seq 0 while this host belongs to no cluster.
func (m *Member) View() View { return View{} }

// Subscribe gives the latest view (if there is one) and then each later one, in order. After this host left, the last view
// shows it as left. A host that was declared failed while it lived comes back as a new incarnation of itself: whoever acts on
// views must treat that as its own death. The channel is closed by cancel and by Close.
func (m *Member) Subscribe() (<-chan View, func()) { return nil, func() {} }

// Self says who this host is; all zero while it belongs to no cluster.
func (m *Member) Self() (names.Host, names.Incarnation, names.HostName, names.ClusterName) {
	return 0, 0, "", ""
}

// Addr is the host:port that peers reach this host by; empty while it belongs to no cluster.
func (m *Member) Addr() string { return "" }

// Identity is what this host proves itself by; the zero Identity while it belongs to no cluster.
func (m *Member) Identity() link.Identity { return link.Identity{} }

// Conn gives a live connection to a host that is up, dialling it if there is none. The pool is Member's: it fences dead
// incarnations.
func (m *Member) Conn(ctx context.Context, host names.Host) (*link.Conn, error) {
	return nil, link.ErrClosed
}

// Load gives the payload of the last heartbeat of a host and when it came, by this host's clock; the zero time if none did.
func (m *Member) Load(host names.Host) ([]byte, time.Time) { return nil, time.Time{} }
