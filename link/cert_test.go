package link

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/onehost/onehost/names"
)

// authority is a cluster's certificate authority, for tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t: t, cert: cert, key: key}
}

func (a *authority) roots() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue gives an identity whose certificate carries the URIs.
func (a *authority) issue(uris ...*url.URL) Identity {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, URIs: uris,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return Identity{Certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, Roots: a.roots()}
}

func (a *authority) host(n names.Host) Identity { return a.issue(IdentityURI("clu", n)) }

func hello(n names.Host) Hello {
	return Hello{Cluster: "clu", Number: n, Name: names.HostName("h" + n.String()), Incarnation: 3}
}

// tcpPair joins host 1 and host 2 by TLS over loopback; the first end dialled.
func tcpPair(t testing.TB, ra, rb *Router) (*Conn, *Conn) {
	t.Helper()
	ca := newAuthority(t)
	accepted := make(chan *Conn, 1)
	l, err := Listen("127.0.0.1:0", ca.host(2), hello(2), rb, ListenOptions{OnConn: func(c *Conn) { accepted <- c }})
	if err != nil {
		t.Fatal(err)
	}
	a, err := Dial(ctxOf(t), l.Addr().String(), ca.host(1), hello(1), 2, ra)
	if err != nil {
		t.Fatal(err)
	}
	b := <-accepted
	t.Cleanup(func() {
		_ = l.Close()
		_ = a.Close()
		_ = b.Close()
	})
	return a, b
}
