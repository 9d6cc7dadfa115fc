package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"

	"github.com/onehost/onehost/names"
)

// Identity is what a host proves itself by. The certificate carries one URI, onehost://CLUSTER/HOSTNUMBER.
type Identity struct {
	Certificate tls.Certificate
	Roots       *x509.CertPool
}

// JoinProtocol is the ALPN name of connections that want to join and so have no certificate yet.
const JoinProtocol = "onehost-join"

// Hello is what a host says of itself.
type Hello struct {
	Cluster     names.ClusterName
	Number      names.Host
	Name        names.HostName
	Incarnation names.Incarnation
}

// Dial connects to addr; want is the host number expected there, names.Here for whichever answers.
func Dial(ctx context.Context, addr string, id Identity, self Hello, want names.Host, r *Router) (*Conn, error) {
	return nil, ErrClosed
}

// ListenOptions are the hooks of a listener; each may be nil.
type ListenOptions struct {
	Accept func(Peer) error // refuses a peer by an error, whose text reaches it
	OnConn func(*Conn)      // takes each accepted connection; it must not block
	Join   func(net.Conn)   // takes, and must close, a TLS connection with ALPN JoinProtocol and no certificate
}

// Listener accepts connections of peers.
type Listener struct{}

// Listen serves addr.
func Listen(addr string, id Identity, self Hello, r *Router, opts ListenOptions) (*Listener, error) {
	return nil, ErrClosed
}

// Addr is the address listened at.
func (l *Listener) Addr() net.Addr { return nil }

// Close stops listening; accepted connections live on.
func (l *Listener) Close() error { return nil }

// Pool keeps connections to hosts.
type Pool struct{}

// NewPool makes an empty pool that dials with dial.
func NewPool(dial func(ctx context.Context, h names.Host) (*Conn, error)) *Pool { return &Pool{} }

// Get gives a live connection to the host, dialling it if there is none.
func (p *Pool) Get(ctx context.Context, host names.Host) (*Conn, error) { return nil, ErrClosed }

// Add takes in an accepted connection.
func (p *Pool) Add(c *Conn) {}

// Drop closes the connections to the host's incarnations up to and including inc, and refuses them from now on.
func (p *Pool) Drop(host names.Host, inc names.Incarnation) {}

// Close closes all connections.
func (p *Pool) Close() {}
