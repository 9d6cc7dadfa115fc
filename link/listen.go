package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/onehost/onehost/names"
)

// maxHandshakes is how many connections may be proving themselves at once; more wait in the kernel's queue.
const maxHandshakes = 64

// ListenOptions are the hooks of a listener; each may be nil.
type ListenOptions struct {
	// Accept refuses a peer by an error, whose text the peer gets: an old incarnation, a host that was removed.
	Accept func(Peer) error
	// OnConn gets each accepted connection, which is served already. It must return soon.
	OnConn func(*Conn)
	// Join gets connections that present no certificate and ask for JoinProtocol. It runs on a goroutine of its own,
	// owns the connection and must bound its time. Without it they are refused.
	Join func(net.Conn)
	// Refused hears of each connection that was refused or failed before it was served.
	Refused func(addr net.Addr, err error)
}

// Listener accepts connections of peers.
type Listener struct {
	tcp    net.Listener
	config *tls.Config
	self   Hello
	router *Router
	opts   ListenOptions
	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{}
	wg     sync.WaitGroup
}

// Listen serves addr (host:port) with r until Close. Accepted connections that no OnConn takes serve their peer until
// they end by themselves.
func Listen(addr string, id Identity, self Hello, r *Router, opts ListenOptions) (*Listener, error) {
	config, err := id.config(self.Cluster)
	if err != nil {
		return nil, err
	}
	config.GetConfigForClient = joinConfig(config, opts.Join != nil)
	lc := net.ListenConfig{KeepAliveConfig: keepAlive, Control: tune}
	tcp, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	l := &Listener{tcp: tcp, config: config, self: self, router: r, opts: opts, slots: make(chan struct{}, maxHandshakes)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(l.run)
	return l, nil
}

// joinConfig picks what TLS asks of a client: nothing of one that wants to join, if joining is served.
func joinConfig(config *tls.Config, serves bool) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	join := config.Clone()
	join.NextProtos, join.ClientAuth, join.VerifyConnection = []string{JoinProtocol}, tls.NoClientCert, nil
	return func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if !slices.Contains(h.SupportedProtos, JoinProtocol) {
			return nil, nil
		}
		if !serves {
			return nil, fmt.Errorf("it wants to join, which this host does not serve: %w", names.Refused)
		}
		return join, nil
	}
}

// Addr is the address listened at.
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// Close stops listening and waits for handshakes under way, which it cuts short. Accepted connections live on; so do
// connections handed to Join.
func (l *Listener) Close() error {
	l.cancel()
	err := l.tcp.Close()
	l.wg.Wait()
	return err
}

func (l *Listener) run() {
	for pause := time.Duration(0); ; {
		select {
		case l.slots <- struct{}{}:
		case <-l.ctx.Done():
			return
		}
		raw, err := l.tcp.Accept()
		if err != nil {
			<-l.slots
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, most likely: connections end, so try again in a while.
			l.refused(l.tcp.Addr(), err)
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
			case <-l.ctx.Done():
			}
			continue
		}
		pause = 0
		l.wg.Go(func() {
			defer func() { <-l.slots }()
			if err := l.welcome(raw); err != nil {
				part(raw)
				l.refused(raw.RemoteAddr(), err)
			}
		})
	}
}

func (l *Listener) refused(addr net.Addr, err error) {
	if l.opts.Refused != nil {
		l.opts.Refused(addr, fmt.Errorf("link: peer at %v: %w", addr, err))
	}
}

// part closes a connection that is refused, in such a way that the last word reaches the peer: closing with something
// unread would reset it.
func part(raw net.Conn) {
	if tcp, ok := raw.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
		_ = raw.SetDeadline(time.Now().Add(time.Second))
		_, _ = io.CopyN(io.Discard, raw, maxHello)
	}
	_ = raw.Close()
}

// welcome brings one connection as far as being served.
func (l *Listener) welcome(raw net.Conn) error {
	ctx, lift := bound(l.ctx, raw)
	defer lift()
	c := tls.Server(raw, l.config)
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	if c.ConnectionState().NegotiatedProtocol == JoinProtocol {
		lift()
		go l.opts.Join(c)
		return nil
	}
	peer, err := l.self.greet(ctx, c, false, l.opts.Accept)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	lift()
	conn := NewConn(c, peer, l.router, false)
	if l.opts.OnConn != nil {
		l.opts.OnConn(conn)
	}
	return nil
}
