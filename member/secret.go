package member

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A join token is one word that authenticates both ways: it names the cluster's CA, so that the joiner knows whom it talks
// to before it says anything, and it holds a secret, which the joiner proves to know without sending it.
//
//	"oh1" base32(hash of the CA certificate, 20 bytes; secret, 16 bytes; check sum of these, 4 bytes)
const (
	tokenPrefix = "oh1"
	caHashLen   = 20
	secretLen   = 16
	checkLen    = 4
	tokenLife   = 24 * time.Hour
)

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// joinToken is a token taken apart.
type joinToken struct {
	caHash [caHashLen]byte
	secret [secretLen]byte
}

func caHash(cert []byte) (h [caHashLen]byte) {
	sum := sha256.Sum256(cert)
	copy(h[:], sum[:])
	return h
}

func (t joinToken) String() string {
	raw := append(t.caHash[:], t.secret[:]...)
	sum := sha256.Sum256(raw)
	return tokenPrefix + base32Lower.EncodeToString(append(raw, sum[:checkLen]...))
}

var errBadToken = errors.New("the token is damaged or cut short: copy the whole word that 'onehost token' prints")

func parseToken(s string) (t joinToken, err error) {
	body, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(s)), tokenPrefix)
	if !ok {
		return t, fmt.Errorf("%q is no join token: want the word starting with %s that 'onehost token' prints", abbreviate(s), tokenPrefix)
	}
	raw, err := base32Lower.DecodeString(body)
	if err != nil || len(raw) != caHashLen+secretLen+checkLen || base32Lower.EncodeToString(raw) != body { // a word too long decodes as well
		return t, errBadToken
	}
	payload, check := raw[:caHashLen+secretLen], raw[caHashLen+secretLen:]
	if sum := sha256.Sum256(payload); !bytes.Equal(sum[:checkLen], check) {
		return t, errBadToken
	}
	copy(t.caHash[:], payload)
	copy(t.secret[:], payload[caHashLen:])
	return t, nil
}

// abbreviate keeps a mistaken argument, which may be long or secret, out of messages.
func abbreviate(s string) string {
	if len(s) > 8 {
		return s[:8] + "…"
	}
	return s
}

func newSecret(now time.Time) *Secret {
	s := &Secret{Bytes: make([]byte, secretLen), Expires: now.Add(tokenLife)}
	_, _ = rand.Read(s.Bytes) // never fails: the program would have ended
	return s
}

// prove binds the secret to one TLS session and to what is asked for in it, so that neither can be replayed.
func prove(secret, session, request []byte) []byte {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("onehost join 1\x00"))
	m.Write(session) // of fixed length
	m.Write(request)
	return m.Sum(nil)
}

func proofHolds(secret, session, request, proof []byte) bool {
	return hmac.Equal(prove(secret, session, request), proof)
}
