package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/onehost/onehost/names"
)

// TestRefusals: each peer that must not be talked to is refused at both ends, with words that say why.
func TestRefusals(t *testing.T) {
	defer goleak.VerifyNone(t)
	ca, other := newAuthority(t), newAuthority(t)
	strange := func(id Identity) Identity { id.Roots = ca.roots(); return id } // believes us, and we do not believe it
	v3 := hello(1)
	v3.major = 3
	otherCluster := Hello{Cluster: "dom", Number: 1, Name: "h1", Incarnation: 1}
	badName, noLife := hello(1), hello(1)
	badName.Name, noLife.Incarnation = "7", 0
	for _, c := range []struct {
		name   string
		id     Identity
		self   Hello
		want   names.Host
		kind   names.Kind
		dialer string // what the error of Dial contains
		server string // what the listener says
	}{
		{"wrong authority there", other.host(1), hello(1), 2, names.Refused, "its certificate is not of this cluster", "remote error"},
		{"wrong authority here", strange(other.host(1)), hello(1), 2, names.Refused, "the peer refused this host's certificate", "its certificate is not of this cluster"},
		{"another number than its certificate", ca.host(1), hello(4), 2, names.Refused, "says it is host 4, its certificate says host 1", "says it is host 4, its certificate says host 1"},
		{"another host than wanted", ca.host(1), hello(1), 9, names.Refused, "this is host 2 (h2), not host 9", "the peer refused: this is host 2 (h2), not host 9"},
		{"version", ca.host(1), v3, 2, names.WrongVersion, "peer speaks onehost protocol 1, this host 3: install the same release on both", "peer speaks onehost protocol 3, this host 1: install the same release on both"},
		{"cluster of the certificate", ca.issue(IdentityURI("dom", 1)), hello(1), 2, names.Refused, "refused this host's certificate", `of cluster "dom", this host is of "clu"`},
		{"own cluster", ca.host(1), otherCluster, 2, names.Refused, `of cluster "clu", this host is of "dom"`, "remote error"},
		{"no uri", ca.issue(), hello(1), 2, names.Refused, "refused this host's certificate", "names no host"},
		{"two uris", ca.issue(IdentityURI("clu", 1), IdentityURI("clu", 2)), hello(1), 2, names.Refused, "refused", "names two hosts"},
		{"bad uri", ca.issue(&url.URL{Scheme: "onehost", Host: "clu", Path: "/x"}), hello(1), 2, names.Refused, "refused", "host number"},
		{"bad name", ca.host(1), badName, 2, names.Refused, "the peer refused: peer's hello: host name", "host name \"7\""},
		{"no incarnation", ca.host(1), noLife, 2, names.Refused, "names no incarnation", "names no incarnation"},
		{"fenced", ca.host(5), hello(5), 2, names.Refused, "the peer refused: host 5 was removed", "host 5 was removed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			heard := make(chan error, 1)
			l, err := Listen("127.0.0.1:0", ca.host(2), hello(2), NewRouter(), ListenOptions{
				OnConn:  func(c *Conn) { _ = c.Close(); heard <- nil },
				Refused: func(_ net.Addr, err error) { heard <- err },
				Accept: func(p Peer) error {
					if p.Number == 5 {
						return fmt.Errorf("host 5 was removed")
					}
					return nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			conn, err := Dial(ctxOf(t), l.Addr().String(), c.id, c.self, c.want, NewRouter())
			if err == nil {
				_ = conn.Close()
				t.Fatal("it was not refused")
			}
			if !strings.Contains(err.Error(), c.dialer) || !errors.Is(err, c.kind) {
				t.Errorf("the dialler says: %v\nwant kind %v and: %s", err, c.kind, c.dialer)
			}
			if err := <-heard; err == nil || !strings.Contains(err.Error(), c.server) {
				t.Errorf("the listener says: %v\nwant: %s", err, c.server)
			}
		})
	}
}

// TestClients dials with plain TLS: what has no certificate, an old TLS or another protocol is refused; one that wants
// to join reaches the hook, if there is one.
func TestClients(t *testing.T) {
	defer goleak.VerifyNone(t)
	ca := newAuthority(t)
	mine := ca.host(1).Certificate
	joins := func(c net.Conn) {
		defer c.Close()
		_, _ = io.WriteString(c, "welcome")
	}
	for _, c := range []struct {
		name   string
		config *tls.Config
		join   func(net.Conn)
		server string // "": it is not refused
	}{
		{"no certificate", &tls.Config{NextProtos: []string{linkProtocol}}, joins, "certificate"},
		{"TLS 1.2", &tls.Config{NextProtos: []string{linkProtocol}, MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{mine}}, joins, "version"},
		{"no ALPN", &tls.Config{Certificates: []tls.Certificate{mine}}, joins, `speaks ""`},
		{"other ALPN", &tls.Config{NextProtos: []string{"h2"}, Certificates: []tls.Certificate{mine}}, joins, "protocol"},
		{"join", &tls.Config{NextProtos: []string{JoinProtocol}}, joins, ""},
		{"join that is not served", &tls.Config{NextProtos: []string{JoinProtocol}}, nil, "does not serve"},
	} {
		t.Run(c.name, func(t *testing.T) {
			heard := make(chan error, 1)
			l, err := Listen("127.0.0.1:0", ca.host(2), hello(2), NewRouter(), ListenOptions{
				Join: c.join, Refused: func(_ net.Addr, err error) { heard <- err },
				OnConn: func(c *Conn) { _ = c.Close(); t.Error("it was served") },
			})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			c.config.InsecureSkipVerify = true
			conn, err := tls.Dial("tcp", l.Addr().String(), c.config)
			if err == nil {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				var b []byte
				if b, err = io.ReadAll(conn); err == nil && string(b) != "welcome" {
					err = fmt.Errorf("read %q", b)
				}
			}
			if c.server == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Error("the client was welcome")
			}
			if err := <-heard; !strings.Contains(err.Error(), c.server) {
				t.Errorf("the listener says: %v, want: %s", err, c.server)
			}
		})
	}
}

func TestPeers(t *testing.T) {
	a, b := tcpPair(t, NewRouter(), NewRouter())
	if got, want := a.Peer(), (Peer{Number: 2, Name: "h2", Incarnation: 3, Birth: 3}); got != want {
		t.Errorf("the dialler's peer is %v, want %v", got, want)
	}
	if got, want := b.Peer(), (Peer{Number: 1, Name: "h1", Incarnation: 3, Birth: 3}); got != want {
		t.Errorf("the listener's peer is %v, want %v", got, want)
	}
}

// TestSilentPeers: neither end waits for one that says nothing.
func TestSilentPeers(t *testing.T) {
	defer goleak.VerifyNone(t)
	ca := newAuthority(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := Dial(ctx, silent.Addr().String(), ca.host(1), hello(1), 2, NewRouter()); !errors.Is(err, syscall.EHOSTDOWN) {
		t.Errorf("a peer that says nothing: %v, want EHOSTDOWN", err)
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("it took %v past a deadline of 200 ms", d)
	}
	_ = silent.Close()
	if _, err := Dial(t.Context(), silent.Addr().String(), ca.host(1), hello(1), 2, NewRouter()); !errors.Is(err, syscall.EHOSTDOWN) || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}

	l, err := Listen("127.0.0.1:0", ca.host(2), hello(2), NewRouter(), ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mute, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	start = time.Now()
	_ = l.Close() // cuts the handshake short
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("Close waited %v for a handshake", d)
	}
}
