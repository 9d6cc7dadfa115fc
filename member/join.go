package member

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
)

// The join protocol: one request and one reply over a TLS session in which only the listener has a certificate. The joiner
// checks the chain against its token first. Each message is its length (4 bytes, big endian) and JSON.
const (
	joinTimeout    = 10 * time.Second
	maxJoinRequest = 16 << 10
	maxJoinReply   = 8 << 20
	joinLabel      = "EXPORTER-onehost-join"
)

// joinMessage is the request: a body, and the proof of who asks for it.
type joinMessage struct {
	Kind  string `json:"kind"`
	Body  []byte `json:"body"`
	Proof []byte `json:"proof"` // joinKind: an HMAC by the token's secret; statusKind: a signature by the host's key
}

const (
	joinKind   = "join"   // Body is a joinRequest
	statusKind = "status" // Body is the host's certificate; the reply has the last views
)

type joinRequest struct {
	Name  names.HostName `json:"name"`
	Addr  string         `json:"addr"`
	Slots int            `json:"slots"`
	CSR   []byte         `json:"csr"` // DER; proves the joiner's own key
}

type joinReply struct {
	Error string        `json:"error,omitempty"`
	Errno syscall.Errno `json:"errno,omitempty"`
	admitted
	Views []View `json:"views,omitempty"` // statusKind: the last ones
}

// admission is a join on its way to the leader: only the leader is sure of the secret.
type admission struct {
	Session []byte `json:"session"` // keying material of the joiner's TLS session
	Body    []byte `json:"body"`
	Proof   []byte `json:"proof"`
}

// admitted is what a joiner gets.
type admitted struct {
	Host    names.Host        `json:"host,omitempty"`
	Cluster names.ClusterName `json:"cluster,omitempty"`
	Cert    []byte            `json:"cert,omitempty"`
	View    View              `json:"view"`
}

func writeMessage(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...))
	return err
}

func readMessage(r io.Reader, limit int, v any) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(size[:])
	if int64(n) > int64(limit) {
		return fmt.Errorf("a message of %d bytes is over the limit of %d", n, limit)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// session is the keying material that proofs are bound to.
func session(c net.Conn) ([]byte, error) {
	t, ok := c.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return nil, errors.New("not a TLS connection")
	}
	state := t.ConnectionState()
	return state.ExportKeyingMaterial(joinLabel, nil, 32)
}

// serveJoin is the listener's hook.
func (l *life) serveJoin(c net.Conn) {
	if !l.begin(func() { l.joining(c) }) {
		c.Close()
	}
}

func (l *life) joining(c net.Conn) {
	defer c.Close()
	select {
	case l.joiners <- struct{}{}:
	default:
		return // too many at a time
	}
	defer func() { <-l.joiners }()
	ctx, cancel := context.WithTimeout(l.ctx, joinTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	reply, err := l.answerJoin(ctx, c)
	if err != nil {
		reply = joinReply{Error: err.Error()}
		errors.As(err, &reply.Errno)
		l.log.Info("a join was refused", "from", c.RemoteAddr(), "error", err)
	}
	_ = writeMessage(c, reply)
}

func (l *life) answerJoin(ctx context.Context, c net.Conn) (reply joinReply, err error) {
	var msg joinMessage
	if err := readMessage(c, maxJoinRequest, &msg); err != nil {
		return reply, refuse(errState, "bad join request: %v", err)
	}
	bound, err := session(c)
	if err != nil {
		return reply, err
	}
	switch msg.Kind {
	case joinKind:
		err = l.askLeader(ctx, leadAdmit, admission{Session: bound, Body: msg.Body, Proof: msg.Proof}, &reply.admitted)
		return reply, err
	case statusKind:
		if err := l.checkStatus(msg, bound); err != nil {
			return reply, err
		}
		reply.Views = l.viewsAfter(0, maxTold)
		return reply, nil
	}
	return reply, refuse(errState, "unknown join request %q: is this onehost older than the joiner's?", msg.Kind)
}

// admit lets a joiner in, or says why not.
func (q *quorum) admit(a admission) (admitted, error) {
	s := q.snapshot()
	if !proofHolds(s.Token.Bytes, a.Session, a.Body, a.Proof) {
		return admitted{}, refuse(errToken, "the token is not (or no longer) the cluster's: print the current one with 'onehost token' on a member")
	}
	var req joinRequest
	if err := json.Unmarshal(a.Body, &req); err != nil {
		return admitted{}, refuse(errState, "bad join request: %v", err)
	}
	if _, err := names.ParseHostName(string(req.Name)); err != nil {
		return admitted{}, refuse(errState, "%v", err)
	}
	if err := checkAddr(req.Addr); err != nil {
		return admitted{}, refuse(errState, "%v", err)
	}
	csr, err := x509.ParseCertificateRequest(req.CSR)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return admitted{}, refuse(errState, "bad certificate request: %v", err)
	}
	now := time.Now()
	request := sha256.Sum256(req.CSR)
	done, err := q.apply(Command{
		Op: OpJoin, At: now, Name: req.Name, Addr: req.Addr, Slots: req.Slots, Generation: s.Token.Generation, Request: request[:],
	})
	if err != nil {
		return admitted{}, err
	}
	cert, err := s.CA.sign(csr.PublicKey, s.View.Cluster, done.Host.Number, req.Name, now)
	if err != nil {
		return admitted{}, err
	}
	return admitted{Host: done.Host.Number, Cluster: s.View.Cluster, Cert: cert, View: q.snapshot().View}, nil
}

