package link

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link/linkpb"
	"github.com/onehost/onehost/names"
)

// The version of the protocol. Hosts of different major versions refuse each other; a minor version only adds.
const (
	ProtocolMajor = 1
	ProtocolMinor = 0
)

const (
	handshakeTimeout = 5 * time.Second // from the first byte to the last hello
	maxHello         = 4 << 10
)

// Hello is what a host says of itself.
type Hello struct {
	Cluster     names.ClusterName
	Number      names.Host
	Name        names.HostName
	Incarnation names.Incarnation
	Birth       names.Incarnation // see Peer; 0: Incarnation
	Carrier     uint32            // the number of a carrier, which Incarnation's daemon started; 0: that daemon itself

	major uint32 // in place of ProtocolMajor; tests only
}

func (h Hello) message(refusal error) *linkpb.Hello {
	m := &linkpb.Hello{
		Major: ProtocolMajor, Minor: ProtocolMinor, Cluster: string(h.Cluster),
		Number: uint32(h.Number), Name: string(h.Name), Incarnation: uint64(h.Incarnation), Birth: uint64(h.Birth), Carrier: h.Carrier,
	}
	if h.major != 0 {
		m.Major = h.major
	}
	if refusal != nil {
		m.Refusal = refusal.Error()
	}
	return m
}

// refusedError is a refusal by the peer, in its words.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return "the peer refused: " + e.text }
func (e *refusedError) Unwrap() error { return names.Refused }

// check says why this host will not talk to the sender of m, whose certificate is of host cert.
func (h Hello) check(m *linkpb.Hello, cert names.Host) (Peer, error) {
	if own := h.message(nil).GetMajor(); m.GetMajor() != own {
		return Peer{}, fmt.Errorf("peer speaks onehost protocol %d, this host %d: install the same release on both: %w", m.GetMajor(), own, names.WrongVersion)
	}
	if m.GetCluster() != string(h.Cluster) {
		return Peer{}, fmt.Errorf("peer is of cluster %q, this host of %q: %w", m.GetCluster(), h.Cluster, names.Refused)
	}
	if m.GetNumber() != uint32(cert) {
		return Peer{}, fmt.Errorf("peer says it is host %d, its certificate says host %d: %w", m.GetNumber(), cert, names.Refused)
	}
	name, err := names.ParseHostName(m.GetName())
	if err != nil {
		return Peer{}, fmt.Errorf("peer's hello: %w", err)
	}
	if m.GetIncarnation() == 0 {
		return Peer{}, fmt.Errorf("peer's hello names no incarnation: %w", names.Refused)
	}
	birth := m.GetBirth()
	if birth == 0 {
		birth = m.GetIncarnation()
	}
	if birth > m.GetIncarnation() {
		return Peer{}, fmt.Errorf("peer says that it was born in incarnation %d and is incarnation %d: %w", birth, m.GetIncarnation(), names.Refused)
	}
	peer := Peer{Number: cert, Name: name, Incarnation: names.Incarnation(m.GetIncarnation()), Birth: names.Incarnation(birth)}
	if n := m.GetCarrier(); n > names.LastCarrier {
		return Peer{}, fmt.Errorf("peer says that it is carrier %d of its host: %w", n, names.Refused)
	} else if n > 0 {
		peer.Carrier, peer.Incarnation, peer.Birth = n, peer.Incarnation.Carrier(n), 0
	}
	return peer, nil
}

// greet exchanges hellos over a TLS connection that just began. The one who dialled speaks first, then the other, who
// says in his hello whether he refuses; the first closes the matter with a hello that says the same of him. Both get the
// reason. accept may refuse a peer that is otherwise fine.
func (h Hello) greet(ctx context.Context, c *tls.Conn, dialed bool, accept func(Peer) error) (Peer, error) {
	cert, err := handshake(ctx, c)
	if err != nil {
		return Peer{}, err
	}
	if dialed {
		if err := writeHello(c, h.message(nil)); err != nil {
			return Peer{}, err
		}
	}
	m, err := readHello(c)
	if err != nil {
		return Peer{}, err
	}
	peer, err := h.check(m, cert)
	if err == nil && accept != nil {
		err = accept(peer)
	}
	if m.GetRefusal() == "" || err != nil {
		// His version may be the reason: a refusal must reach him whatever it is.
		if werr := writeHello(c, h.message(err)); werr != nil && err == nil {
			err = werr
		}
	}
	if err != nil {
		if m.GetRefusal() != "" && !errors.Is(err, names.WrongVersion) {
			return Peer{}, &refusedError{m.GetRefusal()}
		}
		return Peer{}, err
	}
	if m.GetRefusal() != "" {
		return Peer{}, &refusedError{m.GetRefusal()}
	}
	if !dialed {
		if m, err = readHello(c); err != nil {
			return Peer{}, err
		}
		if m.GetRefusal() != "" {
			return Peer{}, &refusedError{m.GetRefusal()}
		}
	}
	return peer, nil
}

// handshake runs TLS and gives the host that the peer's certificate names.
func handshake(ctx context.Context, c *tls.Conn) (names.Host, error) {
	if err := c.HandshakeContext(ctx); err != nil {
		return 0, err
	}
	certs := c.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return 0, fmt.Errorf("it presented no certificate: %w", names.Refused)
	}
	_, host, err := certificateHost(certs[0])
	return host, err
}

// A hello on the wire is its length, 4 bytes big endian, and a linkpb.Hello; so for every version.
func writeHello(w io.Writer, m *linkpb.Hello) error {
	b, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, 4), m)
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	_, err = w.Write(b)
	return err
}

func readHello(r io.Reader) (*linkpb.Hello, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, fmt.Errorf("no hello: %w", err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxHello {
		return nil, errPeer("a hello of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("no hello: %w", err)
	}
	m := new(linkpb.Hello)
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, errPeer("hello: %w", err)
	}
	return m, nil
}

// bound gives a connection its deadline for the handshake, also when ctx ends sooner; the returned function lifts it.
func bound(ctx context.Context, c net.Conn) (context.Context, func()) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	past := time.Unix(1, 0)
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(past) })
	return ctx, func() {
		if stop() {
			_ = c.SetDeadline(time.Time{})
		}
		cancel()
	}
}
