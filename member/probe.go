package member

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"time"
)

// A host that the others declared failed is refused by them, so it cannot learn of it over links. It asks, with the
// certificate as the proof of who it is, by the join protocol: what comes back shows what has become of it.

func statusDigest(bound, cert []byte) []byte {
	h := sha256.New()
	h.Write([]byte("onehost status 1\x00"))
	h.Write(bound)
	h.Write(cert)
	return h.Sum(nil)
}

// probe asks the hosts it knows, in turn, for the view, until one is newer than its own.
func (l *life) probe() {
	view := l.View()
	for _, h := range view.Hosts {
		if h.Number == l.id.Number || h.State == Left {
			continue
		}
		ctx, cancel := context.WithTimeout(l.ctx, time.Second)
		views, err := l.probeAt(ctx, h.Addr)
		cancel()
		if l.ctx.Err() != nil {
			return
		}
		if err != nil {
			l.log.Debug("cannot ask for the view", "host", h.Name, "error", err)
			continue
		}
		for _, v := range views {
			l.publish(v)
		}
		if l.View().Seq > view.Seq {
			return
		}
	}
}

func (l *life) probeAt(ctx context.Context, addr string) ([]View, error) {
	c, _, err := dialJoin(ctx, addr, caHash(l.id.CA))
	if err != nil {
		return nil, err
	}
	bound, err := session(c)
	if err != nil {
		c.Close()
		return nil, err
	}
	key, ok := l.links.Certificate.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("host key: %T is not ECDSA", l.links.Certificate.PrivateKey)
	}
	proof, err := ecdsa.SignASN1(rand.Reader, key, statusDigest(bound, l.id.Cert))
	if err != nil {
		c.Close()
		return nil, err
	}
	reply, err := ask(ctx, c, joinMessage{Kind: statusKind, Body: l.id.Cert, Proof: proof})
	return reply.Views, err
}

// checkStatus checks that a host of this cluster asks, be it up or not.
func (l *life) checkStatus(msg joinMessage, bound []byte) error {
	cert, err := x509.ParseCertificate(msg.Body)
	if err != nil {
		return refuse(errState, "bad certificate: %v", err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: l.links.Roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return refuse(errToken, "the certificate is not of cluster %s: %v", l.id.Cluster, err)
	}
	pub, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || !ecdsa.VerifyASN1(pub, statusDigest(bound, msg.Body), msg.Proof) {
		return refuse(errToken, "the host that asks does not hold the key of its certificate")
	}
	return nil
}
