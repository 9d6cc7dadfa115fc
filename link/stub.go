package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"syscall"

	"github.com/onehost/onehost/names"
)

// ErrClosed is wrapped, with EHOSTDOWN, by the error of everything that was under way when a connection ended.
var ErrClosed = errors.New("link: connection closed")

// RemoteError is the error of a handler at the other end.
type RemoteError struct {
	Errno syscall.Errno
	Text  string
}

// Error gives the text of the handler's error.
func (e *RemoteError) Error() string { return e.Text }

// Unwrap gives the errno.
func (e *RemoteError) Unwrap() error { return e.Errno }

// Router holds the handlers of this host's methods.
type Router struct{}

// NewRouter makes an empty router.
func NewRouter() *Router { return &Router{} }

// HandleCall sets the handler of a call method.
func (r *Router) HandleCall(method string, h CallHandler) {}

// HandleStream sets the handler of a stream method.
func (r *Router) HandleStream(method string, h StreamHandler) {}

// HandleNote sets the handler of a note method.
func (r *Router) HandleNote(method string, h NoteHandler) {}

// Conn is a connection to a peer.
type Conn struct{ peer Peer }

// NewConn runs the protocol over rwc; dialed is true on exactly one of the two ends.
func NewConn(rwc net.Conn, peer Peer, r *Router, dialed bool) *Conn { return &Conn{peer: peer} }

// Pipe joins host a and host b in memory: the first Conn is a's end (its Peer is b), the second b's.
func Pipe(a, b Peer, ra, rb *Router) (*Conn, *Conn) { return nil, nil }

// Call calls a method of the peer. header and body are borrowed until Call returns.
func (c *Conn) Call(ctx context.Context, method string, header, body []byte) (Reply, error) {
	return Reply{}, ErrClosed
}

// Open opens a stream. ctx and its deadline hold for the whole life of the stream: when it ends, the stream is reset.
func (c *Conn) Open(ctx context.Context, method string, header, body []byte) (*Stream, error) {
	return nil, ErrClosed
}

// Notify sends a one-way message; header and body together are at most MaxNote bytes.
func (c *Conn) Notify(method string, header, body []byte) error { return ErrClosed }

// WaitNotes waits until every note of the method that arrived before the call has been handled.
func (c *Conn) WaitNotes(ctx context.Context, method string) error { return ErrClosed }

// Peer says who is at the other end.
func (c *Conn) Peer() Peer { return c.peer }

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return nil }

// Err says why the connection ended, nil while it lives.
func (c *Conn) Err() error { return nil }

// Close ends the connection at once.
func (c *Conn) Close() error { return nil }

// Stream carries messages both ways.
type Stream struct{}

// Send sends one message of at most MaxMessage bytes; msg may be used again when it returns.
func (s *Stream) Send(ctx context.Context, msg []byte) error { return ErrClosed }

// Recv gives the next message, which belongs to the caller; io.EOF at the clean end.
func (s *Stream) Recv(ctx context.Context) ([]byte, error) { return nil, ErrClosed }

// CloseSend tells the peer that no more messages follow.
func (s *Stream) CloseSend() error { return nil }

// Reset ends the stream both ways at once.
func (s *Stream) Reset(err error) {}

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

// Bounds of messages.
const (
	MaxMessage = 4<<20 + 64<<10 // bytes of header and body of a call, a reply or one stream message
	MaxNote    = 60 << 10       // bytes of header and body of a note
)
