package member

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
)

// certLife is how long certificates hold. What ends a host's membership is the registry, not the calendar.
const certLife = 20 * 365 * 24 * time.Hour

// backdate allows for clocks of hosts that disagree.
const backdate = 24 * time.Hour

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func newCA(cluster names.ClusterName, now time.Time) (*CA, error) {
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("cluster CA: %w", err)
	}
	tmpl := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "onehost cluster " + string(cluster)},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(certLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("cluster CA: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("cluster CA: %w", err)
	}
	return &CA{Cert: cert, Key: der}, nil
}

// sign gives a host its certificate: its public key, and its place in the cluster as the one URI.
func (ca CA) sign(pub crypto.PublicKey, cluster names.ClusterName, host names.Host, name names.HostName, now time.Time) ([]byte, error) {
	parent, err := x509.ParseCertificate(ca.Cert)
	if err != nil {
		return nil, fmt.Errorf("cluster CA: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(ca.Key)
	if err != nil {
		return nil, fmt.Errorf("cluster CA key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: string(name)},
		URIs:         []*url.URL{link.IdentityURI(cluster, host)},
		NotBefore:    now.Add(-backdate),
		NotAfter:     parent.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return cert, nil
}

// certify gives the first host of a cluster its key and certificate.
func (id *identity) certify(ca CA, now time.Time) error {
	key, err := newKey()
	if err != nil {
		return fmt.Errorf("host key: %w", err)
	}
	if id.Key, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return fmt.Errorf("host key: %w", err)
	}
	id.Cert, err = ca.sign(key.Public(), id.Cluster, id.Number, id.Name, now)
	return err
}

// makeIdentity joins a certificate, its key and the CA. The CA goes along in the chain, so that a joiner can compare it
// with its token.
func makeIdentity(cert, keyDER, ca []byte) (link.Identity, error) {
	key, err := x509.ParsePKCS8PrivateKey(keyDER)
	if err != nil {
		return link.Identity{}, fmt.Errorf("host key: %w", err)
	}
	leaf, err := x509.ParseCertificate(cert)
	if err != nil {
		return link.Identity{}, fmt.Errorf("host certificate: %w", err)
	}
	root, err := x509.ParseCertificate(ca)
	if err != nil {
		return link.Identity{}, fmt.Errorf("cluster CA: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	return link.Identity{
		Certificate: tls.Certificate{Certificate: [][]byte{cert, ca}, PrivateKey: key, Leaf: leaf},
		Roots:       roots,
	}, nil
}

// checkChain finds, in the chain a listener showed, the CA of the token, and checks the listener's certificate against it.
func checkChain(chain []*x509.Certificate, want [caHashLen]byte) (ca *x509.Certificate, err error) {
	if len(chain) == 0 {
		return nil, errors.New("it showed no certificate")
	}
	for _, c := range chain[1:] {
		if caHash(c.Raw) == want {
			ca = c
		}
	}
	if ca == nil {
		return nil, errors.New("it belongs to another cluster than the token: check the address, or print the token there with 'onehost token'")
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
		return nil, fmt.Errorf("its certificate is not of the cluster: %w", err)
	}
	return ca, nil
}
