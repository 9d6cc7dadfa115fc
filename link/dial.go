package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/onehost/onehost/names"
)

// Dial connects to the host that listens at addr (host:port) and serves it with r. want is the number of the host
// expected there; names.Here accepts whichever answers. It blocks until both have proved who they are, at most 5 seconds
// or until ctx ends. A refusal, of either, says why.
func Dial(ctx context.Context, addr string, id Identity, self Hello, want names.Host, r *Router) (*Conn, error) {
	config, err := id.config(self.Cluster)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: handshakeTimeout, KeepAliveConfig: keepAlive, Control: tune}
	raw, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, dialError(addr, err)
	}
	bctx, lift := bound(ctx, raw)
	c := tls.Client(raw, config)
	peer, err := self.greet(bctx, c, true, func(p Peer) error {
		if want != names.Here && p.Number != want {
			return fmt.Errorf("this is host %v (%s), not host %v: %w", p.Number, p.Name, want, names.Refused)
		}
		return nil
	})
	if err == nil {
		err = bctx.Err()
	}
	lift()
	if err != nil {
		_ = raw.Close()
		return nil, dialError(addr, err)
	}
	return NewConn(c, peer, r, true), nil
}

// dialError makes a peer that does not answer a host that is down, while a refusal stays what it is.
func dialError(addr string, err error) error {
	var op *net.OpError
	switch {
	case errors.Is(err, names.Refused), errors.Is(err, names.WrongVersion), errors.Is(err, context.Canceled):
		return fmt.Errorf("link: dial %s: %w", addr, err)
	case errors.As(err, &op) && op.Op == "remote error": // a TLS alert
		return fmt.Errorf("link: dial %s: the peer refused this host's certificate: %w (%w)", addr, err, names.Refused)
	}
	return fmt.Errorf("link: dial %s: %w: %w", addr, syscall.EHOSTDOWN, err)
}