// dialJoin opens a session with the listener at addr, whose cluster's CA must have the hash.
func dialJoin(ctx context.Context, addr string, want [caHashLen]byte) (*tls.Conn, *x509.Certificate, error) {
	var ca *x509.Certificate
	d := tls.Dialer{Config: &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{link.JoinProtocol},
		InsecureSkipVerify: true, // the chain is checked here, against the hash instead of a pool and a name
		VerifyConnection: func(cs tls.ConnectionState) (err error) {
			ca, err = checkChain(cs.PeerCertificates, want)
			return err
		},
	}}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, unreached(addr, err)
	}
	return c.(*tls.Conn), ca, nil
}

// unreached words a failed dial: net says what it did and the address, which we say ourselves.
func unreached(addr string, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		err = op.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		err = call.Err
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s: %w: is onehostd running there, and in a cluster?", addr, err)
	}
	return fmt.Errorf("%s: %w", addr, err)
}

// ask sends one request and reads its reply. It closes the connection.
func ask(ctx context.Context, c *tls.Conn, msg joinMessage) (joinReply, error) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	var reply joinReply
	err := writeMessage(c, msg)
	if err == nil {
		err = readMessage(c, maxJoinReply, &reply)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return reply, fmt.Errorf("%s did not answer: %w", c.RemoteAddr(), err)
	}
	if reply.Error != "" {
		return reply, &Refusal{Text: reply.Error, Errno: reply.Errno}
	}
	return reply, nil
}

// joinAt asks for admission; the identity that comes back is complete. selfAddr is made from the connection's own address
// when it lacks the host part.
func joinAt(ctx context.Context, addr string, t joinToken, name names.HostName, selfAddr string, slots int) (identity, View, error) {
	var none identity
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	key, err := newKey()
	if err != nil {
		return none, View{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return none, View{}, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return none, View{}, err
	}
	c, ca, err := dialJoin(ctx, addr, t.caHash)
	if err != nil {
		return none, View{}, err
	}
	host, port, err := net.SplitHostPort(selfAddr)
	if err == nil && host == "" {
		if host, _, err = net.SplitHostPort(c.LocalAddr().String()); err == nil {
			selfAddr = net.JoinHostPort(host, port)
		}
	}
	if err != nil {
		c.Close()
		return none, View{}, fmt.Errorf("own address %q: %w", selfAddr, err)
	}
	bound, err := session(c)
	if err != nil {
		c.Close()
		return none, View{}, err
	}
	body, err := json.Marshal(joinRequest{Name: name, Addr: selfAddr, Slots: slots, CSR: csr})
	if err != nil {
		c.Close()
		return none, View{}, err
	}
	reply, err := ask(ctx, c, joinMessage{Kind: joinKind, Body: body, Proof: prove(t.secret[:], bound, body)})
	if err != nil {
		return none, View{}, err
	}
	h, ok := reply.View.Host(reply.Host)
	if !ok {
		return none, View{}, fmt.Errorf("%s admitted this host but its view does not show it", addr)
	}
	return identity{
		Cluster: reply.Cluster, Number: reply.Host, Name: name, Incarnation: h.Incarnation, Addr: selfAddr,
		CA: ca.Raw, Cert: reply.Cert, Key: keyDER,
	}, reply.View, nil
}
