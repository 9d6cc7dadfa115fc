package link

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"

	"github.com/onehost/onehost/names"
)

// Identity is what a host proves itself by, and whom it believes. The certificate carries exactly one URI of the scheme
// onehost, made by IdentityURI; Roots is the cluster's own authority, never the system's.
type Identity struct {
	Certificate tls.Certificate
	Roots       *x509.CertPool
}

// JoinProtocol is the ALPN name of connections that want to join a cluster, and so have no certificate yet.
const JoinProtocol = "onehost-join"

const (
	linkProtocol = "onehost" // ALPN name of all other connections
	uriScheme    = "onehost"
)

// IdentityURI is the name that a host's certificate carries: onehost://CLUSTER/HOSTNUMBER.
func IdentityURI(c names.ClusterName, h names.Host) *url.URL {
	return &url.URL{Scheme: uriScheme, Host: string(c), Path: "/" + h.String()}
}

// certificateHost reads the name that a certificate carries.
func certificateHost(cert *x509.Certificate) (names.ClusterName, names.Host, error) {
	var found *url.URL
	for _, u := range cert.URIs {
		if u.Scheme != uriScheme {
			continue
		}
		if found != nil {
			return "", 0, fmt.Errorf("its certificate names two hosts, %v and %v: %w", found, u, names.Refused)
		}
		found = u
	}
	if found == nil {
		return "", 0, fmt.Errorf("its certificate names no host: %w", names.Refused)
	}
	cluster, err := names.ParseClusterName(found.Host)
	if err != nil {
		return "", 0, fmt.Errorf("its certificate says %v: %w", found, err)
	}
	host, err := names.ParseHost(strings.TrimPrefix(found.Path, "/"))
	if err != nil {
		return "", 0, fmt.Errorf("its certificate says %v: %w", found, err)
	}
	return cluster, host, nil
}

// verify checks a peer's certificates against the cluster's authority and name. Names of the network prove nothing
// here: hosts change addresses.
func (id Identity) verify(cluster names.ClusterName, certs []*x509.Certificate) error {
	if len(certs) == 0 {
		return fmt.Errorf("it presented no certificate: %w", names.Refused)
	}
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	_, err := certs[0].Verify(x509.VerifyOptions{
		Roots: id.Roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("its certificate is not of this cluster: %w (%w)", err, names.Refused)
	}
	got, _, err := certificateHost(certs[0])
	if err != nil {
		return err
	}
	if got != cluster {
		return fmt.Errorf("its certificate is of cluster %q, this host is of %q: %w", got, cluster, names.Refused)
	}
	return nil
}

// config is what both ends share. Sessions are never resumed, so that every connection proves anew who is there.
func (id Identity) config(cluster names.ClusterName) (*tls.Config, error) {
	if id.Roots == nil || len(id.Certificate.Certificate) == 0 {
		return nil, fmt.Errorf("link: an identity needs a certificate and the cluster's authority")
	}
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		Certificates:                []tls.Certificate{id.Certificate},
		NextProtos:                  []string{linkProtocol},
		ClientAuth:                  tls.RequireAnyClientCert,
		InsecureSkipVerify:          true, // the standard check is for names of the network; verify does ours
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if s.NegotiatedProtocol != linkProtocol {
				return fmt.Errorf("it speaks %q, not %q: %w", s.NegotiatedProtocol, linkProtocol, names.Refused)
			}
			return id.verify(cluster, s.PeerCertificates)
		},
	}, nil
}
